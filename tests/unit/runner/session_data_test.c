/* SPDX-License-Identifier: Apache-2.0
 *
 * session_data_test.c: data calls through a whole session in each thread model, with a driver that
 * completes at once, from a thread of its own or by a watched descriptor, and sees whether calls
 * overlap that may not.
 */
#include "peer.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "ring/ring.h"
#include "runner/session.h"

#define CALLS 3000
#define DEPTH 16
#define VOLUMES 2
#define BUSY_MS 500
#define PONG_MS_MAX 100 /* a turn is 5; the rest is for a slow machine */
#define QUEUE_MAX 512
#define TIMEOUT_MS 5

static struct sluice_driver driver;
static struct sluice_storage storage;
static const struct sluice_services *services;
static enum { AT_ONCE, BY_THREAD, BY_WATCH } how; /* calls are completed */
static int bell = -1;                             /* eventfd, watched */
static struct sluice_watch *watch;
static _Atomic int timeouts;

static _Atomic int inside_all;
static _Atomic int inside_of[VOLUMES + 1];
static _Atomic int most_all;
static _Atomic int most_of;
static _Atomic int closes;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static struct sluice_io *queue[QUEUE_MAX];
static uint32_t first, queued;
static bool ending;
static pthread_t completer;

static void raise_most(_Atomic int *most, int now) {
    int seen = atomic_load(most);
    while (now > seen && !atomic_compare_exchange_weak(most, &seen, now))
        ;
}

static void end_call(struct sluice_io *io) {
    int volume = (int)(intptr_t)io->driver;
    memset(io->buffer, volume, io->length);
    atomic_fetch_sub(&inside_of[volume], 1);
    atomic_fetch_sub(&inside_all, 1);
    services->complete(services, io, SLUICE_OK, 1);
}

static void *complete_all(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    while (!ending || (queued > 0 && how != BY_WATCH)) {
        if (queued == 0 || how == BY_WATCH) {
            pthread_cond_wait(&work, &mutex);
            continue;
        }
        struct sluice_io *io = queue[first++ % QUEUE_MAX];
        queued--;
        pthread_mutex_unlock(&mutex);
        end_call(io);
        pthread_mutex_lock(&mutex);
    }
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void data_read(void *handle, struct sluice_io *io) {
    int volume = (int)(intptr_t)handle;
    io->driver = handle;
    raise_most(&most_all, atomic_fetch_add(&inside_all, 1) + 1);
    raise_most(&most_of, atomic_fetch_add(&inside_of[volume], 1) + 1);
    if (how == AT_ONCE) {
        end_call(io);
        return;
    }
    pthread_mutex_lock(&mutex);
    queue[(first + queued++) % QUEUE_MAX] = io;
    pthread_cond_signal(&work);
    pthread_mutex_unlock(&mutex);
    if (how == BY_WATCH)
        assert_int_equal(eventfd_write(bell, 1), 0);
}

static void on_bell(void *argument, uint32_t ready) {
    eventfd_t count;
    (void)argument;
    if ((ready & SLUICE_READY_TIMEOUT) != 0)
        atomic_fetch_add(&timeouts, 1);
    if ((ready & SLUICE_READY_READ) == 0)
        return;
    assert_int_equal(eventfd_read(bell, &count), 0);
    pthread_mutex_lock(&mutex);
    while (queued > 0) {
        struct sluice_io *io = queue[first++ % QUEUE_MAX];
        queued--;
        pthread_mutex_unlock(&mutex);
        end_call(io);
        pthread_mutex_lock(&mutex);
    }
    pthread_mutex_unlock(&mutex);
}

static int32_t data_open(void *pool, struct sluice_call *call, const struct sluice_data_open *args,
                         struct sluice_data_opened *ret) {
    (void)pool;
    (void)call;
    ret->io_align = 1;
    ret->size_bytes = 1 << 20;
    ret->handle = (void *)(intptr_t)args->volume.bytes[0];
    return SLUICE_OK;
}

static void data_close(void *handle) {
    (void)handle;
    atomic_fetch_add(&closes, 1);
}

static int32_t start(const struct sluice_services *given, struct sluice_call *call,
                     const struct sluice_properties *settings, void **ret_driver) {
    (void)call;
    (void)settings;
    services = given;
    *ret_driver = NULL;
    if (how != BY_WATCH)
        return SLUICE_OK;
    bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    watch = services->watch(services, bell, 0, 0, on_bell, NULL);
    if (watch == NULL)
        return SLUICE_NO_MEMORY;
    services->watch_change(services, watch, SLUICE_READY_READ, TIMEOUT_MS);
    return SLUICE_OK;
}

static void stop(void *self) {
    (void)self;
    if (how != BY_WATCH)
        return;
    services->unwatch(services, watch);
    close(bell);
}

static void nothing_to_do(void *self) {
    (void)self;
}

static int32_t pool_open(void *self, struct sluice_call *call, const struct sluice_pool_open *args,
                         struct sluice_pool *ret, void **ret_pool) {
    (void)self;
    (void)call;
    (void)args;
    ret->in_flight_max = 64;
    *ret_pool = NULL;
    return SLUICE_OK;
}

static int32_t fine(void *pool, struct sluice_call *call) {
    (void)pool;
    (void)call;
    return SLUICE_OK;
}

static int32_t pool_stat(void *pool, struct sluice_call *call, struct sluice_capacity *ret) {
    (void)ret;
    return fine(pool, call);
}

static int32_t volume_create(void *pool, struct sluice_call *call,
                             const struct sluice_volume_create *args, struct sluice_volume *ret) {
    (void)args;
    (void)ret;
    return fine(pool, call);
}

static int32_t volume_delete(void *pool, struct sluice_call *call,
                             const struct sluice_uuid *volume) {
    (void)volume;
    return fine(pool, call);
}

/* Counts as a call on its volume: in PER_VOLUME and SERIAL nothing may overlap it. */
static int32_t volume_get(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                          struct sluice_volume *ret) {
    raise_most(&most_all, atomic_fetch_add(&inside_all, 1) + 1);
    raise_most(&most_of, atomic_fetch_add(&inside_of[volume->bytes[0]], 1) + 1);
    sched_yield();
    ret->volume = *volume;
    atomic_fetch_sub(&inside_of[volume->bytes[0]], 1);
    atomic_fetch_sub(&inside_all, 1);
    return fine(pool, call);
}

static int32_t volume_list(void *pool, struct sluice_call *call, struct sluice_list *list) {
    list->count = 0;
    return fine(pool, call);
}

static const void *table(const char *name, uint32_t version) {
    (void)name;
    (void)version;
    return &storage;
}

/* ---- the session and its ring --------------------------------------------------------------- */

static struct peer peer;
static pthread_t thread;
static struct session_options options;
static struct ring ring;
static struct wire_data_opened opened[VOLUMES + 1];

static void *run(void *unused) {
    (void)unused;
    return (void *)(intptr_t)session_run(&options);
}

static void attach(void) {
    struct err err = ERR_INIT;
    struct buf buf;
    union {
        struct cmsghdr aligned;
        uint8_t at[CMSG_SPACE(3 * sizeof(int))];
    } control;
    if (!ring_create(&ring, &err))
        fail_msg("%s", err.text);
    const int fds[3] = {ring.memory_fd, ring.wake_runner, ring.wake_data};
    uint64_t call_id = peer.incarnation << 32 | ++peer.calls;
    buf_init(&buf, WIRE_PACKET_MAX);
    wire_encode(WIRE_RING_ATTACH, call_id, &(struct wire_ring_attach){.generation = 1}, &buf);
    struct iovec part = {.iov_base = buf.at, .iov_len = buf.length};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof control.at};
    control.aligned = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fds)};
    memcpy(CMSG_DATA(&control.aligned), fds, sizeof fds);
    assert_int_equal(sendmsg(peer.socket, &header, MSG_NOSIGNAL), buf.length);
    buf_release(&buf);
    const struct wire_reply *reply = peer_wait(&peer, WIRE_REPLY);
    assert_non_null(reply);
    assert_int_equal(reply->status, SLUICE_OK);
    assert_int_equal(peer.packet.call_id, call_id);
}

static void make_tables(uint32_t threads) {
    storage = (struct sluice_storage){
        .size = sizeof storage,
        .version = SLUICE_STORAGE_VERSION,
        .pool_open = pool_open,
        .pool_close = nothing_to_do,
        .pool_stat = pool_stat,
        .pool_probe = fine,
        .pool_release = fine,
        .volume_create = volume_create,
        .volume_delete = volume_delete,
        .volume_get = volume_get,
        .volume_list = volume_list,
        .data_open = data_open,
        .data_close = data_close,
        .data_read = data_read,
    };
    driver = (struct sluice_driver){
        .size = sizeof driver,
        .abi = SLUICE_ABI,
        .category = SLUICE_CATEGORY_STORAGE,
        .threads = threads,
        .name = "d",
        .version = "1",
        .start = start,
        .stop = stop,
        .table = table,
    };
}

static void begin(uint32_t threads, int completes) {
    int sockets[2];
    make_tables(threads);
    how = completes;
    atomic_store(&timeouts, 0);
    first = queued = 0;
    ending = false;
    atomic_store(&most_all, 0);
    atomic_store(&most_of, 0);
    atomic_store(&closes, 0);
    assert_int_equal(pthread_create(&completer, NULL, complete_all, NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    options = (struct session_options){.socket = sockets[1], .driver = &driver};
    peer_init(&peer, sockets[0]);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    assert_non_null(peer_wait(&peer, WIRE_HELLO));
    struct wire_load load = {.directory = "/",
                             .library = "d.so",
                             .name = "d",
                             .version = "1",
                             .category = SLUICE_CATEGORY_STORAGE};
    peer_send(&peer, WIRE_LOAD, 0, &load);
    assert_non_null(peer_wait(&peer, WIRE_LOADED));
    assert_int_equal(peer_open(&peer, NULL, 0, NULL), SLUICE_OK);
    attach();
    for (uint8_t volume = 1; volume <= VOLUMES; volume++) {
        struct wire_data_open args = {.volume = id_of(volume), .epoch = 1};
        const struct wire_reply *reply = peer_call(&peer, WIRE_DATA_OPEN, &args, &opened[volume]);
        assert_non_null(reply);
        assert_int_equal(reply->status, SLUICE_OK);
    }
}

static void finish(void) {
    void *end;
    peer_send(&peer, WIRE_STOP, 0, &(struct wire_stop){0});
    assert_non_null(peer_wait(&peer, WIRE_BYE));
    assert_int_equal(pthread_join(thread, &end), 0);
    assert_int_equal((intptr_t)end, SESSION_DONE);
    assert_int_equal(atomic_load(&closes), VOLUMES);
    pthread_mutex_lock(&mutex);
    ending = true;
    pthread_cond_signal(&work);
    pthread_mutex_unlock(&mutex);
    assert_int_equal(pthread_join(completer, NULL), 0);
    peer_release(&peer);
    ring_release(&ring);
}

static uint64_t begun, ended;

static void submit_some(uint64_t calls) {
    while (begun < calls && begun - ended < DEPTH) {
        uint64_t volume = 1 + begun % VOLUMES;
        ring_submit(&ring, &(struct ring_submission){.tag = begun,
                                                     .verb = RING_READ,
                                                     .handle = opened[volume].handle,
                                                     .length = 512,
                                                     .page = (uint32_t)(begun % RING_ENTRIES)});
        begun++;
    }
    ring_publish(&ring);
}

static bool take_some(void) {
    struct ring_completion completion;
    bool some = false;
    while (ring_next_completion(&ring, &completion)) {
        assert_int_equal(completion.status, SLUICE_OK);
        const uint8_t *bytes = ring_payload(&ring, (uint32_t)(completion.tag % RING_ENTRIES), 512);
        assert_int_equal(bytes[511], 1 + completion.tag % VOLUMES);
        ended++;
        some = true;
    }
    return some;
}

static void run_calls(uint64_t calls) {
    uint64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    begun = ended = 0;
    for (uint64_t round = 0; ended < calls; round++) {
        submit_some(calls);
        if (round % 64 == 0) {
            struct wire_volume_id id = {.volume = id_of((uint8_t)(1 + round / 64 % VOLUMES))};
            struct wire_volume volume;
            const struct wire_reply *reply = peer_call(&peer, WIRE_VOLUME_GET, &id, &volume);
            assert_non_null(reply);
            assert_int_equal(reply->status, SLUICE_OK);
        }
        while (!take_some()) {
            if (clock_mono_ms() > deadline_ms)
                fail_msg("%llu of %llu calls ended", (unsigned long long)ended,
                         (unsigned long long)calls);
            if (!ring_spin(&ring, 0) && ring_asleep(&ring)) {
                struct pollfd wake = {.fd = ring.wake_data, .events = POLLIN};
                poll(&wake, 1, 1000);
                ring_awake(&ring);
            }
        }
    }
}

static void calls_overlap_as_the_model_says(void **state) {
    (void)state;
    for (uint32_t threads = SLUICE_THREADS_SERIAL; threads <= SLUICE_THREADS_LOOP; threads++)
        for (int completes = AT_ONCE; completes <= BY_WATCH; completes++) {
            begin(threads, completes);
            run_calls(CALLS);
            if (threads == SLUICE_THREADS_SERIAL)
                assert_int_equal(atomic_load(&most_all), 1);
            if (threads == SLUICE_THREADS_PER_VOLUME)
                assert_int_equal(atomic_load(&most_of), 1);
            if (threads == SLUICE_THREADS_PARALLEL && completes == BY_THREAD)
                assert_in_range(atomic_load(&most_all), 2, DEPTH + 1);
            finish();
        }
}

static void *keep_busy(void *until_ms) {
    begun = ended = 0;
    while (clock_mono_ms() < *(uint64_t *)until_ms) {
        submit_some(UINT64_MAX);
        take_some();
    }
    while (ended < begun && clock_mono_ms() < *(uint64_t *)until_ms + DEADLINE_MS)
        take_some();
    return NULL;
}

/* The heartbeat is in time while the ring is never empty. */
static void a_busy_ring_does_not_keep_the_loop(void **state) {
    (void)state;
    for (uint32_t threads = SLUICE_THREADS_SERIAL; threads <= SLUICE_THREADS_LOOP; threads++) {
        pthread_t client;
        uint64_t until_ms = clock_mono_ms() + BUSY_MS;
        begin(threads, AT_ONCE);
        assert_int_equal(pthread_create(&client, NULL, keep_busy, &until_ms), 0);
        for (uint64_t number = 1; clock_mono_ms() < until_ms; number++) {
            uint64_t asked_ms = clock_mono_ms();
            peer_ping(&peer, number);
            assert_in_range(clock_mono_ms() - asked_ms, 0, PONG_MS_MAX);
        }
        assert_int_equal(pthread_join(client, NULL), 0);
        assert_int_equal(begun, ended);
        finish();
    }
}

/* Also where there is nothing to do, and no ring. */
static void a_silent_descriptor_is_told_of(void **state) {
    (void)state;
    for (uint32_t threads = SLUICE_THREADS_SERIAL; threads <= SLUICE_THREADS_LOOP; threads++) {
        uint64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
        begin(threads, BY_WATCH);
        while (atomic_load(&timeouts) < 3 && clock_mono_ms() < deadline_ms)
            sched_yield();
        assert_in_range(atomic_load(&timeouts), 3, DEADLINE_MS / TIMEOUT_MS);
        finish();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_overlap_as_the_model_says),
        cmocka_unit_test(a_busy_ring_does_not_keep_the_loop),
        cmocka_unit_test(a_silent_descriptor_is_told_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
