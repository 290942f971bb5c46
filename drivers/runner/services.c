/* SPDX-License-Identifier: Apache-2.0
 *
 * services.c: log, fail, progress, complete and event; watches are passed on.
 */
#include "runner/services.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"
#include "runner/words.h"

#define CALL_MAGIC 0x63616c6c
#define TOKEN 1000 /* what one line costs; a millisecond gives SERVICES_RATE_PER_S of it */

static bool is_control(const char *text, size_t size) {
    unsigned char first = (unsigned char)text[0];
    /* C0, DEL, and the C1 controls of U+0080 to U+009F */
    return first < 0x20 || first == 0x7f ||
           (size == 2 && first == 0xc2 && (unsigned char)text[1] < 0xa0);
}

void services_clean(char ret[SLUICE_TEXT_MAX], const char *text) {
    size_t left = text != NULL ? strnlen(text, SLUICE_TEXT_MAX) : 0;
    size_t length = 0;
    while (left > 0) {
        size_t size = text_character(text, left);
        size_t take = size > 0 ? size : 1;
        const char *put = size == 0 ? "?" : is_control(text, size) ? " " : text;
        size_t bytes = put == text ? size : 1;
        if (length + bytes >= SLUICE_TEXT_MAX)
            break;
        memcpy(ret + length, put, bytes);
        length += bytes;
        text += take;
        left -= take;
    }
    ret[length] = '\0';
}

static bool rate_take(struct services_rate *rate) {
    uint64_t now_ms = clock_mono_ms();
    uint64_t full = (uint64_t)SERVICES_BURST * TOKEN;
    uint64_t earned = (now_ms - rate->at_ms) * SERVICES_RATE_PER_S;
    rate->at_ms = now_ms;
    rate->tokens = earned > full - rate->tokens ? full : rate->tokens + earned;
    if (rate->tokens < TOKEN)
        return false;
    rate->tokens -= TOKEN;
    return true;
}

static bool passes(struct services *services, struct services_rate *rate) {
    pthread_mutex_lock(&services->mutex);
    bool good = rate_take(rate);
    services->dropped += !good;
    pthread_mutex_unlock(&services->mutex);
    return good;
}

static void service_log(const struct sluice_services *table, uint32_t level, const char *text) {
    struct services *services = table->runner;
    if (!passes(services, &services->logs))
        return;
    char clean[SLUICE_TEXT_MAX];
    services_clean(clean, text);
    if (level < SLUICE_LOG_ERROR || level > SLUICE_LOG_DEBUG)
        level = SLUICE_LOG_INFO;
    services->sink.log(services->sink.owner, &(struct wire_log){.level = level, .text = clean});
}

static int32_t service_fail(const struct sluice_services *table, struct sluice_call *call,
                            int32_t status, const char *text) {
    struct services *services = table->runner;
    if (call == NULL || call->magic != CALL_MAGIC)
        return status;
    pthread_mutex_lock(&services->mutex);
    if (call->text[0] == '\0')
        services_clean(call->text, text);
    pthread_mutex_unlock(&services->mutex);
    return status;
}

static void service_progress(const struct sluice_services *table, struct sluice_call *call,
                             uint64_t done, uint64_t total) {
    struct services *services = table->runner;
    if (call == NULL || call->magic != CALL_MAGIC)
        return;
    pthread_mutex_lock(&services->mutex);
    call->done = done;
    call->total = total;
    pthread_mutex_unlock(&services->mutex);
}

static void service_complete(const struct sluice_services *table, struct sluice_io *io,
                             int32_t status, uint64_t token) {
    struct services *services = table->runner;
    if (services->sink.complete != NULL) {
        services->sink.complete(services->sink.owner, io, status, token);
        return;
    }
    words_say("sluice-runner: the driver completed a data call that was never made");
    abort();
}

static void service_event(const struct sluice_services *table, uint32_t event,
                          const struct sluice_uuid *volume, int64_t value, const char *text) {
    struct services *services = table->runner;
    bool known = event >= SLUICE_EVENT_CAPACITY && event <= SLUICE_EVENT_ACCESS_LOST;
    if (!known || !passes(services, &services->events))
        return;
    char clean[SLUICE_TEXT_MAX];
    services_clean(clean, text);
    struct wire_event told = {.event = event, .value = value, .text = clean};
    if (volume != NULL)
        told.volume = *volume;
    services->sink.event(services->sink.owner, &told);
}

static struct sluice_watch *service_watch(const struct sluice_services *table, int fd,
                                          uint32_t ready, uint32_t timeout_ms,
                                          sluice_on_ready *on_ready, void *argument) {
    const struct services_sink *sink = &((struct services *)table->runner)->sink;
    if (sink->watch == NULL)
        return NULL;
    return sink->watch(sink->owner, fd, ready, timeout_ms, on_ready, argument);
}

static void service_watch_change(const struct sluice_services *table, struct sluice_watch *watch,
                                 uint32_t ready, uint32_t timeout_ms) {
    const struct services_sink *sink = &((struct services *)table->runner)->sink;
    sink->watch_change(sink->owner, watch, ready, timeout_ms);
}

static void service_unwatch(const struct sluice_services *table, struct sluice_watch *watch) {
    const struct services_sink *sink = &((struct services *)table->runner)->sink;
    sink->unwatch(sink->owner, watch);
}

void services_init(struct services *services, const struct services_sink *sink) {
    *services = (struct services){
        .table =
            {
                .size = sizeof services->table,
                .version = SLUICE_ABI,
                .runner = services,
                .log = service_log,
                .fail = service_fail,
                .progress = service_progress,
                .complete = service_complete,
                .event = service_event,
                .watch = service_watch,
                .watch_change = service_watch_change,
                .unwatch = service_unwatch,
            },
        .sink = *sink,
        .logs = {.tokens = (uint64_t)SERVICES_BURST * TOKEN, .at_ms = clock_mono_ms()},
        .events = {.tokens = (uint64_t)SERVICES_BURST * TOKEN, .at_ms = clock_mono_ms()},
    };
    CHECK(pthread_mutex_init(&services->mutex, NULL) == 0);
}

void services_release(struct services *services) {
    pthread_mutex_destroy(&services->mutex);
}

uint64_t services_dropped(struct services *services) {
    pthread_mutex_lock(&services->mutex);
    uint64_t dropped = services->dropped;
    pthread_mutex_unlock(&services->mutex);
    return dropped;
}

void services_call_init(struct sluice_call *call) {
    call->magic = CALL_MAGIC;
    call->text[0] = '\0';
    call->done = 0;
    call->total = 0;
}

void services_call_read(struct services *services, const struct sluice_call *call,
                        char ret_text[SLUICE_TEXT_MAX], uint64_t *ret_done, uint64_t *ret_total) {
    pthread_mutex_lock(&services->mutex);
    text_copy(ret_text, SLUICE_TEXT_MAX, call->text);
    *ret_done = call->done;
    *ret_total = call->total;
    pthread_mutex_unlock(&services->mutex);
}
