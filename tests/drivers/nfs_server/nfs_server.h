/* SPDX-License-Identifier: Apache-2.0
 *
 * nfs_server.h: a real NFS server of a test program's own (tests/servers/nfs.sh).
 *
 * Its state and exports lie below a new folder of the temporary directory, which is removed with
 * it. What should not happen ends the program with a text on stderr. One thread.
 */
#ifndef TESTS_NFS_SERVER_H
#define TESTS_NFS_SERVER_H

#include <stdbool.h>
#include <stdint.h>

struct nfs_server_process {
    char state[256];
    uint16_t port; /* of NFS; mount: the next one */
};

/* A server can be had here: root, and the packages. */
bool nfs_server_possible(void);
/* Exports /export, and `more` as NFS_EXPORTS with "@" for the state folder; NULL: nothing more. */
void nfs_server_start(struct nfs_server_process *server, const char *more);
/* As a crash; what was not on stable storage may be lost. */
void nfs_server_kill(struct nfs_server_process *server);
/* After a kill: the same exports at the same ports. */
void nfs_server_restart(struct nfs_server_process *server);
void nfs_server_stop(struct nfs_server_process *server);
/* The exported directory, or a path below it. */
void nfs_server_path(const struct nfs_server_process *server, const char *below, char ret[512]);

#endif
