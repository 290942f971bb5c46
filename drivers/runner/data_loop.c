/* SPDX-License-Identifier: Apache-2.0
 *
 * data_loop.c: see data_loop.h.
 */
#include "runner/data_loop.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

#define LOOP_MAGIC 0x646c6f70
#define NS_PER_MS UINT64_C(1000000)

/* The watched descriptor; it outlives its replacement until the loop has let go of it. */
struct data_watch {
    uv_poll_t poll;
    int fd;
    struct data_loop *loop;
};

static void turn_start(struct data_loop *loop);

static bool turn(struct data_loop *loop) {
    return data_turn(loop->data, clock_mono_ns() + DATA_TURN_MS * NS_PER_MS);
}

static struct data_loop *loop_of(struct job *job) {
    struct data_loop *loop = (void *)((char *)job - offsetof(struct data_loop, job));
    CHECK_MAGIC(loop, LOOP_MAGIC);
    return loop;
}

static void turn_run(struct job *job) {
    atomic_store(&loop_of(job)->more, turn(loop_of(job)));
}

static void on_turn_finished(struct job *job) {
    atomic_store(&loop_of(job)->ended, true);
    data_loop_wake(loop_of(job));
}

static void on_readable(uv_poll_t *poll, int status, int events) {
    struct data_watch *watch = poll->data;
    CHECK_MAGIC(watch->loop, LOOP_MAGIC);
    uint64_t count;
    (void)status;
    (void)events;
    /* Also when the ring is no longer looked at: else it would be readable for ever. */
    ssize_t taken = read(watch->fd, &count, sizeof count);
    (void)taken;
    turn_start(watch->loop);
}

static void watch_start(struct data_loop *loop) {
    if (loop->watch != NULL)
        CHECK(uv_poll_start(&loop->watch->poll, UV_READABLE, on_readable) == 0);
}

/* A job while it is under way must not be woken by what it will look at itself. */
static void turn_start(struct data_loop *loop) {
    if (loop->stopped || loop->data == NULL)
        return;
    if (!loop->serial) {
        if (turn(loop))
            uv_async_send(&loop->async);
        return;
    }
    loop->wanted = loop->busy;
    if (loop->busy)
        return;
    loop->busy = true;
    if (loop->watch != NULL)
        uv_poll_stop(&loop->watch->poll);
    loop->job =
        (struct job){.run = turn_run, .finished = on_turn_finished, .serial = WIRE_SERIAL_POOL};
    dispatch_submit(loop->dispatch, &loop->job);
}

/* ---- what the driver has watched ------------------------------------------------------------ */

static void on_watches_timer(uv_timer_t *timer);

static void watches_arm(struct data_loop *loop) {
    int timeout_ms = loop->watches != NULL ? watches_timeout_ms(loop->watches) : -1;
    if (timeout_ms >= 0)
        CHECK(uv_timer_start(&loop->watches_timer, on_watches_timer, (uint64_t)timeout_ms, 0) == 0);
}

static void watches_tell(struct data_loop *loop) {
    watches_serve(loop->watches, 0);
    watches_arm(loop);
}

static void on_watches_timer(uv_timer_t *timer) {
    struct data_loop *loop = timer->data;
    CHECK_MAGIC(loop, LOOP_MAGIC);
    watches_tell(loop);
}

static void on_watches_ready(uv_poll_t *poll, int status, int events) {
    struct data_loop *loop = poll->data;
    CHECK_MAGIC(loop, LOOP_MAGIC);
    (void)status;
    (void)events;
    watches_tell(loop);
}

void data_loop_serve(struct data_loop *loop, struct watches *watches) {
    uv_loop_t *uv = loop->async.loop;
    CHECK(uv_poll_init(uv, &loop->watches_poll, watches_fd(watches)) == 0);
    CHECK(uv_timer_init(uv, &loop->watches_timer) == 0);
    loop->watches = watches;
    loop->watches_poll.data = loop;
    loop->watches_timer.data = loop;
    CHECK(uv_poll_start(&loop->watches_poll, UV_READABLE, on_watches_ready) == 0);
    watches_arm(loop);
}

/* ---- turns ---------------------------------------------------------------------------------- */

static void on_async(uv_async_t *async) {
    struct data_loop *loop = async->data;
    CHECK_MAGIC(loop, LOOP_MAGIC);
    watches_arm(loop);
    if (!loop->serial || !loop->busy) {
        turn_start(loop);
    } else if (!atomic_exchange(&loop->ended, false)) {
        loop->wanted = true;
    } else {
        loop->busy = false;
        if (loop->wanted || atomic_load(&loop->more))
            turn_start(loop);
        else if (!loop->stopped)
            watch_start(loop);
    }
}

void data_loop_init(struct data_loop *loop, uv_loop_t *uv, struct dispatch *dispatch) {
    *loop = (struct data_loop){.magic = LOOP_MAGIC, .dispatch = dispatch};
    CHECK(uv_async_init(uv, &loop->async, on_async) == 0);
    loop->async.data = loop;
}

static void on_watch_closed(uv_handle_t *handle) {
    struct data_watch *watch = handle->data;
    close(watch->fd);
    free(watch);
}

static void watch_close(struct data_loop *loop) {
    if (loop->watch != NULL)
        uv_close((uv_handle_t *)&loop->watch->poll, on_watch_closed);
    loop->watch = NULL;
}

bool data_loop_watch(struct data_loop *loop, struct data *data, bool serial, int wake_runner) {
    struct data_watch *watch = calloc(1, sizeof *watch);
    int fd = fcntl(wake_runner, F_DUPFD_CLOEXEC, 0);
    if (watch == NULL || fd < 0 || uv_poll_init(loop->async.loop, &watch->poll, fd) != 0) {
        if (fd >= 0)
            close(fd);
        free(watch);
        return false;
    }
    watch->fd = fd;
    watch->loop = loop;
    watch->poll.data = watch;
    watch_close(loop);
    loop->watch = watch;
    loop->data = data;
    loop->serial = serial;
    if (!loop->busy)
        watch_start(loop);
    return true;
}

void data_loop_wake(void *owner) {
    struct data_loop *loop = owner;
    uv_async_send(&loop->async);
}

void data_loop_stop(struct data_loop *loop) {
    loop->stopped = true;
}

void data_loop_close(struct data_loop *loop) {
    watch_close(loop);
    if (loop->watches != NULL) {
        uv_close((uv_handle_t *)&loop->watches_poll, NULL);
        uv_close((uv_handle_t *)&loop->watches_timer, NULL);
    }
    uv_close((uv_handle_t *)&loop->async, NULL);
}
