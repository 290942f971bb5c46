/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"
#include "fake_runners.h"

#define LATER_MAX 64

struct data_process {
    struct uv_loop_s *loop;
    const struct data_process_events *events;
    void *owner;
    uv_timer_t timer;
    bool live;
    void (*on_stopped)(void *owner);
};

static struct {
    struct data_process *process;
    bool obliging, held, wanted;
    uint32_t said[32];
    char listens[DATA_ADDRESS_MAX + 1];
    uint64_t generation;
    struct data_volume_open opened;
    struct {
        enum data_number number;
        struct data_ring ring;
        struct data_unexport gone;
    } later[LATER_MAX];
    uint32_t later_count;
} fake;

void fake_data_reset(bool obliging, bool held) {
    memset(&fake, 0, sizeof fake);
    fake.obliging = obliging;
    fake.held = held;
}
uint32_t fake_data_said(enum data_number number) {
    return fake.said[number];
}
const char *fake_data_listens(void) {
    return fake.listens;
}
uint64_t fake_data_generation(void) {
    return fake.generation;
}
const struct data_volume_open *fake_data_opened(void) {
    return &fake.opened;
}
bool fake_data_wanted(void) {
    return fake.wanted;
}

void fake_data_begin(bool held) {
    fake.process->live = true;
    fake.process->events->on_begin(fake.process->owner, held);
}

void fake_data_say(enum data_number number, const void *body) {
    int fds[3];
    uint32_t count = data_descriptors(number);
    for (uint32_t i = 0; i < count; i++)
        fds[i] = dup(STDIN_FILENO);
    fake.process->events->on_message(fake.process->owner, number, body, fds, count);
}

void fake_data_say_with(enum data_number number, const void *body, int fd) {
    int copy = dup(fd);
    fake.process->events->on_message(fake.process->owner, number, body, &copy, 1);
}

void fake_data_end(void) {
    struct err cause = ERR_INIT;
    err_set(&cause, ERR_RUNNER_LOST, "as the test says");
    fake.process->live = false;
    fake.wanted = false;
    fake.later_count = 0;
    fake.process->events->on_end(fake.process->owner, &cause);
}

static void on_timer(uv_timer_t *timer) {
    struct data_process *process = timer->data;
    if (process->on_stopped != NULL) {
        process->on_stopped(process->owner);
        return;
    }
    if (fake.obliging && fake.wanted && !process->live)
        fake_data_begin(false);
    uint32_t count = fake.later_count;
    for (uint32_t i = 0; i < count; i++) {
        if (fake.later[i].number == DATA_RING_MADE)
            fake_data_say(DATA_RING_MADE, &fake.later[i].ring);
        else
            fake_data_say(fake.later[i].number, &fake.later[i].gone);
    }
    memmove(fake.later, fake.later + count, (fake.later_count - count) * sizeof fake.later[0]);
    fake.later_count -= count;
    if (fake.later_count > 0)
        uv_timer_start(&process->timer, on_timer, 0, 0);
}

bool data_process_open(struct runners *runners, uint32_t uid,
                       const struct data_process_events *events, void *owner,
                       struct data_process **ret, struct err *err) {
    (void)uid, (void)err;
    struct data_process *process = calloc(1, sizeof *process);
    process->loop = fake_runners_loop(runners);
    process->events = events;
    process->owner = owner;
    uv_timer_init(process->loop, &process->timer);
    process->timer.data = process;
    fake.process = process;
    *ret = process;
    return true;
}

bool data_process_is_held(const struct data_process *process) {
    (void)process;
    return fake.held;
}

void data_process_want(struct data_process *process) {
    fake.wanted = true;
    if (fake.obliging && !process->live)
        uv_timer_start(&process->timer, on_timer, 0, 0);
}

void data_process_send(struct data_process *process, enum data_number number, const void *body,
                       const int *fds, uint32_t fd_count) {
    (void)fds;
    if (!process->live)
        return;
    CHECK(fd_count == data_descriptors(number));
    fake.said[number]++;
    CHECK(fake.later_count < LATER_MAX);
    if (number == DATA_RING_WANTED) {
        const struct data_wanted *wanted = body;
        fake.generation = wanted->generation;
        fake.later[fake.later_count].ring =
            (struct data_ring){.pool = wanted->pool, .generation = wanted->generation};
        fake.later[fake.later_count].number = DATA_RING_MADE;
        fake.later_count += fake.obliging;
    } else if (number == DATA_LISTEN) {
        snprintf(fake.listens, sizeof fake.listens, "%s",
                 ((const struct data_listen *)body)->address);
    } else if (number == DATA_VOLUME_OPEN) {
        fake.opened = *(const struct data_volume_open *)body;
    } else if (number == DATA_UNEXPORT) {
        fake.later[fake.later_count].gone = *(const struct data_unexport *)body;
        fake.later[fake.later_count].number = DATA_UNEXPORTED;
        fake.later_count += fake.obliging;
    }
    if (fake.later_count > 0)
        uv_timer_start(&process->timer, on_timer, 0, 0);
}

void data_process_blame(struct data_process *process, const struct err *cause) {
    (void)process, (void)cause;
    CHECK(false); /* no test says what cannot be true */
}

void data_process_stop(struct data_process *process, void (*on_stopped)(void *owner)) {
    process->live = false;
    process->on_stopped = on_stopped;
    uv_timer_start(&process->timer, on_timer, 0, 0);
}

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}
void data_process_close(struct data_process *process) {
    if (process != NULL)
        uv_close((uv_handle_t *)&process->timer, on_closed);
    fake.process = NULL;
}

void data_process_status(const struct data_process *process, struct data_process_status *ret) {
    (void)process;
    *ret = (struct data_process_status){.pid = 1, .pong = {.exports = 1}};
}
