/* SPDX-License-Identifier: Apache-2.0
 *
 * driver_host.h: calls a driver from a test, without a runner.
 *
 * The host is what the driver sees as its runner: a services table that keeps what was said, and
 * data calls that block until complete(). Control calls are made through the tables as they are;
 * those that may answer PENDING have a wrapper that asks again. Whatever goes wrong in the host
 * itself (a driver that does not load, a call that never ends) fails the running cmocka test.
 *
 * Life cycle: host_start, host_open, calls, host_close, host_stop. Threads: control calls from one
 * thread; data calls from several. Limits: a call ends within HOST_DEADLINE_S.
 */
#ifndef TESTS_DRIVER_HOST_H
#define TESTS_DRIVER_HOST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "boundary.h"

#define HOST_DEADLINE_S 60
#define HOST_PROPERTIES_MAX 8

/* The services know it by this name; a call is one question, PENDING answers included. */
struct sluice_call {
    char text[SLUICE_TEXT_MAX]; /* why it failed: the first text */
    int32_t status;             /* what fail() was told with it */
    uint64_t done;
    uint64_t total;
    uint32_t pending; /* how often PENDING was answered */
};

struct host {
    struct boundary boundary;
    struct sluice_services services;
    void *driver;
    uint32_t logged;
    uint32_t events;

    pthread_t thread;     /* serves what the driver has watched */
    int bell;             /* eventfd: something has changed */
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t returned;
    struct sluice_watch *watches;
    struct sluice_watch *calling;
    bool ending;
};

/* A pool, and the call that every wrapper below makes it by. */
struct host_pool {
    struct host *host;
    const struct sluice_storage *table;
    void *pool;
    struct sluice_pool limits;
    struct sluice_call call;
};

void host_start(struct host *host, const char *library);
void host_stop(struct host *host);

/* An id that says its number: ascending numbers are ascending ids. */
struct sluice_uuid host_id(uint32_t number);

/* Opens a pool with a bag of text and number properties, ended by a NULL name. */
struct host_property {
    const char *name;
    const char *text; /* NULL: a number */
    int64_t number;
};
int32_t host_open(struct host_pool *pool, struct host *host, const struct sluice_uuid *id,
                  uint32_t flags, const struct host_property *bag);
void host_close(struct host_pool *pool);

/* A fresh call for a question that is asked directly: HOST_CALL(pool) is a struct sluice_call *. */
struct sluice_call *host_call(struct host_pool *pool);
#define HOST_CALL(pool) host_call(pool)

/* Asks until the answer is not PENDING. */
#define HOST_ASK(pool, ret_status, question)          \
    do {                                              \
        host_call(pool);                              \
        do {                                          \
            (ret_status) = (question);                \
        } while (host_goes_on((pool), (ret_status))); \
    } while (0)
bool host_goes_on(struct host_pool *pool, int32_t status);

int32_t host_create(struct host_pool *pool, const struct sluice_uuid *volume, const char *name,
                    uint64_t size_bytes, struct sluice_volume *ret);
int32_t host_clone(struct host_pool *pool, const struct sluice_uuid *volume, const char *name,
                   uint64_t size_bytes, const struct sluice_uuid *of,
                   const struct sluice_uuid *snapshot, struct sluice_volume *ret);
int32_t host_copy(struct host_pool *pool, const struct sluice_uuid *volume, const char *name,
                  uint64_t size_bytes, const struct sluice_uuid *of, struct sluice_volume *ret);
int32_t host_snapshot(struct host_pool *pool, const struct sluice_uuid *volume,
                      const struct sluice_uuid *snapshot, const char *name,
                      struct sluice_snapshot *ret);
int32_t host_revert(struct host_pool *pool, const struct sluice_uuid *volume,
                    const struct sluice_uuid *snapshot, const struct sluice_uuid *operation,
                    struct sluice_volume *ret);

/* ---- data: each blocks until the driver completed it ---------------------------------------- */

struct host_data {
    struct host_pool *pool;
    struct sluice_data_opened opened;
    uint64_t token; /* of the last call that was completed */
};

int32_t host_data_open(struct host_data *data, struct host_pool *pool,
                       const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                       uint64_t epoch, bool read_only);
void host_data_close(struct host_data *data);
int32_t host_read(struct host_data *data, uint64_t offset, void *ret_bytes, uint64_t length);
int32_t host_write(struct host_data *data, uint64_t offset, const void *bytes, uint64_t length,
                   uint32_t flags);
int32_t host_zero(struct host_data *data, uint64_t offset, uint64_t length, uint32_t flags);
int32_t host_trim(struct host_data *data, uint64_t offset, uint64_t length);
int32_t host_flush(struct host_data *data);
int32_t host_extents(struct host_data *data, uint64_t offset, uint64_t length,
                     struct sluice_extent *ret_extents, uint32_t capacity, uint32_t *ret_count);

#endif
