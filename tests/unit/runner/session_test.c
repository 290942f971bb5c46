/* SPDX-License-Identifier: Apache-2.0
 *
 * The session on a thread of this process, with a driver that waits where the test tells it to; the
 * test is the gateway.
 */
#include "peer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "runner/dispatch.h"
#include "runner/session.h"

static struct sluice_driver driver;
static struct sluice_storage storage;
static const struct sluice_services *services;

/* How many are inside the driver's volume_get, and whether they may leave. */
static _Atomic unsigned inside;
static _Atomic unsigned most_inside;
static _Atomic bool gate_open;
static _Atomic unsigned closed;
static _Atomic unsigned stopped;
static _Atomic unsigned inside_at_close;
static int32_t start_answer;
static _Atomic bool open_waits;

static void nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static bool reaches(_Atomic unsigned *value, unsigned wanted) {
    uint64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    while (atomic_load(value) != wanted) {
        if (clock_mono_ms() > deadline_ms)
            return false;
        nap();
    }
    return true;
}

static void wait_at_gate(void) {
    uint64_t deadline_ms = clock_mono_ms() + 2 * DEADLINE_MS;
    while (!atomic_load(&gate_open) && clock_mono_ms() < deadline_ms)
        nap();
}

static int32_t start(const struct sluice_services *given, struct sluice_call *call,
                     const struct sluice_properties *settings, void **ret_driver) {
    (void)settings;
    services = given;
    *ret_driver = NULL;
    given->event(given, SLUICE_EVENT_CAPACITY, NULL, 0, "too early: nobody takes it yet");
    given->log(given, SLUICE_LOG_INFO, "starting");
    return start_answer == SLUICE_OK
               ? SLUICE_OK
               : (given->fail)(given, call, start_answer, "the backend is on holiday");
}
static void stop(void *self) {
    (void)self;
    atomic_fetch_add(&stopped, 1);
}
static int32_t pool_open(void *self, struct sluice_call *call, const struct sluice_pool_open *args,
                         struct sluice_pool *ret, void **ret_pool) {
    (void)self;
    (void)call;
    (void)args;
    if (atomic_load(&open_waits)) {
        atomic_fetch_add(&inside, 1);
        wait_at_gate();
        atomic_fetch_sub(&inside, 1);
    }
    ret->volume_size_max = 1 << 30;
    *ret_pool = NULL;
    return SLUICE_OK;
}
static void pool_close(void *pool) {
    (void)pool;
    atomic_store(&inside_at_close, atomic_load(&inside));
    atomic_fetch_add(&closed, 1);
}
static int32_t pool_stat(void *pool, struct sluice_call *call, struct sluice_capacity *ret) {
    (void)pool;
    (void)call;
    ret->total = 7;
    return SLUICE_OK;
}
static int32_t pool_probe(void *pool, struct sluice_call *call) {
    (void)pool;
    (void)call;
    return SLUICE_OK;
}
static int32_t volume_get(void *pool, struct sluice_call *call, const struct sluice_uuid *volume,
                          struct sluice_volume *ret) {
    (void)pool;
    (void)call;
    unsigned now = atomic_fetch_add(&inside, 1) + 1;
    unsigned most = atomic_load(&most_inside);
    while (now > most && !atomic_compare_exchange_weak(&most_inside, &most, now))
        ;
    wait_at_gate();
    atomic_fetch_sub(&inside, 1);
    ret->volume = *volume;
    return SLUICE_OK;
}
static int32_t volume_list(void *pool, struct sluice_call *call, struct sluice_list *list) {
    (void)pool;
    (void)call;
    struct sluice_volume *entries = list->entries;
    for (list->count = 0; list->count < list->capacity; list->count++) {
        entries[list->count].volume = id_of((uint8_t)(list->count + 1));
        memset(entries[list->count].name, 'n', SLUICE_NAME_MAX - 1);
    }
    return SLUICE_OK;
}
static int32_t volume_create(void *pool, struct sluice_call *call,
                             const struct sluice_volume_create *args, struct sluice_volume *ret) {
    (void)pool;
    (void)call;
    (void)args;
    (void)ret;
    return SLUICE_NO_SPACE;
}
static int32_t volume_delete(void *pool, struct sluice_call *call,
                             const struct sluice_uuid *volume) {
    (void)pool;
    (void)call;
    (void)volume;
    services->event(services, SLUICE_EVENT_ACCESS_LOST, volume, 0, "gone");
    return SLUICE_OK;
}
static const void *table(const char *name, uint32_t version) {
    (void)name;
    (void)version;
    return &storage;
}

/* ---- the session on its thread -------------------------------------------------------------- */

static struct peer peer;
static pthread_t thread;
static int runner_socket;
static struct session_options options;

static void *run(void *unused) {
    (void)unused;
    return (void *)(intptr_t)session_run(&options);
}

static enum session_end join(void) {
    void *end;
    assert_int_equal(pthread_join(thread, &end), 0);
    return (enum session_end)(intptr_t)end;
}

static int setup(void **state) {
    (void)state;
    storage = (struct sluice_storage){
        .size = sizeof storage,
        .version = SLUICE_STORAGE_VERSION,
        .pool_open = pool_open,
        .pool_close = pool_close,
        .pool_stat = pool_stat,
        .pool_probe = pool_probe,
        .pool_release = pool_probe,
        .volume_create = volume_create,
        .volume_delete = volume_delete,
        .volume_get = volume_get,
        .volume_list = volume_list,
    };
    driver = (struct sluice_driver){
        .size = sizeof driver,
        .abi = SLUICE_ABI,
        .category = SLUICE_CATEGORY_STORAGE,
        .threads = SLUICE_THREADS_PER_VOLUME,
        .name = "d",
        .version = "1",
        .start = start,
        .stop = stop,
        .table = table,
    };
    start_answer = SLUICE_OK;
    atomic_store(&gate_open, true);
    atomic_store(&open_waits, false);
    atomic_store(&most_inside, 0);
    atomic_store(&closed, 0);
    atomic_store(&stopped, 0);
    int sockets[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    runner_socket = sockets[1];
    options = (struct session_options){.socket = runner_socket, .driver = &driver};
    peer_init(&peer, sockets[0]);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    const struct wire_hello *hello = peer_wait(&peer, WIRE_HELLO);
    assert_non_null(hello);
    assert_int_equal(hello->protocol, WIRE_PROTOCOL);
    assert_int_equal(hello->pid, getpid());
    return 0;
}

static int teardown(void **state) {
    (void)state;
    peer_release(&peer);
    return 0;
}

static void send_load(void) {
    struct wire_load load = {.directory = "/",
                             .library = "d.so",
                             .name = "d",
                             .version = "1",
                             .category = SLUICE_CATEGORY_STORAGE};
    peer_send(&peer, WIRE_LOAD, 0, &load);
}

static void load_and_open(uint32_t threads) {
    driver.threads = threads;
    send_load();
    const struct wire_loaded *loaded = peer_wait(&peer, WIRE_LOADED);
    assert_non_null(loaded);
    assert_int_equal(loaded->threads, threads);
    assert_int_equal(loaded->abi, SLUICE_ABI);
    struct wire_pool pool;
    assert_int_equal(peer_open(&peer, NULL, 0, &pool), SLUICE_OK);
    assert_int_equal(pool.volume_size_max, 1 << 30);
}

static void say_stop(void) {
    struct wire_stop stop_message = {0};
    peer_send(&peer, WIRE_STOP, 0, &stop_message);
}

static void stop_well(void) {
    say_stop();
    assert_non_null(peer_wait(&peer, WIRE_BYE));
    assert_int_equal(join(), SESSION_DONE);
    assert_int_equal(atomic_load(&closed), 1);
    assert_int_equal(atomic_load(&stopped), 1);
}

static uint64_t start_get(uint8_t byte) {
    struct wire_volume_id id = {.volume = id_of(byte)};
    return peer_call_start(&peer, WIRE_VOLUME_GET, &id);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void a_session_from_hello_to_bye_in_each_thread_model(void **state) {
    for (uint32_t threads = SLUICE_THREADS_SERIAL; threads <= SLUICE_THREADS_LOOP; threads++) {
        if (threads != SLUICE_THREADS_SERIAL)
            setup(state);
        load_and_open(threads);
        assert_int_equal(peer.logs, 1); /* "starting"; the event before LOADED is dropped */
        assert_int_equal(peer.events, 0);
        assert_int_equal(peer_ask(&peer, WIRE_NOTHING), SLUICE_OK);
        assert_int_equal(peer_ask(&peer, WIRE_POOL_STAT), SLUICE_OK);
        assert_int_equal(peer_ask(&peer, WIRE_POOL_PROBE), SLUICE_OK);
        struct wire_volume volume;
        struct wire_volume_id id = {.volume = id_of(3)};
        assert_int_equal(peer_call(&peer, WIRE_VOLUME_GET, &id, &volume)->status, SLUICE_OK);
        assert_int_equal(peer_call(&peer, WIRE_VOLUME_DELETE, &id, NULL)->status, SLUICE_OK);
        assert_int_equal(peer.events, 1);
        const struct wire_pong *pong = peer_ping(&peer, 99);
        assert_true(pong->resident > 0);
        stop_well();
        if (threads != SLUICE_THREADS_LOOP)
            teardown(state);
    }
}

static void a_ping_is_answered_while_calls_hang(void **state) {
    (void)state;
    load_and_open(SLUICE_THREADS_PARALLEL);
    atomic_store(&gate_open, false);
    start_get(1);
    start_get(2);
    start_get(2);
    assert_true(reaches(&inside, 2));
    const struct wire_pong *pong = peer_ping(&peer, 5);
    assert_int_equal(pong->running, 2);
    assert_int_equal(peer_ask(&peer, WIRE_NOTHING), SLUICE_OK);
    atomic_store(&gate_open, true);
    for (int i = 0; i < 3; i++)
        assert_non_null(peer_wait(&peer, WIRE_REPLY));
    assert_int_equal(atomic_load(&most_inside), 2);
    stop_well();
}

static void replies_survive_a_gateway_that_reads_late(void **state) {
    (void)state;
    load_and_open(SLUICE_THREADS_PER_VOLUME);
    struct wire_list list = {.capacity = WIRE_PAGE_ENTRIES};
    /* Together more than a socket holds. */
    for (unsigned i = 0; i < WIRE_CALLS_MAX; i++)
        peer_call_start(&peer, WIRE_VOLUME_LIST, &list);
    static bool seen[2 * WIRE_CALLS_MAX];
    memset(seen, 0, sizeof seen);
    for (unsigned i = 0; i < WIRE_CALLS_MAX; i++) {
        const struct wire_reply *reply = peer_wait(&peer, WIRE_REPLY);
        assert_non_null(reply);
        assert_int_equal(reply->status, SLUICE_OK);
        unsigned n = (uint32_t)peer.packet.call_id;
        assert_true(n < 2 * WIRE_CALLS_MAX && !seen[n]);
        seen[n] = true;
    }
    stop_well();
}

static void stop_waits_for_what_runs_and_drops_what_waits(void **state) {
    (void)state;
    load_and_open(SLUICE_THREADS_SERIAL);
    atomic_store(&gate_open, false);
    uint64_t running = start_get(1);
    assert_true(reaches(&inside, 1));
    start_get(2);
    say_stop();
    peer_ping(&peer, 1); /* STOP has been taken by now */
    assert_int_equal(atomic_load(&closed), 0);
    atomic_store(&gate_open, true);
    assert_non_null(peer_wait(&peer, WIRE_REPLY));
    assert_int_equal(peer.packet.call_id, running);
    assert_non_null(peer_wait(&peer, WIRE_BYE));
    assert_int_equal(join(), SESSION_DONE);
    assert_int_equal(atomic_load(&closed), 1);
    assert_int_equal(atomic_load(&inside_at_close), 0);
}

static void resume_drops_the_calls_of_the_predecessor(void **state) {
    (void)state;
    load_and_open(SLUICE_THREADS_SERIAL);
    atomic_store(&gate_open, false);
    start_get(1);
    assert_true(reaches(&inside, 1));
    start_get(2);

    peer.incarnation = 2;
    struct wire_resume resume = {.incarnation = 2};
    peer_send(&peer, WIRE_RESUME, 0, &resume);
    const struct wire_resumed *resumed = peer_wait(&peer, WIRE_RESUMED);
    assert_non_null(resumed);
    assert_int_equal(resumed->incarnation, 2);
    assert_int_equal(resumed->state, S_OPEN);
    assert_string_equal(resumed->name, "d");
    struct sluice_uuid pool_id = id_of(POOL_BYTE);
    assert_true(uuid_equal(&resumed->pool, &pool_id));
    struct wire_pool pool;
    struct wire_loaded loaded;
    struct err err = ERR_INIT;
    assert_true(shape_decode(&wire_pool_shape, resumed->opened.at, resumed->opened.length,
                             &peer.arena, &pool, &err));
    assert_int_equal(pool.volume_size_max, 1 << 30);
    assert_true(shape_decode(&wire_loaded_shape, resumed->loaded.at, resumed->loaded.length,
                             &peer.arena, &loaded, &err));
    assert_int_equal(loaded.threads, SLUICE_THREADS_SERIAL);

    uint64_t mine = start_get(3);
    atomic_store(&gate_open, true);
    assert_non_null(peer_wait(&peer, WIRE_REPLY));
    assert_int_equal(peer.packet.call_id, mine); /* 1 ran and was not answered, 2 never ran */
    assert_int_equal(peer_open(&peer, NULL, 0, &pool), SLUICE_OK);
    stop_well();
}

/* The predecessor's POOL_OPEN ends between RESUMED and ours. */
static void a_pool_that_is_being_opened_can_be_taken_over(void **state) {
    (void)state;
    atomic_store(&open_waits, true);
    atomic_store(&gate_open, false);
    send_load();
    assert_non_null(peer_wait(&peer, WIRE_LOADED));
    struct wire_pool_open open = {.pool = id_of(POOL_BYTE), .name = "p"};
    peer_call_start(&peer, WIRE_POOL_OPEN, &open);
    assert_true(reaches(&inside, 1));
    peer.incarnation = 2;
    struct wire_resume resume = {.incarnation = 2};
    peer_send(&peer, WIRE_RESUME, 0, &resume);
    const struct wire_resumed *resumed = peer_wait(&peer, WIRE_RESUMED);
    assert_int_equal(resumed->state, S_LOADED);
    assert_int_equal(resumed->opened.length, 0);
    uint64_t mine = peer_call_start(&peer, WIRE_POOL_OPEN, &open);
    atomic_store(&gate_open, true);
    const struct wire_reply *reply = peer_wait(&peer, WIRE_REPLY);
    assert_int_equal(peer.packet.call_id, mine);
    assert_int_equal(reply->status, SLUICE_OK);
    stop_well();
}

static void a_driver_that_does_not_start_is_refused(void **state) {
    (void)state;
    start_answer = SLUICE_UNREACHABLE;
    send_load();
    const struct wire_refused *refused = NULL;
    while (refused == NULL && peer_next(&peer, DEADLINE_MS) == 1)
        if (peer.packet.number == WIRE_REFUSED)
            refused = peer.packet.body;
    assert_non_null(refused);
    assert_int_equal(refused->status, SLUICE_UNREACHABLE);
    assert_string_equal(refused->text, "the backend is on holiday");
    assert_int_equal(join(), SESSION_REFUSED);
    assert_int_equal(atomic_load(&stopped), 0);
}

static void stop_before_load_is_a_bye(void **state) {
    (void)state;
    say_stop();
    assert_non_null(peer_wait(&peer, WIRE_BYE));
    assert_int_equal(join(), SESSION_DONE);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_session_from_hello_to_bye_in_each_thread_model),
        TEST(a_ping_is_answered_while_calls_hang),
        TEST(replies_survive_a_gateway_that_reads_late),
        TEST(stop_waits_for_what_runs_and_drops_what_waits),
        TEST(resume_drops_the_calls_of_the_predecessor),
        TEST(a_pool_that_is_being_opened_can_be_taken_over),
        TEST(a_driver_that_does_not_start_is_refused),
        TEST(stop_before_load_is_a_bye),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
