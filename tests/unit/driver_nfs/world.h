/* SPDX-License-Identifier: Apache-2.0
 *
 * world.h: what a test of the driver's layers needs around them: a server, services with watches
 * that a thread serves, and an opened export.
 */
#ifndef TESTS_NFS_WORLD_H
#define TESTS_NFS_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs.h"
#include "nfs_server.h"

/* What the services know a call by. */
struct sluice_call {
    char text[SLUICE_TEXT_MAX];
};

extern struct nfs_server_process server;
extern const struct sluice_services services;
extern _Atomic uint32_t events;    /* told so far */
extern _Atomic int64_t last_event; /* its value */
extern char last_log[SLUICE_TEXT_MAX];

/* Ends with 77 where there is no server to be had. */
int world_begin(void **state);
int world_end(void **state);
/* `export` as "/export"; port 0: the server's own. */
int32_t world_open(struct nfs_fs *fs, struct sluice_call *call, const char *export, uint16_t port,
                   uint32_t uid);
void world_give(const char *below, uint32_t uid, uint32_t mode);

#endif
