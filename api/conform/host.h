/* SPDX-License-Identifier: Apache-2.0
 *
 * host.h: calls a driver without a runner.
 *
 * The host is what the driver sees as its runner: a services table that keeps what was said, and
 * data calls that can be waited for. Each control call has a wrapper that asks again while the
 * answer is PENDING and looks whether the answer is one that the contract knows; what breaks the
 * contract whatever the question was is a failed expectation (expect.h).
 *
 * Invariants: what the driver is handed as a sluice_io lies in an array that lives until host_end,
 * and a place is used again only after all the others were, so that a second complete() is seen.
 * Life cycle: host_begin, host_open_pool, calls, host_close, host_end. Threads: each thread that
 * makes control calls has a struct host_pool of its own (a copy will do); data calls from any.
 * Limits: a call that is not over after `deadline_s` without progress has failed.
 */
#ifndef SLUICE_CONFORM_HOST_H
#define SLUICE_CONFORM_HOST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "conform/boundary.h"
#include "conform/expect.h"
#include "conform/watch.h"
#include "conform/watches.h"

#define HOST_DEADLINE_S 60
#define HOST_IOS_MAX 1024 /* data calls at once; a driver's own limit is asked for up to half */

/* The services know it by this name; a call is one question, PENDING answers included. */
struct sluice_call {
    char text[SLUICE_TEXT_MAX]; /* why it failed: the first text */
    int32_t status;             /* what fail() was told with it */
    uint64_t done;
    uint64_t total;
    uint32_t pending;  /* how often PENDING was answered */
    uint64_t moved_ms; /* when it last made progress */
};

struct host_io {
    struct sluice_io io;
    bool running;
    int32_t status;
    uint64_t token;
};

struct host {
    struct boundary boundary;
    struct sluice_services services;
    struct watch *watch; /* NULL: nobody watches */
    uint32_t deadline_s;
    void *driver;
    uint32_t logged;
    uint32_t events;
    struct watches watches;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t ended;
    uint32_t wrong; /* complete() of what was not under way */
    uint32_t next;
    struct host_io *ios;
};

/* A pool, and the call that every wrapper below makes it by. */
struct host_pool {
    struct host *host;
    const struct sluice_storage *table;
    void *pool;
    struct sluice_pool limits;
    const char *asked; /* the last question's name */
    struct sluice_call call;
};

const char *status_name(int32_t status);

void host_begin(struct host *host, const char *library, struct watch *watch, uint32_t deadline_s);
void host_end(struct host *host);
/* Waits; where everything is called on one thread (LOOP), it serves the driver's watches. */
void host_pause(struct host *host, uint32_t wait_ms);
/* Whether nothing was completed that was not under way; expects it. */
void host_check(struct host *host);

/* An id that says its number: ascending numbers are ascending ids. */
struct sluice_uuid host_id(uint32_t number);
bool host_is_id(const struct sluice_uuid *id);

int32_t host_open_pool(struct host_pool *pool, struct host *host, const struct sluice_uuid *id,
                       uint32_t flags, const struct sluice_properties *properties);
void host_close(struct host_pool *pool);

/* A fresh call for a question that is asked directly: HOST_CALL(pool) is a struct sluice_call *. */
struct sluice_call *host_call(struct host_pool *pool, const char *name);
#define HOST_CALL(pool) host_call((pool), NULL)

/* Asks until the answer is not PENDING. `question` uses &pool->call. */
#define HOST_ASK_AS(pool, name, ret_status, retry_after_ms, question)   \
    do {                                                                \
        host_call((pool), (name));                                      \
        do {                                                            \
            host_enter(pool);                                           \
            (ret_status) = (question);                                  \
        } while (host_goes_on((pool), (ret_status), (retry_after_ms))); \
    } while (0)
#define HOST_ASK(pool, ret_status, question) HOST_ASK_AS(pool, NULL, ret_status, 0, question)
void host_enter(struct host_pool *pool);
bool host_goes_on(struct host_pool *pool, int32_t status, uint32_t retry_after_ms);

int32_t host_stat(struct host_pool *pool, struct sluice_capacity *ret);
int32_t host_probe(struct host_pool *pool);
int32_t host_release(struct host_pool *pool);

int32_t host_create_as(struct host_pool *pool, const struct sluice_volume_create *args,
                       struct sluice_volume *ret);
/* Asks once: PENDING is an answer too. */
int32_t host_create_once(struct host_pool *pool, const struct sluice_volume_create *args,
                         struct sluice_volume *ret);
int32_t host_create(struct host_pool *pool, const struct sluice_uuid *volume, const char *name,
                    uint64_t size_bytes, struct sluice_volume *ret);
int32_t host_clone(struct host_pool *pool, const struct sluice_uuid *volume, const char *name,
                   uint64_t size_bytes, const struct sluice_uuid *of,
                   const struct sluice_uuid *snapshot, struct sluice_volume *ret);
int32_t host_copy(struct host_pool *pool, const struct sluice_uuid *volume, const char *name,
                  uint64_t size_bytes, const struct sluice_uuid *of, struct sluice_volume *ret);
int32_t host_delete(struct host_pool *pool, const struct sluice_uuid *volume);
int32_t host_get(struct host_pool *pool, const struct sluice_uuid *volume,
                 struct sluice_volume *ret);
int32_t host_list(struct host_pool *pool, struct sluice_list *list);
int32_t host_resize(struct host_pool *pool, const struct sluice_uuid *volume, uint64_t size_bytes,
                    struct sluice_volume *ret);
int32_t host_revert(struct host_pool *pool, const struct sluice_uuid *volume,
                    const struct sluice_uuid *snapshot, const struct sluice_uuid *operation,
                    struct sluice_volume *ret);
int32_t host_adopt(struct host_pool *pool, const struct sluice_uuid *volume, const char *reference,
                   const char *name, struct sluice_volume *ret);
/* ret_reference: SLUICE_PATH_MAX bytes. */
int32_t host_unmanage(struct host_pool *pool, const struct sluice_uuid *volume,
                      char *ret_reference);
int32_t host_snapshot(struct host_pool *pool, const struct sluice_uuid *volume,
                      const struct sluice_uuid *snapshot, const char *name,
                      struct sluice_snapshot *ret);
int32_t host_snapshot_delete(struct host_pool *pool, const struct sluice_uuid *volume,
                             const struct sluice_uuid *snapshot);
int32_t host_snapshot_get(struct host_pool *pool, const struct sluice_uuid *volume,
                          const struct sluice_uuid *snapshot, struct sluice_snapshot *ret);
int32_t host_snapshot_list(struct host_pool *pool, struct sluice_list *list);
int32_t host_grant(struct host_pool *pool, const struct sluice_access_grant *args,
                   struct sluice_connection *ret);
int32_t host_revoke(struct host_pool *pool, const struct sluice_uuid *attachment,
                    const struct sluice_uuid *volume);

/* ---- data ----------------------------------------------------------------------------------- */

struct host_data {
    struct host_pool *pool;
    struct sluice_data_opened opened;
    uint64_t token; /* of the last call that was waited for */
};

/* Asked once: BUSY is an answer like others. */
int32_t host_data_open(struct host_data *data, struct host_pool *pool,
                       const struct sluice_uuid *volume, const struct sluice_uuid *snapshot,
                       uint64_t epoch, bool read_only);
/* Asked again while the answer is one that says so (BUSY, UNREACHABLE, ...), as the gateway does.
 */
int32_t host_data_open_patiently(struct host_data *data, struct host_pool *pool,
                                 const struct sluice_uuid *volume,
                                 const struct sluice_uuid *snapshot, uint64_t epoch,
                                 bool read_only);
void host_data_close(struct host_data *data);

enum host_verb {
    HOST_READ,
    HOST_WRITE,
    HOST_FLUSH,
    HOST_ZEROES,
    HOST_TRIM,
    HOST_EXTENTS,
};

/* Makes the call; what `what` points to must stay until host_wait, which every one needs. */
struct host_io *host_submit(struct host_data *data, enum host_verb verb,
                            const struct sluice_io *what);
/* The status; *ret_io (may be NULL) comes back as the driver left it. */
int32_t host_wait(struct host_data *data, struct host_io *io, struct sluice_io *ret_io);

/* Tells the driver that the call is no longer wanted, unless it is over; host_wait all the same. */
void host_cancel(struct host_data *data, struct host_io *io);

/* Each blocks until the driver completed it. */
int32_t host_read(struct host_data *data, uint64_t offset, void *ret_bytes, uint64_t length);
int32_t host_write(struct host_data *data, uint64_t offset, const void *bytes, uint64_t length,
                   uint32_t flags);
int32_t host_zero(struct host_data *data, uint64_t offset, uint64_t length, uint32_t flags);
int32_t host_trim(struct host_data *data, uint64_t offset, uint64_t length);
int32_t host_flush(struct host_data *data);
int32_t host_extents(struct host_data *data, uint64_t offset, uint64_t length,
                     struct sluice_extent *ret_extents, uint32_t capacity, uint32_t *ret_count);

#endif
