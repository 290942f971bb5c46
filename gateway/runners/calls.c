/* SPDX-License-Identifier: Apache-2.0
 *
 * calls.c: two lists a place, two for all.
 */
#include "runners/calls.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"

void call_shelf_init(struct call_shelf *shelf, uint64_t incarnation) {
    *shelf = (struct call_shelf){.incarnation = (uint32_t)incarnation};
    TAILQ_INIT(&shelf->free);
    TAILQ_INIT(&shelf->ended);
}

static void close_descriptors(struct call *call) {
    for (uint32_t i = 0; i < call->fd_count; i++)
        close(call->fds[i]);
    call->fd_count = 0;
}

static void destroy(struct call *call) {
    buf_release(&call->packet);
    free(call);
}

void call_shelf_release(struct call_shelf *shelf) {
    struct call *call;
    CHECK(TAILQ_EMPTY(&shelf->ended));
    while ((call = TAILQ_FIRST(&shelf->free)) != NULL) {
        TAILQ_REMOVE(&shelf->free, call, entry);
        destroy(call);
    }
    shelf->free_count = 0;
}

uint64_t call_next_id(struct call_shelf *shelf) {
    if (++shelf->last_id == 0) /* 0 is no call; those of that long ago have ended */
        shelf->last_id = 1;
    return (uint64_t)shelf->incarnation << 32 | shelf->last_id;
}

struct call *call_take(struct call_shelf *shelf, uint16_t number, runner_reply_fn *on_reply,
                       void *arg) {
    struct call *call = TAILQ_FIRST(&shelf->free);
    if (call != NULL) {
        TAILQ_REMOVE(&shelf->free, call, entry);
        shelf->free_count--;
    } else {
        call = calloc(1, sizeof *call);
        /* An error has to be kept somewhere until the loop tells it; without a kilobyte there is
         * no way to go on. */
        CHECK(call != NULL);
        buf_init(&call->packet, WIRE_PACKET_MAX);
    }
    call->id = call_next_id(shelf);
    call->number = number;
    call->deaths = 0;
    call->once = false;
    call->on_reply = on_reply;
    call->arg = arg;
    return call;
}

void call_give(struct call_shelf *shelf, struct call *call) {
    close_descriptors(call);
    if (shelf->free_count >= CALLS_FREE_MAX || call->packet.capacity > CALLS_FREE_PACKET_MAX) {
        destroy(call);
        return;
    }
    buf_clear(&call->packet);
    TAILQ_INSERT_HEAD(&shelf->free, call, entry);
    shelf->free_count++;
}

void call_end(struct call_shelf *shelf, struct call *call, enum err_code code, const char *text) {
    call->err = ERR_INIT;
    err_set(&call->err, code, "%s", text);
    TAILQ_INSERT_TAIL(&shelf->ended, call, entry);
}

void call_tell_ended(struct call_shelf *shelf) {
    struct call_list now;
    struct call *call;
    TAILQ_INIT(&now);
    TAILQ_CONCAT(&now, &shelf->ended, entry);
    while ((call = TAILQ_FIRST(&now)) != NULL) {
        struct runner_reply reply = {.err = call->err};
        TAILQ_REMOVE(&now, call, entry);
        call->on_reply(call->arg, &reply);
        call_give(shelf, call);
    }
}

void call_queue_init(struct call_queue *queue) {
    *queue = (struct call_queue){0};
    TAILQ_INIT(&queue->sent);
    TAILQ_INIT(&queue->unsent);
}

void call_queue_add(struct call_queue *queue, struct call *call) {
    TAILQ_INSERT_TAIL(&queue->unsent, call, entry);
    queue->unsent_count++;
}

struct call *call_queue_next(const struct call_queue *queue, uint32_t suspect_deaths,
                             uint64_t patience_ms) {
    struct call *next = TAILQ_FIRST(&queue->unsent);
    const struct call *first = TAILQ_FIRST(&queue->sent);
    if (next == NULL || queue->sent_count >= WIRE_CALLS_MAX)
        return NULL;
    if (first != NULL && first->sent_ms > patience_ms &&
        (first->deaths >= suspect_deaths || next->deaths >= suspect_deaths))
        return NULL;
    return next;
}

void call_queue_sent(struct call_queue *queue, struct call *call, uint64_t now_ms) {
    TAILQ_REMOVE(&queue->unsent, call, entry);
    TAILQ_INSERT_TAIL(&queue->sent, call, entry);
    queue->unsent_count--;
    queue->sent_count++;
    call->sent_ms = now_ms;
}

struct call *call_queue_answered(struct call_queue *queue, uint64_t id) {
    struct call *call;
    /* Most answers come in order, so it is most often the first. */
    TAILQ_FOREACH(call, &queue->sent, entry) {
        if (call->id == id) {
            TAILQ_REMOVE(&queue->sent, call, entry);
            queue->sent_count--;
            return call;
        }
    }
    return NULL;
}

struct call *call_queue_take(struct call_queue *queue, const void *arg, bool *ret_sent) {
    struct call *call;
    TAILQ_FOREACH(call, &queue->sent, entry) {
        if (call->arg == arg) {
            TAILQ_REMOVE(&queue->sent, call, entry);
            queue->sent_count--;
            *ret_sent = true;
            return call;
        }
    }
    TAILQ_FOREACH(call, &queue->unsent, entry) {
        if (call->arg == arg) {
            TAILQ_REMOVE(&queue->unsent, call, entry);
            queue->unsent_count--;
            *ret_sent = false;
            return call;
        }
    }
    return NULL;
}

void call_queue_replay(struct call_queue *queue, struct call_shelf *shelf, bool died,
                       uint32_t poison_deaths, const char *cause) {
    struct call_list again;
    struct call *call;
    TAILQ_INIT(&again);
    while ((call = TAILQ_FIRST(&queue->sent)) != NULL) {
        TAILQ_REMOVE(&queue->sent, call, entry);
        queue->sent_count--;
        if (call->once) {
            call_end(shelf, call, ERR_RUNNER_LOST, cause);
            continue;
        }
        if (died && ++call->deaths >= poison_deaths) {
            call_end(shelf, call, ERR_POISONED, cause);
            continue;
        }
        TAILQ_INSERT_TAIL(&again, call, entry);
        queue->unsent_count++;
    }
    while ((call = TAILQ_FIRST(&queue->unsent)) != NULL) {
        TAILQ_REMOVE(&queue->unsent, call, entry);
        if (call->once) {
            queue->unsent_count--;
            call_end(shelf, call, ERR_RUNNER_LOST, cause);
            continue;
        }
        TAILQ_INSERT_TAIL(&again, call, entry);
    }
    TAILQ_CONCAT(&queue->unsent, &again, entry);
}

void call_queue_end(struct call_queue *queue, struct call_shelf *shelf, bool also_sent,
                    enum err_code code, const char *text) {
    struct call *call;
    while (also_sent && (call = TAILQ_FIRST(&queue->sent)) != NULL) {
        TAILQ_REMOVE(&queue->sent, call, entry);
        queue->sent_count--;
        call_end(shelf, call, code, text);
    }
    while ((call = TAILQ_FIRST(&queue->unsent)) != NULL) {
        TAILQ_REMOVE(&queue->unsent, call, entry);
        queue->unsent_count--;
        call_end(shelf, call, code, text);
    }
}
