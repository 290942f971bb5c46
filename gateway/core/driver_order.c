/* SPDX-License-Identifier: Apache-2.0
 *
 * driver_order.c: starting and stopping all drivers in order.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "core/driver_state.h"
#include "core/state.h"

bool drivers_order(struct drivers *drivers, struct arena *arena, struct order *ret,
                   struct err *err) {
    struct order_driver *given = arena_array(arena, drivers->count + 1, sizeof *given);
    uint32_t *which = arena_array(arena, drivers->count + 1, sizeof *which);
    uint32_t count = 0;
    if (given == NULL || which == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for the order");
    for (uint32_t i = 0; i < drivers->count; i++) {
        const struct driver *driver = drivers->at[i];
        if (!driver->has_manifest)
            continue; /* nothing is known that could be ordered */
        bool runs = driver->state == DRIVER_STARTING || driver->state == DRIVER_RUNNING ||
                    driver->state == DRIVER_SUSPENDED;
        which[count] = i;
        given[count++] = (struct order_driver){
            .manifest = &driver->manifest,
            .directory = driver->directory,
            .broken = driver->broken.code != ERR_NONE  ? &driver->broken
                      : driver->state == DRIVER_FAILED ? &driver->cause
                                                       : NULL,
            .running = runs,
            .held = !runs && strcmp(driver->wanted, "stopped") == 0,
        };
    }
    if (!order_compute(given, count, arena, ret, err))
        return false;
    for (uint32_t i = 0; i < ret->count; i++)
        ret->rows[i].driver = which[ret->rows[i].driver];
    return true;
}

/* ---- start ---------------------------------------------------------------------------------- */

void driver_advance(struct driver *driver, const struct order_row *row) {
    if (driver->state == DRIVER_DISCOVERED || driver->state == DRIVER_STOPPED) {
        if (driver->broken.code != ERR_NONE) {
            driver->cause = driver->broken;
            if (driver->state == DRIVER_DISCOVERED)
                driver_must_move(driver, DRIVER_EVENT_FAIL);
            return;
        }
    }
    if (row->action == ORDER_HELD)
        return;
    if (driver->state == DRIVER_DISCOVERED)
        driver_must_move(driver, DRIVER_EVENT_VERIFY);
    if (driver->state == DRIVER_VERIFIED)
        driver_must_move(driver, DRIVER_EVENT_INSTALL);
    if (row->action == ORDER_BLOCKED) {
        driver->cause = row->cause;
        if (driver->state == DRIVER_RESOLVED)
            driver_must_move(driver, DRIVER_EVENT_UNRESOLVE);
        return;
    }
    if (driver->state == DRIVER_INSTALLED || driver->state == DRIVER_STOPPED)
        driver_must_move(driver, DRIVER_EVENT_RESOLVE);
}

/* A driver that did not start takes with it those that wait for it. */
static void drop_blocked(struct drivers *drivers) {
    struct arena arena;
    struct order order;
    arena_init(&arena, ORDER_ARENA_MAX);
    if (drivers_order(drivers, &arena, &order, NULL)) {
        for (uint32_t i = 0; i < order.count; i++) {
            struct driver *driver = drivers->at[order.rows[i].driver];
            if (order.rows[i].action == ORDER_BLOCKED && driver->state == DRIVER_RESOLVED)
                driver_advance(driver, &order.rows[i]);
        }
    }
    arena_release(&arena);
}

static void on_queue_done(uv_timer_t *timer) {
    struct drivers *drivers = timer->data;
    void (*on_done)(void *) = drivers->on_done;
    drivers->on_done = NULL;
    if (on_done != NULL)
        on_done(drivers->done_arg);
}

static void on_next(uv_timer_t *timer);

/* Whoever started the first of the queue, the queue waits for it, but not for ever. */
static void next_in_queue(struct drivers *drivers) {
    drivers->awaited = NULL;
    while (drivers->queue_at < drivers->queue_length) {
        struct driver *driver = drivers->queue[drivers->queue_at++];
        if (driver->state != DRIVER_RESOLVED && driver->state != DRIVER_STARTING)
            continue;
        drivers->awaited = driver;
        uv_timer_start(&drivers->timer, on_next, DRIVER_SETTLE_MS, 0);
        driver_start(driver, NULL, NULL);
        return;
    }
    uv_timer_start(&drivers->timer, on_queue_done, 0, 0);
}

static void on_next(uv_timer_t *timer) {
    next_in_queue(timer->data);
}

void driver_settled(struct driver *driver) {
    struct drivers *drivers = driver->core->drivers;
    if (driver->state == DRIVER_RUNNING && strcmp(driver->wanted, "suspended") == 0)
        driver_must_move(driver, DRIVER_EVENT_SUSPEND);
    if (driver->state == DRIVER_FAILED)
        drop_blocked(drivers);
    if (drivers->awaited == driver) /* in another turn, so that failures do not nest */
        uv_timer_start(&drivers->timer, on_next, 0, 0);
}

/* Those of which nothing is known that could be ordered. */
static void fail_unreadable(struct drivers *drivers) {
    enum driver_state next;
    for (uint32_t i = 0; i < drivers->count; i++) {
        struct driver *driver = drivers->at[i];
        if (driver->has_manifest || driver->broken.code == ERR_NONE || driver_is_busy(driver))
            continue;
        driver->cause = driver->broken;
        if (driver->state != DRIVER_FAILED &&
            driver_next(driver->state, DRIVER_EVENT_FAIL, &next, NULL))
            driver_must_move(driver, DRIVER_EVENT_FAIL);
    }
}

void drivers_start(struct core *core, void (*on_done)(void *arg), void *arg) {
    struct drivers *drivers = core->drivers;
    CHECK(drivers->on_done == NULL);
    struct arena arena;
    struct order order;
    arena_init(&arena, ORDER_ARENA_MAX);
    drivers->on_done = on_done;
    drivers->done_arg = arg;
    drivers->queue_at = drivers->queue_length = 0;
    fail_unreadable(drivers);
    if (drivers_order(drivers, &arena, &order, NULL)) {
        for (uint32_t i = 0; i < order.count; i++) {
            struct driver *driver = drivers->at[order.rows[i].driver];
            driver_advance(driver, &order.rows[i]);
            if (driver->state == DRIVER_RESOLVED)
                drivers->queue[drivers->queue_length++] = driver;
        }
    }
    arena_release(&arena);
    next_in_queue(drivers);
}

/* ---- stop ----------------------------------------------------------------------------------- */

static int by_rank_down(const void *a, const void *b) {
    const struct driver *const *one = a, *const *other = b;
    return (*one)->rank < (*other)->rank ? 1 : (*one)->rank > (*other)->rank ? -1 : 0;
}

static void on_one_stopped(void *owner, struct runner *runner);

/* The gateway ends: processes go, states stay as they are, and the next start finds them LOST. */
static void stop_next(struct drivers *drivers) {
    while (drivers->queue_at < drivers->queue_length) {
        struct driver *driver = drivers->queue[drivers->queue_at];
        if (driver->runner != NULL) {
            runner_stop(driver->runner, on_one_stopped);
            return;
        }
        drivers->queue_at++;
    }
    uv_timer_start(&drivers->timer, on_queue_done, 0, 0);
}

static void on_one_stopped(void *owner, struct runner *runner) {
    struct driver *driver = owner;
    runner_release(runner);
    driver->runner = NULL;
    stop_next(driver->core->drivers);
}

void drivers_stop(struct core *core, void (*on_done)(void *arg), void *arg) {
    struct drivers *drivers = core->drivers;
    uv_timer_stop(&drivers->timer);
    drivers->awaited = NULL;
    for (uint32_t i = 0; i < drivers->count; i++)
        drivers->at[i]->on_settled = NULL; /* who waits goes on at the next start */
    drivers->on_done = on_done;
    drivers->done_arg = arg;
    drivers->queue_at = 0;
    drivers->queue_length = drivers->count;
    memcpy(drivers->queue, drivers->at, drivers->count * sizeof drivers->at[0]);
    qsort(drivers->queue, drivers->count, sizeof drivers->queue[0], by_rank_down);
    stop_next(drivers);
}
