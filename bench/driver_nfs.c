/* SPDX-License-Identifier: Apache-2.0
 *
 * driver_nfs: data calls of the NFS driver against libnfs alone doing the same.
 *
 *     driver_nfs ours FORMAT CASE PORT rate
 *     driver_nfs raw CONNECTIONS CASE PORT rate
 *
 *   CASE   seq_read, seq_write: 1 MiB one after the other; 4k_read, 4k_write: 4 KiB anywhere; all
 * at depth 32, in a file of 256 MiB that is allocated and that the server has in memory PORT   of a
 * server on 127.0.0.1 with /export, whose mount service is at the next port
 *
 * ours: the driver as the runner calls it, with watches served by the thread that makes the calls;
 * FORMAT qcow2 or raw. raw: READs and WRITEs of libnfs, and what is read is copied to where it is
 * wanted, as the driver does it.
 */
#include <dlfcn.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

/* The order counts. */
#include <nfsc/libnfs-zdr.h>

#include <nfsc/libnfs.h>

#include <nfsc/libnfs-raw.h>

#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>

#include "base/clock.h"
#include "measure.h"
#include "runner/watches.h"
#include <sluice/driver.h>

#define MIB (UINT64_C(1) << 20)
#define FILE_BYTES (256 * MIB)
#define DEPTH 32
#define CONNECTIONS_MAX 8

static struct measure measure;
static bool writes, is_sequential;
static uint64_t length;
static uint64_t turns;
static uint64_t random_state = 88172645463325252;

struct slot {
    uint64_t began_ns;
    char *bytes;
    struct sluice_io io;
    struct rpc_context *rpc;
    struct slot *next;
};
static struct slot slots[DEPTH];
static struct slot *ready; /* ended, to be begun again */

static uint64_t next_offset(void) {
    if (is_sequential)
        return turns++ * length % FILE_BYTES;
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % (FILE_BYTES / length) * length;
}

static void ended(struct slot *slot) {
    measure_one(&measure, slot->began_ns);
    slot->next = ready;
    ready = slot;
}

static void choose(const char *name) {
    is_sequential = strncmp(name, "seq_", 4) == 0;
    writes = strstr(name, "write") != NULL;
    length = is_sequential ? MIB : 4096;
    for (uint32_t i = 0; i < DEPTH; i++) {
        slots[i].bytes = malloc(MIB);
        if (slots[i].bytes == NULL)
            measure_fail("no memory");
        memset(slots[i].bytes, 7, MIB);
    }
}

/* ---- ours ----------------------------------------------------------------------------------- */

static struct watches watches;
static uint32_t control_done;

static void say(const struct sluice_services *services, uint32_t level, const char *text) {
    (void)services;
    if (level <= SLUICE_LOG_WARNING)
        fprintf(stderr, "%s\n", text);
}

static int32_t fail_call(const struct sluice_services *services, struct sluice_call *call,
                         int32_t status, const char *text) {
    (void)services;
    (void)call;
    fprintf(stderr, "%s\n", text);
    return status;
}

static void progress(const struct sluice_services *services, struct sluice_call *call,
                     uint64_t done, uint64_t total) {
    (void)services;
    (void)call;
    (void)done;
    (void)total;
}

/* Also from a worker, but only before the measuring: what is measured is allocated. */
static void complete(const struct sluice_services *services, struct sluice_io *io, int32_t status,
                     uint64_t token) {
    (void)services;
    (void)token;
    if (status != SLUICE_OK)
        measure_fail("a data call ended with %d", status);
    if (io->driver != NULL || io->extents_capacity == 1)
        __atomic_add_fetch(&control_done, 1, __ATOMIC_RELEASE);
    else
        ended((struct slot *)(void *)((char *)io - offsetof(struct slot, io)));
}

static void tell(const struct sluice_services *services, uint32_t event,
                 const struct sluice_uuid *volume, int64_t value, const char *text) {
    (void)services;
    (void)event;
    (void)volume;
    (void)value;
    fprintf(stderr, "%s\n", text);
}

static struct sluice_watch *watch(const struct sluice_services *services, int fd, uint32_t wanted,
                                  uint32_t timeout_ms, sluice_on_ready *on_ready, void *argument) {
    bool sooner;
    (void)services;
    return watches_add(&watches, fd, wanted, timeout_ms, on_ready, argument, &sooner);
}

static void change(const struct sluice_services *services, struct sluice_watch *of, uint32_t wanted,
                   uint32_t timeout_ms) {
    bool sooner;
    (void)services;
    watches_change(&watches, of, wanted, timeout_ms, &sooner);
}

static void unwatch(const struct sluice_services *services, struct sluice_watch *of) {
    (void)services;
    watches_remove(&watches, of);
}

static const struct sluice_services services = {
    .size = sizeof services,
    .version = SLUICE_ABI,
    .log = say,
    .fail = fail_call,
    .progress = progress,
    .complete = complete,
    .event = tell,
    .watch = watch,
    .watch_change = change,
    .unwatch = unwatch,
};

/* The folder two above this program: BUILD/bench/driver_nfs. */
static const struct sluice_driver *load(void) {
    static char path[1100];
    static char here[1024];
    ssize_t got = readlink("/proc/self/exe", here, sizeof here - 1);
    if (got < 0)
        measure_fail("where is this program?");
    snprintf(path, sizeof path, "%s/drivers/nfs-0.1.0/driver/nfs.so", dirname(dirname(here)));
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    union {
        void *symbol;
        sluice_driver_fn *entry;
    } found = {.symbol = library != NULL ? dlsym(library, SLUICE_DRIVER_SYMBOL) : NULL};
    if (found.symbol == NULL)
        measure_fail("%s is no driver", path);
    return found.entry();
}

static void must(int32_t status, const char *what) {
    if (status != SLUICE_OK)
        measure_fail("%s ended with %d", what, status);
}

static void one_call(void (*call)(void *handle, struct sluice_io *io), void *handle,
                     uint64_t offset, void *bytes, uint64_t count) {
    struct sluice_io io = {.size = sizeof io,
                           .offset = offset,
                           .length = count,
                           .buffer = bytes,
                           .extents_capacity = 1};
    uint32_t before = __atomic_load_n(&control_done, __ATOMIC_ACQUIRE);
    call(handle, &io);
    while (__atomic_load_n(&control_done, __ATOMIC_ACQUIRE) == before)
        watches_serve(&watches, 1);
}

static void measure_ours(const char *format, int port) {
    struct err err = ERR_INIT;
    void *self, *pool;
    const struct sluice_driver *driver = load();
    const struct sluice_storage *storage = driver->table("storage", SLUICE_STORAGE_VERSION);
    const struct sluice_properties none = {NULL, 0};
    const struct sluice_uuid id = {{3}};
    const struct sluice_property bag[] = {
        {.name = "server", .text = "127.0.0.1", .kind = SLUICE_PROPERTY_STRING},
        {.name = "export", .text = "/export", .kind = SLUICE_PROPERTY_STRING},
        {.name = "port", .integer = port, .kind = SLUICE_PROPERTY_NUMBER},
        {.name = "mount_port", .integer = port + 1, .kind = SLUICE_PROPERTY_NUMBER},
        {.name = "format", .text = format, .kind = SLUICE_PROPERTY_STRING},
    };
    const struct sluice_properties all = {bag, sizeof bag / sizeof bag[0]};
    const struct sluice_pool_open open = {.size = sizeof open,
                                          .flags = SLUICE_POOL_CLAIM | SLUICE_POOL_TAKE_OVER,
                                          .pool = {{1}},
                                          .gateway = {{2}},
                                          .name = "bench",
                                          .properties = &all};
    const struct sluice_volume_create create = {.size = sizeof create,
                                                .volume = id,
                                                .size_bytes = FILE_BYTES,
                                                .name = "v",
                                                .format = format};
    struct sluice_pool limits = {.size = sizeof limits};
    struct sluice_volume volume = {.size = sizeof volume};
    struct sluice_data_opened opened = {.size = sizeof opened};
    const struct sluice_data_open data = {.size = sizeof data, .volume = id, .epoch = 1};
    if (!watches_init(&watches, &err))
        measure_fail("%s", err.text);
    must(driver->start(&services, NULL, &none, &self), "start");
    must(storage->pool_open(self, NULL, &open, &limits, &pool), "pool_open");
    must(storage->volume_create(pool, NULL, &create, &volume), "volume_create");
    must(storage->data_open(pool, NULL, &data, &opened), "data_open");
    for (uint64_t at = 0; at < FILE_BYTES; at += MIB)
        one_call(storage->data_write, opened.handle, at, slots[0].bytes, MIB);
    one_call(storage->data_flush, opened.handle, 0, NULL, 0);
    void (*call)(void *handle, struct sluice_io *io) =
        writes ? storage->data_write : storage->data_read;
    measure_begin(&measure, "rate");
    for (uint32_t i = 0; i < DEPTH; i++) {
        slots[i].next = ready;
        ready = &slots[i];
    }
    while (!measure_over(&measure)) {
        while (ready != NULL) {
            struct slot *slot = ready;
            ready = slot->next;
            slot->io = (struct sluice_io){.size = sizeof slot->io,
                                          .offset = next_offset(),
                                          .length = length,
                                          .buffer = slot->bytes};
            slot->began_ns = clock_mono_ns();
            call(opened.handle, &slot->io);
        }
        watches_serve(&watches, 100);
    }
    /* What is under way ends with the process. */
}

/* ---- libnfs alone --------------------------------------------------------------------------- */

static struct nfs_fh3 file;
static bool answered;
static uint32_t under_way;

static void on_any(struct rpc_context *rpc, int status, void *result, void *argument) {
    (void)rpc;
    if (status != RPC_STATUS_SUCCESS)
        measure_fail("libnfs: %s", result != NULL ? (const char *)result : "no answer");
    answered = true;
    if (argument != NULL && result != NULL)
        memcpy(argument, result, sizeof(int));
}

static void on_root(struct rpc_context *rpc, int status, void *result, void *argument) {
    struct nfs_fh3 *root = argument;
    const struct mountres3 *mounted = result;
    on_any(rpc, status, result, NULL);
    if (mounted->fhs_status != 0)
        measure_fail("the export cannot be mounted");
    root->data.data_len = mounted->mountres3_u.mountinfo.fhandle.fhandle3_len;
    root->data.data_val = malloc(root->data.data_len);
    memcpy(root->data.data_val, mounted->mountres3_u.mountinfo.fhandle.fhandle3_val,
           root->data.data_len);
}

static void on_created(struct rpc_context *rpc, int status, void *result, void *argument) {
    const struct CREATE3res *created = result;
    on_any(rpc, status, result, NULL);
    (void)argument;
    if (created->status != NFS3_OK)
        measure_fail("the file cannot be made");
    const struct nfs_fh3 *made = &created->CREATE3res_u.resok.obj.post_op_fh3_u.handle;
    file.data.data_len = made->data.data_len;
    file.data.data_val = malloc(made->data.data_len);
    memcpy(file.data.data_val, made->data.data_val, made->data.data_len);
}

static void serve(struct rpc_context **contexts, uint32_t count) {
    struct pollfd fds[CONNECTIONS_MAX];
    for (uint32_t i = 0; i < count; i++)
        fds[i] = (struct pollfd){.fd = rpc_get_fd(contexts[i]),
                                 .events = (short)rpc_which_events(contexts[i])};
    if (poll(fds, count, 1000) < 0)
        measure_fail("poll");
    for (uint32_t i = 0; i < count; i++)
        if (fds[i].revents != 0 && rpc_service(contexts[i], fds[i].revents) != 0)
            measure_fail("libnfs: %s", rpc_get_error(contexts[i]));
}

static void wait_answer(struct rpc_context *rpc) {
    while (!answered)
        serve(&rpc, 1);
    answered = false;
}

static struct rpc_context *dial(int port, int program) {
    struct rpc_context *rpc = rpc_init_context();
    if (rpc == NULL ||
        rpc_connect_port_async(rpc, "127.0.0.1", port, program, 3, on_any, NULL) != 0)
        measure_fail("no connection to port %d", port);
    wait_answer(rpc);
    rpc_set_uid(rpc, 0);
    rpc_set_gid(rpc, 0);
    return rpc;
}

static void on_io(struct rpc_context *rpc, int status, void *result, void *argument) {
    struct slot *slot = argument;
    (void)rpc;
    if (status != RPC_STATUS_SUCCESS || *(int *)result != 0)
        measure_fail("a call of libnfs failed");
    if (!writes) {
        const struct READ3resok *good = &((struct READ3res *)result)->READ3res_u.resok;
        memcpy(slot->bytes, good->data.data_val, good->data.data_len);
    }
    under_way--;
    ended(slot);
}

static void begin_io(struct slot *slot, bool write, uint64_t offset, uint64_t count) {
    int wrong;
    slot->began_ns = clock_mono_ns();
    if (write) {
        struct WRITE3args args = {
            .file = file,
            .offset = offset,
            .count = (count3)count,
            .stable = UNSTABLE,
            .data = {.data_len = (u_int)count, .data_val = slot->bytes},
        };
        wrong = rpc_nfs3_write_async(slot->rpc, on_io, &args, slot);
    } else {
        struct READ3args args = {.file = file, .offset = offset, .count = (count3)count};
        wrong = rpc_nfs3_read_async(slot->rpc, on_io, &args, slot);
    }
    if (wrong != 0)
        measure_fail("libnfs: %s", rpc_get_error(slot->rpc));
    under_way++;
    rpc_service(slot->rpc, POLLOUT);
}

static void measure_raw(uint32_t count, int port) {
    static char export[] = "/export";
    static char name[] = "raw";
    struct rpc_context *contexts[CONNECTIONS_MAX];
    struct nfs_fh3 root;
    struct rpc_context *mount = dial(port + 1, MOUNT_PROGRAM);
    if (count == 0 || count > CONNECTIONS_MAX)
        measure_fail("1 to %d connections", CONNECTIONS_MAX);
    if (rpc_mount3_mnt_async(mount, on_root, export, &root) != 0)
        measure_fail("no mount call");
    wait_answer(mount);
    for (uint32_t i = 0; i < count; i++)
        contexts[i] = dial(port, NFS_PROGRAM);
    struct CREATE3args create = {.where = {.dir = root, .name = name}, .how = {.mode = UNCHECKED}};
    if (rpc_nfs3_create_async(contexts[0], on_created, &create, NULL) != 0)
        measure_fail("no create call");
    wait_answer(contexts[0]);
    bool wanted = writes;
    writes = true;
    measure_begin(&measure, "rate"); /* counts nothing yet: it begins again below */
    slots[0].rpc = contexts[0];
    for (uint64_t at = 0; at < FILE_BYTES; at += MIB) {
        begin_io(&slots[0], true, at, MIB);
        while (under_way > 0)
            serve(contexts, 1);
    }
    writes = wanted;
    measure_begin(&measure, "rate");
    ready = NULL;
    for (uint32_t i = 0; i < DEPTH; i++) {
        slots[i].rpc = contexts[i % count];
        slots[i].next = ready;
        ready = &slots[i];
    }
    while (!measure_over(&measure)) {
        while (ready != NULL) {
            struct slot *slot = ready;
            ready = slot->next;
            begin_io(slot, writes, next_offset(), length);
        }
        serve(contexts, count);
    }
}

int main(int argc, char **argv) {
    if (argc != 6 || strcmp(argv[5], "rate") != 0)
        measure_fail("usage: driver_nfs ours FORMAT | raw CONNECTIONS, CASE PORT rate");
    choose(argv[3]);
    if (strcmp(argv[1], "ours") == 0)
        measure_ours(argv[2], (int)measure_number(argv[4]));
    else
        measure_raw((uint32_t)measure_number(argv[2]), (int)measure_number(argv[4]));
    measure_print(&measure);
    fflush(stdout);
    _exit(0); /* calls are under way */
}
