/* SPDX-License-Identifier: Apache-2.0
 *
 * loop.c: see loop.h.
 */
#include "data/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/uuid.h"
#include "data/connection.h"
#include "data/export.h"
#include "data/listener.h"

/* ---- what is watched ------------------------------------------------------------------------ */

bool loop_watch(struct loop *loop, struct watch *watch, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) == 0;
}

void loop_watch_again(struct loop *loop, struct watch *watch, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = watch};
    CHECK(epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) == 0);
}

void loop_unwatch(struct loop *loop, struct watch *watch) {
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
}

struct pool *loop_pool(struct loop *loop, const struct sluice_uuid *id, bool makes) {
    for (uint32_t i = 0; i < loop->pool_count; i++)
        if (uuid_equal(&loop->pools[i]->id, id))
            return loop->pools[i];
    if (!makes || loop->pool_count == DATA_POOLS_MAX)
        return NULL;
    struct pool *pool = malloc(sizeof *pool);
    struct err err = ERR_INIT;
    if (pool == NULL || !pool_init(pool, id, &loop->figures, &err)) {
        free(pool);
        return NULL;
    }
    loop->ring_watches[loop->pool_count] =
        (struct ring_watch){.watch = {.kind = WATCH_RING, .fd = -1}, .pool = pool};
    loop->pools[loop->pool_count++] = pool;
    return pool;
}

/* The runner has the same description of the eventfd, so closing ours would not end the watch. */
void loop_watch_ring(struct loop *loop, struct pool *pool, bool on) {
    if (pool->watched == on)
        return;
    uint32_t i = 0;
    while (loop->pools[i] != pool)
        i++;
    struct watch *watch = &loop->ring_watches[i].watch;
    watch->fd = pool->ring.wake_data;
    if (on)
        on = loop_watch(loop, watch, EPOLLIN | EPOLLET);
    else
        loop_unwatch(loop, watch);
    pool->watched = on;
    pool->asleep = false;
}

/* ---- a turn --------------------------------------------------------------------------------- */

static void on_ring_event(struct ring_watch *ring_watch) {
    struct pool *pool = ring_watch->pool;
    if (!pool->watched)
        return;
    pool->asleep = false;
    ring_awake_at_edge(&pool->ring);
}

static void on_event(struct loop *loop, struct watch *watch, uint32_t events) {
    switch (watch->kind) {
    case WATCH_CONTROL:
        control_on_event(loop);
        break;
    case WATCH_EXPORT:
        export_on_event((struct export *)watch);
        break;
    case WATCH_LISTENER:
        listener_on_event(loop);
        break;
    case WATCH_CONNECTION:
        connection_on_event((struct connection *)watch, events);
        break;
    case WATCH_RING:
        on_ring_event((struct ring_watch *)watch);
        break;
    case WATCH_NONE:
        break; /* closed earlier in this turn */
    }
}

static bool look(struct loop *loop, int timeout_ms) {
    struct epoll_event events[LOOP_EVENTS];
    int count = epoll_wait(loop->epoll_fd, events, LOOP_EVENTS, timeout_ms);
    loop->now_ns = clock_mono_ns();
    for (int i = 0; i < count; i++)
        on_event(loop, events[i].data.ptr, events[i].events);
    return count > 0;
}

static bool is_busy(const struct pool *pool) {
    return pool->in_flight > 0 || !TAILQ_EMPTY(&pool->ready) || pool->deadline_ns != 0;
}

static void make_ready(struct loop *loop, struct connection *connection) {
    if (connection->is_ready)
        return;
    connection->is_ready = true;
    TAILQ_INSERT_TAIL(&loop->ready, connection, of_ready);
}

/* Those that wait for room look again when any was made. */
static void wake_waiting(struct loop *loop) {
    bool freed = false;
    for (uint32_t i = 0; i < loop->pool_count; i++) {
        freed = freed || loop->pools[i]->freed;
        loop->pools[i]->freed = false;
    }
    struct connection *connection;
    while (freed && (connection = TAILQ_FIRST(&loop->waiting)) != NULL) {
        TAILQ_REMOVE(&loop->waiting, connection, of_waiting);
        connection->waits_for_room = false;
        make_ready(loop, connection);
    }
}

static void wake_limited(struct loop *loop) {
    struct connection *connection = TAILQ_FIRST(&loop->limited);
    while (connection != NULL) {
        struct connection *next = TAILQ_NEXT(connection, of_waiting);
        if (connection->until_ns <= loop->now_ns) {
            TAILQ_REMOVE(&loop->limited, connection, of_waiting);
            connection->waits_for_time = false;
            make_ready(loop, connection);
        }
        connection = next;
    }
}

static void read_clients(struct loop *loop) {
    struct ready_list turn;
    TAILQ_INIT(&turn);
    TAILQ_CONCAT(&turn, &loop->ready, of_ready);
    /* A connection may close, and so leave the list, while its own turn runs; never another's. */
    struct connection *connection;
    while ((connection = TAILQ_FIRST(&turn)) != NULL) {
        TAILQ_REMOVE(&turn, connection, of_ready);
        connection->is_ready = false;
        connection_go_on(connection);
    }
}

static void serve_pools(struct loop *loop) {
    for (uint32_t i = 0; i < loop->pool_count; i++) {
        struct pool *pool = loop->pools[i];
        if (!is_busy(pool))
            continue;
        pool_pump(pool, loop->now_ns);
        if (pool_drain(pool) && !TAILQ_EMPTY(&pool->ready))
            pool_pump(pool, loop->now_ns);
        pool_judge(pool, loop->now_ns);
        if (pool->state == POOL_BROKEN)
            loop_watch_ring(loop, pool, false);
    }
}

static void write_clients(struct loop *loop) {
    struct ready_list turn;
    TAILQ_INIT(&turn);
    TAILQ_CONCAT(&turn, &loop->sending, of_sending);
    struct connection *connection;
    while ((connection = TAILQ_FIRST(&turn)) != NULL) {
        TAILQ_REMOVE(&turn, connection, of_sending);
        connection->is_sending = false;
        connection_send(connection);
    }
}

static void bury(struct loop *loop) {
    struct connection *connection;
    while ((connection = TAILQ_FIRST(&loop->graves)) != NULL) {
        TAILQ_REMOVE(&loop->graves, connection, of_ready);
        free(connection);
    }
}

static bool has_deadlines(const struct loop *loop) {
    return loop->endings > 0 || loop->handshakes > 0 || loop->stranger_count > 0;
}

/* What has a deadline that is not worth a timer of its own. */
static void sweep(struct loop *loop) {
    if (!has_deadlines(loop) || loop->now_ns < loop->sweep_ns)
        return;
    loop->sweep_ns = loop->now_ns + LOOP_SWEEP_NS;
    const struct connection *oldest;
    while ((oldest = TAILQ_FIRST(&loop->strangers)) != NULL && oldest->until_ns <= loop->now_ns)
        connection_end_stranger(loop);
    for (uint32_t i = 0; i < DATA_EXPORTS_MAX; i++) {
        struct export *export = &loop->exports[i];
        if (export->state == EXPORT_FREE || export->state == EXPORT_ENDED)
            continue;
        struct connection *connection = TAILQ_FIRST(&export->connections);
        while (connection != NULL) {
            struct connection *next = TAILQ_NEXT(connection, of_export);
            if (connection->state == CONNECTION_HANDSHAKE && connection->until_ns <= loop->now_ns)
                connection_close(connection);
            connection = next;
        }
    }
}

static void end_exports(struct loop *loop) {
    for (uint32_t i = 0; loop->endings > 0 && i < DATA_EXPORTS_MAX; i++)
        if (loop->exports[i].state == EXPORT_ENDING)
            export_go_on(&loop->exports[i]);
}

static void turn(struct loop *loop) {
    loop->securings = CONNECTION_SECURINGS;
    wake_waiting(loop);
    wake_limited(loop);
    read_clients(loop);
    serve_pools(loop);
    write_clients(loop);
    sweep(loop);
    end_exports(loop);
    bury(loop);
    control_say(loop);
}

/* ---- waiting -------------------------------------------------------------------------------- */

static bool has_work(const struct loop *loop) {
    if (!TAILQ_EMPTY(&loop->ready) || !TAILQ_EMPTY(&loop->sending))
        return true;
    for (uint32_t i = 0; i < loop->pool_count; i++) {
        const struct pool *pool = loop->pools[i];
        /* What is ready and has nothing in the ring that could end will not get further alone. */
        if (pool->state == POOL_SERVING && pool->in_flight > 0 && ring_ready(&pool->ring))
            return true;
        if (pool->freed && !TAILQ_EMPTY(&loop->waiting))
            return true;
    }
    return false;
}

struct busy { /* pools that have calls in their rings */
    uint32_t pools;
    uint32_t calls;
    uint64_t spin_ns;  /* the least that one of them allows */
    struct pool *last; /* of them */
};

static struct busy find_busy(const struct loop *loop) {
    struct busy busy = {.spin_ns = RING_SPIN_NS};
    for (uint32_t i = 0; i < loop->pool_count; i++) {
        struct pool *pool = loop->pools[i];
        if (pool->in_flight == 0 || pool->state != POOL_SERVING)
            continue;
        busy.last = pool;
        busy.pools++;
        busy.calls += pool->in_flight;
        if (pool->ring.spin_ns < busy.spin_ns)
            busy.spin_ns = pool->ring.spin_ns;
    }
    return busy;
}

static bool spin_slice(struct loop *loop, const struct busy *busy) {
    if (busy->pools == 1)
        return ring_spin(&busy->last->ring, LOOP_SPIN_SLICE_NS);
    uint64_t until_ns = clock_mono_ns() + LOOP_SPIN_SLICE_NS;
    do {
        for (uint32_t i = 0; i < loop->pool_count; i++) {
            struct pool *pool = loop->pools[i];
            if (pool->in_flight > 0 && pool->state == POOL_SERVING && ring_spin(&pool->ring, 0))
                return true;
        }
        sched_yield();
    } while (clock_mono_ns() < until_ns);
    return false;
}

/* true: something came. */
static bool spin(struct loop *loop) {
    struct busy busy = find_busy(loop);
    if (busy.pools == 0 || busy.spin_ns == 0 || !patience_lasts(&loop->patience, busy.calls))
        return false;
    uint64_t begun_ns = clock_mono_ns();
    uint64_t now_ns = begun_ns;
    while (now_ns - begun_ns < busy.spin_ns) {
        bool came = spin_slice(loop, &busy);
        uint64_t before_ns = now_ns;
        now_ns = clock_mono_ns();
        /* It came back at once: both sides are on one processor. That is no fault of the backend.
         */
        if (!came && now_ns - before_ns < LOOP_SPIN_SLICE_NS)
            return false;
        if (came || look(loop, 0)) {
            patience_note(&loop->patience, true, now_ns - begun_ns);
            return true;
        }
    }
    patience_note(&loop->patience, false, now_ns - begun_ns);
    return false;
}

static uint64_t sooner(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static int timeout_ms(const struct loop *loop) {
    uint64_t until_ns = UINT64_MAX;
    if (has_deadlines(loop))
        until_ns = loop->now_ns + LOOP_SWEEP_NS;
    const struct connection *connection;
    TAILQ_FOREACH(connection, &loop->limited, of_waiting)
    until_ns = sooner(until_ns, connection->until_ns);
    for (uint32_t i = 0; i < loop->pool_count; i++) {
        const struct pool *pool = loop->pools[i];
        if (pool->deadline_ns != 0)
            until_ns = sooner(until_ns, pool->deadline_ns);
        if (pool->in_flight > 0 && pool->state == POOL_SERVING)
            until_ns = sooner(until_ns, pool->still_ns);
    }
    if (until_ns == UINT64_MAX)
        return -1;
    return until_ns <= loop->now_ns ? 0 : (int)((until_ns - loop->now_ns + 999999) / 1000000);
}

/* Tells the rings that are waited for. false: something has come meanwhile. */
static bool fall_asleep(struct loop *loop) {
    for (uint32_t i = 0; i < loop->pool_count; i++) {
        struct pool *pool = loop->pools[i];
        if (pool->in_flight == 0 || pool->state != POOL_SERVING || pool->asleep)
            continue;
        if (!ring_asleep(&pool->ring))
            return false;
        pool->asleep = true;
    }
    return true;
}

static void wake_up(struct loop *loop) {
    for (uint32_t i = 0; i < loop->pool_count; i++) {
        struct pool *pool = loop->pools[i];
        if (pool->asleep && pool->watched)
            ring_awake_at_edge(&pool->ring);
        pool->asleep = false;
    }
}

static void wait_for_something(struct loop *loop) {
    if (has_work(loop)) {
        look(loop, 0);
        return;
    }
    if (spin(loop))
        return;
    look(loop, fall_asleep(loop) ? timeout_ms(loop) : 0);
    wake_up(loop);
}

/* ---- life ----------------------------------------------------------------------------------- */

static bool start(struct loop *loop, const struct loop_options *options) {
    TAILQ_INIT(&loop->ready);
    TAILQ_INIT(&loop->sending);
    TAILQ_INIT(&loop->waiting);
    TAILQ_INIT(&loop->limited);
    TAILQ_INIT(&loop->graves);
    TAILQ_INIT(&loop->strangers);
    loop->listener.watch = (struct watch){.kind = WATCH_NONE, .fd = -1};
    loop->sandbox = &options->sandbox;
    loop->statm = options->statm;
    loop->now_ns = clock_mono_ns();
    control_start(loop, options->control);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->exports = calloc(DATA_EXPORTS_MAX, sizeof *loop->exports);
    if (!request_table_init(&loop->requests) || loop->exports == NULL)
        return err_set(&loop->err, ERR_NO_MEMORY, "the tables");
    if (loop->epoll_fd < 0 || !loop_watch(loop, &loop->control.watch, EPOLLIN))
        return err_errno(&loop->err, ERR_SYSTEM, errno, "watching the control socket");
    return true;
}

static void release(struct loop *loop) {
    for (uint32_t i = 0; loop->exports != NULL && i < DATA_EXPORTS_MAX; i++)
        if (loop->exports[i].state != EXPORT_FREE)
            export_release(&loop->exports[i]);
    listener_release(loop);
    bury(loop);
    for (uint32_t i = 0; i < loop->pool_count; i++) {
        struct pool *pool = loop->pools[i];
        pool_abandon(pool);
        pool_release(pool);
        free(pool);
    }
    request_table_release(&loop->requests);
    free(loop->exports);
    control_release(loop);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    close(loop->control.watch.fd);
}

enum loop_end loop_run(const struct loop_options *options, struct err *err) {
    struct loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL) {
        err_set(err, ERR_NO_MEMORY, "the loop");
        return LOOP_SYSTEM;
    }
    if (start(loop, options)) {
        control_say(loop);
        while (!loop->control.ended) {
            wait_for_something(loop);
            turn(loop);
        }
    }
    enum loop_end end = LOOP_ENDED;
    if (loop->err.code != ERR_NONE)
        end = loop->err.code == ERR_PROTOCOL ? LOOP_BREACH : LOOP_SYSTEM;
    *err = loop->err;
    release(loop);
    free(loop);
    return end;
}
