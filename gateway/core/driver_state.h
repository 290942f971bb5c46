/* SPDX-License-Identifier: Apache-2.0
 *
 * driver_state.h: what driver.c, driver_scan.c, driver_order.c and those who show drivers share.
 */
#ifndef SLUICE_CORE_DRIVER_STATE_H
#define SLUICE_CORE_DRIVER_STATE_H

#include <uv.h>

#include "core/driver.h"
#include "lifecycle/order.h"

#define DRIVERS_MAX ORDER_DRIVERS_MAX

struct driver {
    struct core *core;
    struct arena arena; /* of manifest and texts; a scan that reads the archive anew replaces it */
    struct manifest manifest;
    bool has_manifest;
    char name[64], version[64], category[16];
    char directory[1024];
    struct err broken; /* the archive cannot be used */
    enum driver_state state;
    char wanted[16];
    struct err cause;
    uint64_t changed_at;
    struct sluice_uuid tag;
    struct runner *runner;
    uint32_t uid;                  /* of the runner; 0: none */
    void (*on_settled)(void *arg); /* of the one operation about it */
    void *settled_arg;
    uint32_t rank; /* of start, for stopping in reverse */
};

struct drivers {
    struct core *core;
    struct driver *at[DRIVERS_MAX];
    uint32_t count;
    uint32_t rank;
    /* drivers_start or drivers_stop under way */
    uv_timer_t timer;
    struct driver *queue[DRIVERS_MAX];
    uint32_t queue_length, queue_at;
    struct driver *awaited; /* of the queue, being started */
    void (*on_done)(void *arg);
    void *done_arg;
};

/* Moves by an event that the table permits here; anything else is our bug. */
void driver_must_move(struct driver *driver, enum driver_event event);
/* As far as it comes without being started: DISCOVERED to RESOLVED. */
void driver_advance(struct driver *driver, const struct order_row *row);
/* It runs, has failed or was stopped: the queue goes on when it waits for that. */
void driver_settled(struct driver *driver);
/* Starting, running, suspended or stopping. */
bool driver_is_busy(const struct driver *driver);
bool drivers_order(struct drivers *drivers, struct arena *arena, struct order *ret,
                   struct err *err);

#endif
