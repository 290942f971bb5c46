/* SPDX-License-Identifier: Apache-2.0
 *
 * request.c: see request.h.
 */
#include "data/request.h"

#include <stdlib.h>

#include "base/check.h"
#include "data/connection.h"
#include "data/export.h"
#include "data/volume.h"
#include <sluice/driver.h>

#define ZEROES_CALL_MAX (32u * 1024 * 1024) /* a call without payload should not take for ever */

bool request_table_init(struct request_table *table) {
    table->at = calloc(REQUESTS_MAX, sizeof *table->at);
    TAILQ_INIT(&table->free);
    if (table->at == NULL)
        return false;
    for (uint32_t i = 0; i < REQUESTS_MAX; i++)
        TAILQ_INSERT_TAIL(&table->free, &table->at[i], link);
    table->free_count = REQUESTS_MAX;
    return true;
}

void request_table_release(struct request_table *table) {
    free(table->at);
    table->at = NULL;
}

struct request *request_take(struct request_table *table, struct connection *connection,
                             const struct nbd_request *command) {
    uint32_t held = connection->request_count;
    if (table->free_count == 0 || held >= REQUESTS_OF_ONE ||
        (held > 0 && held >= table->free_count / 2 + 1))
        return NULL;
    struct request *request = TAILQ_FIRST(&table->free);
    TAILQ_REMOVE(&table->free, request, link);
    table->free_count--;
    request->state = REQUEST_OPEN;
    request->answered = request->began = request->held = false;
    request->outstanding = request->pieces = request->error = 0;
    request->next = command->offset;
    request->command = *command;
    request->connection = connection;
    request->export = connection->export;
    STAILQ_INIT(&request->calls);
    connection->request_count++;
    TAILQ_INSERT_TAIL(&connection->requests, request, link);
    TAILQ_INSERT_TAIL(&request->export->requests, request, of_export);
    return request;
}

static void free_when_done(struct request *request) {
    if (request->state != REQUEST_ISSUED || request->outstanding > 0 || request->pieces > 0 ||
        (request->connection != NULL && !request->answered))
        return;
    struct request_table *table = &request->export->loop->requests;
    if (request->connection != NULL) {
        TAILQ_REMOVE(&request->connection->requests, request, link);
        request->connection->request_count--;
    }
    TAILQ_REMOVE(&request->export->requests, request, of_export);
    request->state = REQUEST_FREE;
    TAILQ_INSERT_HEAD(&table->free, request, link);
    table->free_count++;
    request->export->volume->pool->freed = true;
}

static struct pool *pool_of(const struct request *request) {
    return request->export->volume->pool;
}

static void give_call(struct request *request, struct call *call) {
    struct connection *connection = request->connection;
    pool_give_call(pool_of(request), call, connection != NULL ? &connection->holder : NULL);
}

/* ---- replies -------------------------------------------------------------------------------- */

static void queue_piece(struct request *request, struct piece *piece, const uint8_t *header,
                        size_t length, struct call *call) {
    *piece = (struct piece){
        .header = header, .header_length = (uint32_t)length, .call = call, .request = request};
    request->pieces++;
    request->began = true;
    connection_queue_piece(request->connection, piece);
}

static bool is_structured(const struct request *request) {
    return request->connection->handshake.structured;
}

/* A simple reply of a read is header and bytes, and nothing may come in between, however many calls
 * it is made of. What would is held until that reply has ended. A read that still needs pages does
 * not begin before the others are answered: they would hold pages that it waits for. */
static bool may_reply(const struct request *request) {
    const struct connection *connection = request->connection;
    if (connection->replying != NULL)
        return connection->replying == request;
    if (is_structured(request) || request->state == REQUEST_ISSUED)
        return true;
    const struct request *other;
    TAILQ_FOREACH(other, &connection->requests, link)
    if (other != request && !other->answered)
        return false;
    return true;
}

static void hold(struct request *request) {
    if (!request->held)
        request->connection->held++;
    request->held = true;
}

/* The whole reply, or the end of one that began. */
static void answer(struct request *request, uint32_t error) {
    uint64_t cookie = request->command.cookie;
    uint16_t type = request->command.type;
    bool chunks = is_structured(request) && (type == NBD_READ || type == NBD_BLOCK_STATUS);
    request->answered = true;
    if (request->began && !chunks) {
        /* The client counts on bytes that will not come. */
        connection_doom(request->connection);
        return;
    }
    CHECK(error != 0 || !chunks);
    size_t length = chunks ? nbd_reply_error(request->header, cookie, error)
                           : nbd_reply_simple(request->header, cookie, error);
    queue_piece(request, &request->piece, request->header, length, NULL);
}

/* Of all but a read. */
static void reply(struct request *request) {
    if (may_reply(request))
        answer(request, request->error);
    else
        hold(request);
}

void request_refuse(struct request *request, uint32_t error) {
    request->state = REQUEST_ISSUED;
    request->error = error;
    reply(request);
}

static void reply_read(struct request *request, struct call *call) {
    const struct nbd_request *command = &request->command;
    bool last = call->offset + call->length == command->offset + command->length;
    size_t length = 0;
    if (is_structured(request))
        length = nbd_reply_data(call->header, command->cookie, call->offset, (uint32_t)call->length,
                                last);
    else if (!request->began)
        length = nbd_reply_simple(call->header, command->cookie, 0);
    request->answered = last;
    request->connection->replying = last || is_structured(request) ? NULL : request;
    queue_piece(request, &call->piece, call->header, length, call);
}

/* Those at the front that are done. */
static void reply_reads(struct request *request) {
    struct call *call;
    while ((call = STAILQ_FIRST(&request->calls)) != NULL && call->state == CALL_DONE) {
        bool replies = request->connection != NULL && !request->answered;
        if (replies && !may_reply(request)) {
            hold(request);
            return;
        }
        STAILQ_REMOVE_HEAD(&request->calls, of_request);
        if (!replies) {
            give_call(request, call);
        } else if (call->status == SLUICE_OK) {
            reply_read(request, call);
        } else {
            uint32_t error = nbd_error_of(call->status);
            give_call(request, call);
            if (request->state == REQUEST_OPEN) {
                request->state = REQUEST_ISSUED; /* the rest is of no use */
                request->connection->current = NULL;
            }
            answer(request, error);
        }
    }
}

static void reply_extents(struct request *request, const struct nbd_extent *extents,
                          uint32_t count) {
    request->answered = true;
    size_t length = nbd_reply_extents(request->header, request->command.cookie, extents, count);
    queue_piece(request, &request->piece, request->header, length, NULL);
}

/* The entries lie in memory that the runner may still change: each is copied, then judged. */
static void reply_status(struct request *request, const struct call *call) {
    const struct ring_extent *entries = pool_payload(pool_of(request), call);
    uint32_t most = (request->command.flags & NBD_REQ_ONE) != 0 ? 1 : NBD_EXTENTS_MAX;
    struct nbd_extent extents[NBD_EXTENTS_MAX];
    uint32_t count = 0;
    uint64_t left = call->length;
    for (uint32_t i = 0; i < call->count && left > 0; i++) {
        uint64_t length = *(const volatile uint64_t *)&entries[i].length;
        uint64_t flags = *(const volatile uint64_t *)&entries[i].flags;
        if (length == 0)
            break;
        if (length > left)
            length = left;
        left -= length;
        uint32_t state = ((flags & SLUICE_EXTENT_HOLE) != 0 ? NBD_STATE_HOLE : 0) |
                         ((flags & SLUICE_EXTENT_ZERO) != 0 ? NBD_STATE_ZERO : 0);
        if (count > 0 && extents[count - 1].flags == state) {
            extents[count - 1].length += (uint32_t)length;
            continue;
        }
        if (count == most)
            break;
        extents[count++] = (struct nbd_extent){.length = (uint32_t)length, .flags = state};
    }
    if (count == 0)
        answer(request, NBD_EIO);
    else
        reply_extents(request, extents, count);
}

/* Those that were held for a reply that has ended, or for each other, in the order of arrival. */
static void reply_held(struct connection *connection) {
    struct request *request;
    TAILQ_FOREACH(request, &connection->requests, link) {
        if (!request->held)
            continue;
        request->held = false;
        connection->held--;
        if (request->command.type == NBD_READ && !STAILQ_EMPTY(&request->calls))
            reply_reads(request);
        else
            reply(request);
    }
}

static void end_call(struct request *request, struct call *call) {
    request->outstanding--;
    if (request->command.type == NBD_READ) {
        reply_reads(request);
        free_when_done(request);
        return;
    }
    if (call->status != SLUICE_OK && request->error == 0)
        request->error = nbd_error_of(call->status);
    bool replies = request->connection != NULL && request->state == REQUEST_ISSUED &&
                   request->outstanding == 0 && !request->answered;
    if (replies && request->command.type == NBD_BLOCK_STATUS && request->error == 0)
        reply_status(request, call);
    else if (replies)
        reply(request);
    give_call(request, call);
    free_when_done(request);
}

static void on_call_done(struct call *call) {
    struct connection *connection = call->request->connection;
    end_call(call->request, call);
    if (connection != NULL && connection->held > 0 && connection->replying == NULL)
        reply_held(connection);
}

void request_on_piece_gone(struct piece *piece) {
    struct request *request = piece->request;
    if (piece->call != NULL)
        give_call(request, piece->call);
    request->pieces--;
    free_when_done(request);
}

/* ---- calls ---------------------------------------------------------------------------------- */

static uint16_t io_flags(const struct request *request) {
    uint16_t flags = 0;
    uint16_t asked = request->command.flags;
    /* Stable reads and flushes are no more than reads and flushes. */
    if (request->command.type == NBD_READ || request->command.type == NBD_FLUSH)
        return 0;
    if ((asked & NBD_FUA) != 0)
        flags |= SLUICE_IO_FUA;
    if (request->command.type == NBD_WRITE_ZEROES && (asked & NBD_FAST_ZERO) != 0)
        flags |= SLUICE_IO_FAST_ZERO;
    if (request->command.type == NBD_WRITE_ZEROES && (asked & NBD_NO_HOLE) != 0)
        flags |= SLUICE_IO_NO_HOLE;
    return flags;
}

static uint16_t verb_of(uint16_t type) {
    switch (type) {
    case NBD_READ:
        return RING_READ;
    case NBD_WRITE:
        return RING_WRITE;
    case NBD_TRIM:
        return RING_TRIM;
    case NBD_WRITE_ZEROES:
        return RING_WRITE_ZEROES;
    case NBD_BLOCK_STATUS:
        return RING_EXTENTS;
    default:
        return RING_FLUSH;
    }
}

static uint64_t left_of(const struct request *request) {
    return request->command.offset + request->command.length - request->next;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* NULL: there is no room. */
static struct call *make_call(struct request *request) {
    const struct export *export = request->export;
    uint16_t type = request->command.type;
    bool carries = type == NBD_READ || type == NBD_WRITE;
    uint64_t unit = export->io_align > RING_PAGE ? export->io_align : RING_PAGE;
    uint64_t payload = 0;
    if (carries)
        payload = smaller(left_of(request), export->call_max);
    if (type == NBD_BLOCK_STATUS)
        payload = RING_PAGE;
    if ((request->command.flags & NBD_DF) != 0)
        unit = RING_CALL_MAX; /* in one piece or not now */
    struct call *call =
        pool_take_call(pool_of(request), payload, unit, &request->connection->holder);
    if (call == NULL)
        return NULL;
    call->request = request;
    call->on_done = on_call_done;
    call->verb = verb_of(type);
    call->flags = io_flags(request);
    call->offset = request->next;
    if (type == NBD_BLOCK_STATUS)
        call->length = left_of(request);
    else if (!carries && type != NBD_FLUSH)
        call->length = smaller(left_of(request), ZEROES_CALL_MAX);
    return call;
}

static void submit(struct request *request, struct call *call) {
    request->next += call->length;
    request->outstanding++;
    if (request->command.type == NBD_FLUSH || left_of(request) == 0)
        request->state = REQUEST_ISSUED;
    if (request->command.type == NBD_READ)
        STAILQ_INSERT_TAIL(&request->calls, call, of_request);
    volume_submit(request->export->volume, call);
}

static enum issue issue_write(struct request *request) {
    struct connection *connection = request->connection;
    while (request->state == REQUEST_OPEN) {
        if (connection->filling == NULL)
            connection->filling = make_call(request);
        struct call *call = connection->filling;
        if (call == NULL)
            return ISSUE_NEEDS_ROOM;
        uint8_t *payload = pool_payload(pool_of(request), call);
        call->filled += connection_take_bytes(connection, payload + call->filled,
                                              (uint32_t)call->length - call->filled);
        if (call->filled < call->length)
            return ISSUE_NEEDS_BYTES;
        connection->filling = NULL;
        submit(request, call);
    }
    return ISSUE_DONE;
}

enum issue request_issue(struct request *request) {
    if (request->command.type == NBD_BLOCK_STATUS && !request->export->extents) {
        request->state = REQUEST_ISSUED;
        struct nbd_extent all = {.length = request->command.length};
        reply_extents(request, &all, 1);
        return ISSUE_DONE;
    }
    if (request->command.type == NBD_WRITE)
        return issue_write(request);
    while (request->state == REQUEST_OPEN) {
        struct call *call = make_call(request);
        if (call == NULL)
            return ISSUE_NEEDS_ROOM;
        submit(request, call);
    }
    return ISSUE_DONE;
}

/* ---- ends ----------------------------------------------------------------------------------- */

void request_abandon(struct request *request) {
    TAILQ_REMOVE(&request->connection->requests, request, link);
    request->connection = NULL;
    request->state = REQUEST_ISSUED;
    reply_reads(request); /* gives back what is done already */
    free_when_done(request);
}

void request_cancel(struct request *request) {
    struct volume *volume = request->export->volume;
    /* The request is freed with the last of its calls. */
    struct call *call = TAILQ_FIRST(&volume->queue);
    while (call != NULL) {
        struct call *next = TAILQ_NEXT(call, link);
        bool last = request->outstanding == 1;
        if (call->request == request) {
            volume_cancel(volume, call);
            if (last)
                return;
        }
        call = next;
    }
}
