/* SPDX-License-Identifier: Apache-2.0
 *
 * core.h: the nouns and the operation engine, as the HTTP layer sees them.
 *
 * Reads answer at once from the catalogue. Every change is an operation: core_submit validates,
 * makes the first commit and calls back when that is durable; the operation then goes on by itself,
 * also over restarts, and ends done, failed (everything undone) or cancelled. All on the loop
 * thread.
 *
 * JSON is appended to bufs of the caller. Text in arguments lives as long as the call.
 */
#ifndef SLUICE_CORE_CORE_H
#define SLUICE_CORE_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/shape.h"

struct uv_loop_s;
struct core;

enum core_noun {
#define NOUN(NAME, letter, singular, plural) CORE_##NAME,
#include "core/noun.def"
#undef NOUN
    CORE_NOUNS
};

enum core_kind {
#define OPERATION(id, kind, noun, shape, sentence) KIND_##id,
#define STEP(id, step, undo, sentence)
#include "core/operation.def"
#undef OPERATION
#undef STEP
    CORE_KINDS
};

enum core_role { ROLE_NONE, ROLE_VIEWER, ROLE_TENANT, ROLE_OPERATOR, ROLE_ADMIN };

/* Names of things; what is not found is NULL, CORE_KINDS or CORE_NOUNS. */
const char *core_kind_name(enum core_kind kind);
enum core_kind core_kind_find(const char *name);
const struct shape *core_kind_params(enum core_kind kind);
enum core_noun core_kind_noun(enum core_kind kind);
const char *core_noun_name(enum core_noun noun);
enum core_noun core_noun_find(const char *singular);
const char *core_role_name(enum core_role role);
enum core_role core_role_find(const char *name); /* ROLE_NONE: no such */
/* Names of all fault points of the engine (base/fault.h), from the table of operations:
 * core.KIND.accepted, core.KIND.STEP.before|after|undo_before|undo_after,
 * core.KIND.finishing|finished|turned|undone. */
void core_fault_points(void (*each)(void *arg, const char *name), void *arg);
/* The least role that has the permission; ROLE_NONE: there is no such permission. */
enum core_role core_permission_role(const char *permission);

/* ---- life ----------------------------------------------------------------------------------- */

struct core_options {
    const char *state_directory; /* catalogue and key file */
    const char *const *driver_directories;
    uint32_t driver_directory_count;
    const char *nbd_directory; /* of the listening sockets of attachments by nbd */
    /* How they are reached over TLS (exports_tls); texts that live as long as the core. */
    const char *nbd_listen, *nbd_certificate, *nbd_key, *nbd_address;
    uint32_t nbd_spin_ns;       /* how long sluice-data and runners may look before they sleep */
    int super_fd;               /* socket to sluice-super; owned by the core from here on */
    uint32_t uid_low, uid_high; /* for pools' runners */
    uint64_t map_bytes;         /* of the catalogue, 0: default */
    uint32_t retry_limit_ms;    /* of a step that fails with a RETRY error, 0: 30,000 */
    uint32_t keep_operations_s; /* ended ones, 0: 7 days; 25 hours at least, since keys name them */
    uint32_t keep_events_s;     /* 0: 7 days */
    /* A line of a driver (level: enum sluice_log_level), or a word of the core about what nobody
     * asked for: for the log, since libraries do not write one. May be NULL. */
    void (*on_log)(void *owner, uint32_t level, const char *source, const char *text);
};

/* Opens the catalogue, takes over what runs, recovers operations, starts drivers in order, then
 * pools by name. on_ready: all of that was at least begun, reads and submissions are answered from
 * then on. on_fatal: the gateway cannot go on (the supervisor is gone). */
bool core_open(struct uv_loop_s *loop, const struct core_options *options,
               void (*on_ready)(void *owner), void (*on_fatal)(void *owner, const struct err *err),
               void *owner, struct core **ret, struct err *err);
/* Takes no more submissions; stops all pools at once, then drivers in reverse
 * order of start. on_closed once. The
 * core is freed after it. */
void core_close(struct core *core, void (*on_closed)(void *owner), void *owner);
bool core_ready(const struct core *core);

/* ---- who asks ------------------------------------------------------------------------------- */

struct core_principal {
    char name[128]; /* "token:ci", "uid:0" */
    enum core_role role;
};
/* false: no such token. */
bool core_authenticate(struct core *core, const char *token, struct core_principal *ret);

/* ---- reads ---------------------------------------------------------------------------------- */

/* `reference`: a UUID; for pools, hosts and tokens also a name; for volumes "POOL:NAME"; for
 * snapshots "POOL:VOLUME@NAME"; for drivers "NAME@VERSION". ret_etag: revision. */
bool core_get(struct core *core, enum core_noun noun, const char *reference, struct buf *ret_json,
              uint64_t *ret_etag, struct err *err);

struct core_query {
    const char *pool, *volume, *host; /* references or NULL */
    const char *name, *state, *kind;  /* exact, or NULL */
    const struct text_pairs *labels;  /* all must match, or NULL */
    const char *after;                /* page token, or NULL */
    uint32_t limit;                   /* 1 to CORE_PAGE_MAX */
};
#define CORE_PAGE_MAX 500
/* Appends objects separated by commas (no brackets). ret_next: the token of the next page, "" at
 * the end. An unknown reference in the query is NOT_FOUND; a bad token BAD_REQUEST. A list looks at
 * no more than 10,000 records; where it stops there, the page is short and has a token. */
#define CORE_TOKEN_MAX 160
bool core_list(struct core *core, enum core_noun noun, const struct core_query *query,
               struct buf *ret_json, char ret_next[CORE_TOKEN_MAX], struct err *err);

/* {"steps":[{"position":1,"driver":"a","version":"1.0.0",...}]}: the order of start, nothing done.
 */
bool core_plan(struct core *core, struct buf *ret_json, struct err *err);
/* The property descriptors of a driver, rendered in a language ("en"). */
bool core_descriptors(struct core *core, const char *driver, const char *language,
                      struct buf *ret_json, struct err *err);
/* Volumes that are on the pool's backend and not in the catalogue, or in the catalogue and not
 * there; asks the driver. */
/* Maybe before core_compare or core_capacity returns. */
typedef void core_json_fn(void *arg, struct buf *json, const struct err *err);
void core_compare(struct core *core, const char *pool, core_json_fn *done, void *arg);
/* Capacity, asked of the driver now. */
void core_capacity(struct core *core, const char *pool, core_json_fn *done, void *arg);
/* Version, id, figures of the catalogue, counts. */
void core_gateway_json(struct core *core, struct buf *ret_json);
/* OpenMetrics text without the closing # EOF. */
void core_metrics(struct core *core, struct buf *ret_text);

/* ---- changes -------------------------------------------------------------------------------- */

#define CORE_VIOLATIONS_MAX 16
struct core_violation {
    char field[128]; /* "size_bytes", "properties.path" */
    char text[256];
};

struct core_submission {
    enum core_kind kind;
    const void *params; /* of core_kind_params(kind) */
    const struct core_principal *principal;
    const char *key; /* Idempotency-Key, or NULL */
    unsigned char request_hash[32];
    uint64_t if_match; /* revision that the object must have; 0: any */
};

struct core_accepted {
    struct err err; /* NONE: accepted */
    uint32_t violation_count;
    const struct core_violation *violations; /* with VALIDATION */
    struct sluice_uuid operation;
    bool replayed;      /* the key was known: this is the operation of then */
    const char *secret; /* token_create, first time only: the token */
};
/* on_accepted once, never before core_submit returns; what it gets is valid during the call. */
void core_submit(struct core *core, const struct core_submission *submission,
                 void (*on_accepted)(void *arg, const struct core_accepted *accepted), void *arg);

/* Calls back when the operation has ended (at once, later in this turn, if it has), or when dropped
 * from the catalogue; the watch is gone then. core_unwatch takes it back before; in on_ended it
 * does nothing. Whatever is not back when the core closes is not called. */
struct core_watch;
struct core_watch *core_watch_operation(struct core *core, const struct sluice_uuid *operation,
                                        void (*on_ended)(void *arg), void *arg);
void core_unwatch(struct core_watch *watch);

struct core_outcome {
    bool ended;
    struct err err; /* why it failed or was cancelled */
    enum core_kind kind;
    enum core_noun noun;
    struct sluice_uuid object; /* zero for drivers: object_name then */
    char object_name[256];
};
bool core_outcome(struct core *core, const struct sluice_uuid *operation, struct core_outcome *ret,
                  struct err *err);

/* Turns a running operation round. STATE: it has ended or cannot be undone any more. */
bool core_cancel(struct core *core, const char *operation, const struct core_principal *principal,
                 struct err *err);

/* Ends the wait for a driver that does not answer, or answers "not yet" for ever: the step that
 * waits has failed, with STALLED; an undo is left as it is. What the backend keeps of it is told by
 * core_compare. A process that has the call inside is killed and replaced. STATE: it waits for
 * something else. */
bool core_abandon(struct core *core, const char *operation, const struct core_principal *principal,
                  struct err *err);

/* ---- events --------------------------------------------------------------------------------- */

/* Appends at most `limit` events after number `after`, as JSON objects, one call of `each` an
 * event. GONE: `after` was pruned. ret_last: the last number there is. */
typedef void core_event_fn(void *arg, uint64_t number, const char *type, const char *json);
bool core_events(struct core *core, uint64_t after, uint32_t limit, core_event_fn *each, void *arg,
                 uint64_t *ret_last, struct err *err);
/* Calls `wake` in each loop turn in which events were added. At most 256 at once: NULL. */
struct core_subscription;
struct core_subscription *core_subscribe(struct core *core, void (*wake)(void *arg), void *arg);
void core_unsubscribe(struct core_subscription *subscription);

#endif
