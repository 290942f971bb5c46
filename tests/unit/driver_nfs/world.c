/* SPDX-License-Identifier: Apache-2.0
 *
 * world.c: see world.h.
 */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner/watches.h"

struct nfs_server_process server;
_Atomic uint32_t events;
_Atomic int64_t last_event;
char last_log[SLUICE_TEXT_MAX];

static struct watches watches;
static pthread_t thread;
static _Atomic bool ending;

static void say(const struct sluice_services *table, uint32_t level, const char *text) {
    (void)table;
    (void)level;
    snprintf(last_log, sizeof last_log, "%s", text);
}

static int32_t fail_call(const struct sluice_services *table, struct sluice_call *call,
                         int32_t status, const char *text) {
    (void)table;
    if (call->text[0] == '\0') {
        snprintf(call->text, sizeof call->text, "%s", text);
    }
    return status;
}

static void tell_event(const struct sluice_services *table, uint32_t which,
                       const struct sluice_uuid *volume, int64_t value, const char *text) {
    (void)table;
    (void)which;
    (void)volume;
    (void)text;
    atomic_store(&last_event, value);
    atomic_fetch_add(&events, 1);
}

static struct sluice_watch *add(const struct sluice_services *table, int fd, uint32_t ready,
                                uint32_t timeout_ms, sluice_on_ready *on_ready, void *argument) {
    bool sooner;
    (void)table;
    return watches_add(&watches, fd, ready, timeout_ms, on_ready, argument, &sooner);
}

static void change(const struct sluice_services *table, struct sluice_watch *watch, uint32_t ready,
                   uint32_t timeout_ms) {
    bool sooner;
    (void)table;
    watches_change(&watches, watch, ready, timeout_ms, &sooner);
}

static void end(const struct sluice_services *table, struct sluice_watch *watch) {
    (void)table;
    watches_remove(&watches, watch);
}

const struct sluice_services services = {
    .size = sizeof services,
    .version = SLUICE_ABI,
    .log = say,
    .fail = fail_call,
    .event = tell_event,
    .watch = add,
    .watch_change = change,
    .unwatch = end,
};

/* Looks again at least every 20 ms, so nobody has to wake it. */
static void *serve(void *unused) {
    (void)unused;
    while (!atomic_load(&ending)) {
        if (!watches_serve(&watches, 20)) {
            usleep(1000); /* there is no watch, or nothing to tell */
        }
    }
    return NULL;
}

int world_begin(void **state) {
    struct err err = ERR_INIT;
    (void)state;
    if (!nfs_server_possible()) {
        puts("no NFS server can be had here (root, nfs-ganesha, rpcbind)");
        exit(77);
    }
    nfs_server_start(&server, "squash=@/squash,root_squash all=@/all,all_squash ro=@/ro,ro");
    atomic_store(&ending, false);
    return watches_init(&watches, &err) && pthread_create(&thread, NULL, serve, NULL) == 0 ? 0 : -1;
}

int world_end(void **state) {
    (void)state;
    atomic_store(&ending, true);
    pthread_join(thread, NULL);
    watches_release(&watches);
    nfs_server_stop(&server);
    return 0;
}

int32_t world_open(struct nfs_fs *fs, struct sluice_call *call, const char *export, uint16_t port,
                   uint32_t uid) {
    memset(fs, 0, sizeof *fs);
    memset(call, 0, sizeof *call);
    fs->base.services = &services;
    fs->owner = (struct identity){.uid = uid, .gid = uid};
    fs->data_uid = 65533;
    fs->gid_first = 100000;
    fs->gid_count = 65536;
    struct nfs_server *to = &fs->control.server;
    snprintf(to->host, sizeof to->host, "localhost");
    snprintf(to->path, sizeof to->path, "%s", export);
    fs->control.server.port = port != 0 ? port : server.port;
    fs->control.server.mount_port = (uint16_t)(server.port + 1);
    return nfs_fs_open(fs, call);
}

void world_give(const char *below, uint32_t uid, uint32_t mode) {
    char path[512];
    nfs_server_path(&server, below, path);
    assert_int_equal(chown(path, uid, uid), 0);
    assert_int_equal(chmod(path, mode), 0);
}
