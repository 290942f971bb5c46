/* SPDX-License-Identifier: Apache-2.0
 *
 * fake_core.h: a core that a test tells what to answer, for the one test that includes it. It takes
 * the place of all of core.h but the names; what it was asked is counted.
 */
#ifndef SLUICE_TESTS_FAKE_CORE_H
#define SLUICE_TESTS_FAKE_CORE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/uuid.h"
#include "core/core.h"

#define FAKE_CALLS_MAX 300
#define FAKE_EVENTS_MAX 64
#define FAKE_OBJECT "{\"id\":\"0190a0b0-0000-7000-8000-000000000001\",\"name\":\"disk1\"}"
#define FAKE_ID "0190a0b0-0000-7000-8000-000000000001"

struct core {
    bool ready;
    /* submissions whose callback is still to be made, oldest first */
    struct {
        void (*done)(void *arg, const struct core_accepted *accepted);
        void *arg;
    } submitted[FAKE_CALLS_MAX];
    uint32_t submitted_count;
    uint32_t submissions; /* in all */
    char key[64], name[64], principal[128];
    uint64_t if_match;
    bool ended; /* what core_outcome says */
    struct err outcome_err;
    struct core_watch {
        struct core *core;
        void (*ended)(void *arg);
        void *arg;
    } * watches[FAKE_CALLS_MAX];
    uint32_t watch_count;
    core_json_fn *json_done;
    void *json_arg;
    struct core_subscription {
        struct core *core;
        void (*wake)(void *arg);
        void *arg;
    } * subscriptions[FAKE_CALLS_MAX];
    uint32_t subscription_count;
    uint64_t events; /* numbered from 1 */
    size_t event_bytes;
    size_t list_bytes;
};

/* ---- what a test does ------------------------------------------------------------------------ */

/* Answers the oldest submission. */
static inline void fake_accept(struct core *core, const struct core_accepted *accepted) {
    CHECK(core->submitted_count > 0);
    void (*done)(void *arg, const struct core_accepted *) = core->submitted[0].done;
    void *arg = core->submitted[0].arg;
    memmove(core->submitted, core->submitted + 1,
            --core->submitted_count * sizeof core->submitted[0]);
    done(arg, accepted);
}

static inline void fake_end_operation(struct core *core) {
    core->ended = true;
    while (core->watch_count > 0) {
        struct core_watch *watch = core->watches[--core->watch_count];
        watch->ended(watch->arg);
        free(watch);
    }
}

static inline void fake_event(struct core *core) {
    core->events++;
    for (uint32_t i = 0; i < core->subscription_count; i++)
        core->subscriptions[i]->wake(core->subscriptions[i]->arg);
}

/* ---- core.h ---------------------------------------------------------------------------------- */

bool core_ready(const struct core *core) {
    return core->ready;
}

bool core_authenticate(struct core *core, const char *token, struct core_principal *ret) {
    (void)core;
    enum core_role role = core_role_find(token); /* a token is its role here */
    if (role == ROLE_NONE)
        return false;
    snprintf(ret->name, sizeof ret->name, "token:%s", token);
    ret->role = role;
    return true;
}

bool core_get(struct core *core, enum core_noun noun, const char *reference, struct buf *ret_json,
              uint64_t *ret_etag, struct err *err) {
    if (strcmp(reference, "missing") == 0)
        return err_set(err, ERR_NOT_FOUND, "there is no %s %s", core_noun_name(noun), reference);
    if (noun == CORE_OPERATION)
        buf_printf(ret_json, "{\"id\":\"%s\",\"state\":\"%s\"}", reference,
                   core->ended ? "done" : "running");
    else
        buf_put(ret_json, FAKE_OBJECT, sizeof FAKE_OBJECT - 1);
    *ret_etag = 7;
    return true;
}

bool core_list(struct core *core, enum core_noun noun, const struct core_query *query,
               struct buf *ret_json, char ret_next[CORE_TOKEN_MAX], struct err *err) {
    (void)noun;
    if (query->pool != NULL && strcmp(query->pool, "missing") == 0)
        return err_set(err, ERR_NOT_FOUND, "there is no pool %s", query->pool);
    if (core->list_bytes > 0) {
        char *filler = malloc(core->list_bytes);
        memset(filler, ' ', core->list_bytes);
        buf_put(ret_json, filler, core->list_bytes);
        free(filler);
    }
    buf_printf(ret_json, "{\"limit\":%u,\"labels\":%u}", query->limit,
               query->labels != NULL ? query->labels->count : 0);
    snprintf(ret_next, CORE_TOKEN_MAX, "more");
    return true;
}

bool core_plan(struct core *core, struct buf *ret_json, struct err *err) {
    (void)core;
    (void)err;
    buf_printf(ret_json, "{\"steps\":[]}");
    return true;
}

bool core_descriptors(struct core *core, const char *driver, const char *language,
                      struct buf *ret_json, struct err *err) {
    (void)core;
    (void)err;
    buf_printf(ret_json, "{\"items\":[\"%s\",\"%s\"]}", driver, language);
    return true;
}

void core_compare(struct core *core, const char *pool, core_json_fn *done, void *arg) {
    (void)pool;
    core->json_done = done;
    core->json_arg = arg;
}

void core_capacity(struct core *core, const char *pool, core_json_fn *done, void *arg) {
    core_compare(core, pool, done, arg);
}

void core_gateway_json(struct core *core, struct buf *ret_json) {
    (void)core;
    buf_printf(ret_json, "{\"version\":\"0\"}");
}

void core_metrics(struct core *core, struct buf *ret_text) {
    (void)core;
    buf_printf(ret_text, "# TYPE fake gauge\nfake 1\n");
}

void core_submit(struct core *core, const struct core_submission *submission,
                 void (*on_accepted)(void *arg, const struct core_accepted *accepted), void *arg) {
    CHECK(core->submitted_count < FAKE_CALLS_MAX);
    core->submitted[core->submitted_count].done = on_accepted;
    core->submitted[core->submitted_count++].arg = arg;
    core->submissions++;
    snprintf(core->key, sizeof core->key, "%s", submission->key != NULL ? submission->key : "");
    snprintf(core->principal, sizeof core->principal, "%s", submission->principal->name);
    core->if_match = submission->if_match;
}

struct core_watch *core_watch_operation(struct core *core, const struct sluice_uuid *operation,
                                        void (*on_ended)(void *arg), void *arg) {
    (void)operation;
    struct core_watch *watch = calloc(1, sizeof *watch);
    CHECK(watch != NULL && core->watch_count < FAKE_CALLS_MAX);
    *watch = (struct core_watch){.core = core, .ended = on_ended, .arg = arg};
    core->watches[core->watch_count++] = watch;
    return watch;
}

void core_unwatch(struct core_watch *watch) {
    struct core *core = watch->core;
    for (uint32_t i = 0; i < core->watch_count; i++)
        if (core->watches[i] == watch) {
            core->watches[i] = core->watches[--core->watch_count];
            free(watch);
            return;
        }
    CHECK(!"taken back once");
}

bool core_outcome(struct core *core, const struct sluice_uuid *operation, struct core_outcome *ret,
                  struct err *err) {
    (void)err;
    *ret =
        (struct core_outcome){.ended = core->ended, .err = core->outcome_err, .noun = CORE_VOLUME};
    ret->object = *operation;
    return true;
}

bool core_cancel(struct core *core, const char *operation, const struct core_principal *principal,
                 struct err *err) {
    (void)operation;
    (void)principal;
    if (core->ended)
        return err_set(err, ERR_STATE, "it has ended");
    return true;
}

bool core_abandon(struct core *core, const char *operation, const struct core_principal *principal,
                  struct err *err) {
    return core_cancel(core, operation, principal, err);
}

bool core_events(struct core *core, uint64_t after, uint32_t limit, core_event_fn *each, void *arg,
                 uint64_t *ret_last, struct err *err) {
    *ret_last = core->events;
    if (after == 3)
        return err_set(err, ERR_GONE, "pruned");
    char *json = calloc(1, core->event_bytes + 64);
    for (uint64_t number = after + 1; number <= core->events && limit-- > 0; number++) {
        snprintf(json, 64, "{\"number\":%llu,\"x\":\"", (unsigned long long)number);
        size_t length = strlen(json);
        memset(json + length, 'x', core->event_bytes);
        memcpy(json + length + core->event_bytes, "\"}", 3);
        each(arg, number, "volume.created", json);
    }
    free(json);
    return true;
}

struct core_subscription *core_subscribe(struct core *core, void (*wake)(void *arg), void *arg) {
    struct core_subscription *subscription = calloc(1, sizeof *subscription);
    CHECK(subscription != NULL && core->subscription_count < FAKE_CALLS_MAX);
    *subscription = (struct core_subscription){.core = core, .wake = wake, .arg = arg};
    core->subscriptions[core->subscription_count++] = subscription;
    return subscription;
}

void core_unsubscribe(struct core_subscription *subscription) {
    struct core *core = subscription->core;
    for (uint32_t i = 0; i < core->subscription_count; i++)
        if (core->subscriptions[i] == subscription)
            core->subscriptions[i] = core->subscriptions[--core->subscription_count];
    free(subscription);
}

#endif
