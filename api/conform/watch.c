/* SPDX-License-Identifier: Apache-2.0
 *
 * watch.c: see watch.h.
 */
#include "conform/watch.h"

#include <stdio.h>
#include <time.h>

static _Thread_local uint32_t own_lane;

uint64_t watch_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void watch_lane(uint32_t lane) {
    own_lane = lane;
}

void watch_begin(struct watch *watch, const char *call) {
    if (watch != NULL) {
        snprintf(watch->lanes[own_lane].call, WATCH_NAME_MAX, "%s", call);
        atomic_store(&watch->lanes[own_lane].begun_ms, watch_now_ms());
    }
}

void watch_end(struct watch *watch) {
    if (watch != NULL) {
        atomic_store(&watch->lanes[own_lane].begun_ms, 0);
    }
}

void watch_forget(struct watch *watch) {
    for (uint32_t i = 0; i < WATCH_LANES; i++) {
        atomic_store(&watch->lanes[i].begun_ms, 0);
    }
}

void watch_add(struct watch *watch, enum watch_kind kind, const struct sluice_uuid *volume,
               const struct sluice_uuid *id) {
    if (watch == NULL) {
        return;
    }
    uint32_t at = atomic_fetch_add(&watch->made_count, 1);
    if (at < WATCH_MADE_MAX) {
        watch->made[at] = (struct watch_made){.kind = kind, .volume = *volume, .id = *id};
    }
}

const char *watch_last(const struct watch *watch, uint64_t *ret_ms) {
    uint64_t now = watch_now_ms();
    const char *call = watch->lanes[0].call;
    *ret_ms = 0;
    for (uint32_t i = 0; i < WATCH_LANES; i++) {
        uint64_t begun = atomic_load(&watch->lanes[i].begun_ms);
        if (begun != 0 && (*ret_ms == 0 || now - begun + 1 > *ret_ms)) {
            *ret_ms = now - begun + 1;
            call = watch->lanes[i].call;
        }
    }
    return call;
}
