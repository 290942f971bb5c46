/* SPDX-License-Identifier: Apache-2.0
 *
 * nfs_server.c: see nfs_server.h.
 */
#include "nfs_server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT_FIRST 21000 /* below the range that the kernel hands out */
#define PORT_COUNT 8000

static _Noreturn void give_up(const char *what) {
    fprintf(stderr, "nfs_server: %s\n", what);
    abort();
}

/* Runs a program; what it says goes to the server's log. */
static void run_program(const struct nfs_server_process *server, char *const arguments[]) {
    char log[300];
    int status;
    snprintf(log, sizeof log, "%s.log", server->state);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        execvp(arguments[0], arguments);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "%s %s: see %s\n", arguments[0], arguments[3], log);
        give_up("the server's script failed");
    }
}

static void run(struct nfs_server_process *server, const char *verb) {
    char port[8];
    char words[][8] = {"timeout", "60", "bash"};
    char script[] = NFS_SH;
    char verb_word[16];
    snprintf(port, sizeof port, "%u", server->port);
    snprintf(verb_word, sizeof verb_word, "%s", verb);
    char *arguments[] = {words[0],  words[1],      words[2], script,
                         verb_word, server->state, port,     NULL};
    run_program(server, arguments);
}

static bool is_free(uint16_t port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return good;
}

static uint16_t free_pair(void) {
    uint32_t first = (uint32_t)getpid() * 7919;
    for (uint32_t i = 0; i < PORT_COUNT; i += 2) {
        uint16_t port = (uint16_t)(PORT_FIRST + (first + i) % PORT_COUNT);
        if (is_free(port) && is_free((uint16_t)(port + 1))) {
            return port;
        }
    }
    give_up("no free ports");
}

bool nfs_server_possible(void) {
    return geteuid() == 0 && access("/usr/bin/ganesha.nfsd", X_OK) == 0 &&
           (access("/sbin/rpcbind", X_OK) == 0 || access("/usr/sbin/rpcbind", X_OK) == 0);
}

void nfs_server_start(struct nfs_server_process *server, const char *more) {
    char exports[1024] = "";
    size_t length = 0;
    snprintf(server->state, sizeof server->state, "/tmp/sluice-nfs.XXXXXX");
    if (mkdtemp(server->state) == NULL) {
        give_up("no folder");
    }
    server->port = free_pair();
    for (const char *at = more; at != NULL && *at != '\0' && length < sizeof exports; at++) {
        const char one[] = {*at, '\0'};
        length += (size_t)snprintf(exports + length, sizeof exports - length, "%s",
                                   *at == '@' ? server->state : one);
    }
    setenv("NFS_EXPORTS", exports, 1);
    run(server, "start");
    unsetenv("NFS_EXPORTS");
}

void nfs_server_kill(struct nfs_server_process *server) {
    run(server, "kill");
}

void nfs_server_restart(struct nfs_server_process *server) {
    run(server, "start");
}

void nfs_server_stop(struct nfs_server_process *server) {
    char log[300];
    char words[][8] = {"rm", "-rf", "--"};
    char *arguments[] = {words[0], words[1], words[2], server->state, log, NULL};
    run(server, "stop");
    snprintf(log, sizeof log, "%s.log", server->state);
    run_program(server, arguments);
    unlink(log); /* which the last one has made again */
}

void nfs_server_path(const struct nfs_server_process *server, const char *below, char ret[512]) {
    snprintf(ret, 512, "%s/%s", server->state, below);
}
