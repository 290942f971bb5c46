/* SPDX-License-Identifier: Apache-2.0
 *
 * session.c: the loop, and what is done with each message.
 *
 * Threads: the session belongs to the loop's thread. Workers touch only the atomic members, the
 * outbox, the services and their own work.
 */
#include "runner/session.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/uuid.h"
#include "runner/build.h"
#include "runner/calls.h"
#include "runner/data.h"
#include "runner/data_loop.h"
#include "runner/dispatch.h"
#include "runner/outbox.h"
#include "runner/sandbox.h"
#include "runner/words.h"

#define SESSION_MAGIC 0x73657373
#define WORK_MAGIC 0x776f726b
#define BATCH_PACKETS 8 /* received by one system call */
#define BATCH_ROUNDS 8  /* until the loop looks at other things again */
#define WORKS_KEPT 16   /* as many as may run, and some that wait */
#define FLUSH_MS 1000   /* for the last packet; then the gateway does not read it */
#define STATM_SIZE 128
#define DESCRIPTORS 3 /* of RING_ATTACH; no other packet has any */

/* One packet and what becomes of it. Spare ones are kept, so that a call allocates nothing. */
struct work {
    uint32_t magic;
    struct job job;
    struct session *session;
    struct wire_packet packet;
    struct call_memory memory;
    struct buf reply;
    struct err err; /* of LOAD: why it failed */
    struct work *next;
};

/* What workers have to tell the loop. */
enum { NEWS_STARTED = 1, NEWS_STOPPED = 2, NEWS_PATHS = 4 };

struct session {
    uint32_t magic;
    const struct session_options *options;
    uv_loop_t loop;
    uv_poll_t poll;
    uv_async_t async;
    int polled; /* what poll waits for */
    bool ended;
    enum session_end end;

    _Atomic unsigned state; /* enum wire_state; a worker moves it to S_OPEN */
    _Atomic unsigned news;
    /* Incarnation whose calls are answered (0: whoever asks) << 32 | calls of it under way: one
     * word, so that a worker that is late counts for the right one. */
    _Atomic uint64_t asking;

    struct outbox outbox;
    struct services services;
    struct place place;
    struct data *data;
    struct data_loop data_loop;
    uint64_t ring; /* generation of the last one attached */
    struct dispatch dispatch;
    bool has_dispatch;
    struct sandbox sandbox;
    char name[64];
    char version[64];
    struct buf loaded; /* wire_loaded, encoded */
    int statm;         /* opened before the sandbox closes */

    struct work *load;  /* LOAD, while it is carried out */
    struct work *spare; /* for the next packet */
    struct buf out;     /* the loop's own packets */
    pthread_mutex_t kept_mutex;
    struct work *kept;
    uint32_t kept_count;

    struct mmsghdr headers[BATCH_PACKETS];
    struct iovec parts[BATCH_PACKETS];
    union {
        struct cmsghdr aligned;
        uint8_t at[CMSG_SPACE(DESCRIPTORS * sizeof(int))];
    } controls[BATCH_PACKETS];
    /* Pages that no packet has filled are never touched. */
    uint8_t packets[BATCH_PACKETS][WIRE_PACKET_MAX];
};

/* ---- ends ----------------------------------------------------------------------------------- */

static void session_end(struct session *session, enum session_end end) {
    if (session->ended)
        return;
    session->ended = true;
    session->end = end;
    uv_stop(&session->loop);
}

static void breach(struct session *session, const char *why) {
    words_say("sluice-runner: the gateway broke the protocol: %s", why);
    session_end(session, SESSION_BREACH);
}

/* ---- sending -------------------------------------------------------------------------------- */

/* The loop's own packets. */
static void say(struct session *session, uint16_t number, uint64_t call_id, const void *body) {
    buf_clear(&session->out);
    wire_encode(number, call_id, body, &session->out);
    if (session->out.overflow)
        session_end(session, SESSION_SYSTEM);
    else
        outbox_send(&session->outbox, session->out.at, session->out.length);
}

/* What a driver says on its own, from any of its threads. */
static void say_news(struct session *session, uint16_t number, const void *body) {
    unsigned state = atomic_load(&session->state);
    if ((wire_row(number)->states & state) == 0 ||
        atomic_load(&session->outbox.count) > OUTBOX_NEWS_MAX)
        return;
    struct buf packet;
    buf_init(&packet, WIRE_PACKET_MAX);
    wire_encode(number, 0, body, &packet);
    if (!packet.overflow)
        outbox_send(&session->outbox, packet.at, packet.length);
    buf_release(&packet);
}

static void on_driver_log(void *owner, const struct wire_log *line) {
    say_news(owner, WIRE_LOG, line);
}

static void on_driver_event(void *owner, const struct wire_event *event) {
    say_news(owner, WIRE_EVENT, event);
}

static void on_driver_complete(void *owner, struct sluice_io *io, int32_t status, uint64_t token) {
    struct session *session = owner;
    data_complete(session->data, io, status, token);
}

static struct sluice_watch *on_driver_watch(void *owner, int fd, uint32_t ready,
                                            uint32_t timeout_ms, sluice_on_ready *on_ready,
                                            void *argument) {
    struct session *session = owner;
    return data_watch(session->data, fd, ready, timeout_ms, on_ready, argument);
}

static void on_driver_watch_change(void *owner, struct sluice_watch *watch, uint32_t ready,
                                   uint32_t timeout_ms) {
    struct session *session = owner;
    data_watch_change(session->data, watch, ready, timeout_ms);
}

static void on_driver_unwatch(void *owner, struct sluice_watch *watch) {
    struct session *session = owner;
    data_unwatch(session->data, watch);
}

static void wake_loop(void *owner) {
    struct session *session = owner;
    uv_async_send(&session->async);
}

static void tell_loop(struct session *session, unsigned news) {
    atomic_fetch_or(&session->news, news);
    wake_loop(session);
}

/* ---- works ---------------------------------------------------------------------------------- */

static void work_destroy(struct work *work) {
    if (work == NULL)
        return;
    calls_memory_release(&work->memory);
    buf_release(&work->reply);
    free(work);
}

static struct work *work_take(struct session *session) {
    pthread_mutex_lock(&session->kept_mutex);
    struct work *work = session->kept;
    if (work != NULL) {
        session->kept = work->next;
        session->kept_count--;
    }
    pthread_mutex_unlock(&session->kept_mutex);
    if (work != NULL)
        return work;
    work = calloc(1, sizeof *work);
    if (work == NULL)
        return NULL;
    work->magic = WORK_MAGIC;
    work->session = session;
    calls_memory_init(&work->memory);
    buf_init(&work->reply, WIRE_PACKET_MAX);
    return work;
}

static void work_give_back(struct work *work) {
    struct session *session = work->session;
    calls_memory_reset(&work->memory);
    pthread_mutex_lock(&session->kept_mutex);
    bool keep = session->kept_count < WORKS_KEPT;
    if (keep) {
        work->next = session->kept;
        session->kept = work;
        session->kept_count++;
    }
    pthread_mutex_unlock(&session->kept_mutex);
    if (!keep)
        work_destroy(work);
}

static struct work *work_of(struct job *job) {
    struct work *work = (struct work *)(void *)((char *)job - offsetof(struct work, job));
    CHECK_MAGIC(work, WORK_MAGIC);
    return work;
}

/* ---- calls ---------------------------------------------------------------------------------- */

/* Does somebody still wait for it? */
static bool is_wanted(uint64_t asking, uint64_t call_id) {
    return asking >> 32 == 0 || asking >> 32 == call_id >> 32;
}

/* The call is no longer under way; false: nobody waits for it. */
static bool call_leave(struct session *session, uint64_t call_id) {
    uint64_t asking = atomic_load(&session->asking);
    do {
        if (!is_wanted(asking, call_id))
            return false;
    } while (!atomic_compare_exchange_weak(&session->asking, &asking, asking - 1));
    return true;
}

/* Could the cause be that our sandbox knows another file system under that path? */
static bool may_be_paths(uint32_t status) {
    return status == SLUICE_ACCESS || status == SLUICE_UNREACHABLE || status == SLUICE_IO ||
           status == SLUICE_FOREIGN || status == SLUICE_VANISHED || status == SLUICE_READ_ONLY;
}

static bool paths_have_changed(struct session *session) {
    const char *path = session->options->sandbox ? sandbox_paths_changed(&session->sandbox) : NULL;
    if (path == NULL)
        return false;
    words_say("sluice-runner: %s is not what it was when the sandbox was entered; a new runner "
              "can reach it",
              path);
    tell_loop(session, NEWS_PATHS);
    return true;
}

/* State and counters move before the reply is sent: the gateway may answer it at once. */
static void call_answer(struct work *work, const struct wire_reply *reply) {
    struct session *session = work->session;
    unsigned state = atomic_load(&session->state);
    unsigned next;
    do {
        next = wire_next_state(state, WIRE_REPLY, work->packet.number, reply->status);
    } while (!atomic_compare_exchange_weak(&session->state, &state, next));
    if (!call_leave(session, work->packet.call_id))
        return;
    buf_clear(&work->reply);
    wire_encode(WIRE_REPLY, work->packet.call_id, reply, &work->reply);
    if (!work->reply.overflow)
        outbox_send(&session->outbox, work->reply.at, work->reply.length);
}

static void call_run(struct job *job) {
    struct work *work = work_of(job);
    struct session *session = work->session;
    /* An open that cannot succeed would only tell the gateway a wrong cause. */
    if (work->packet.number == WIRE_POOL_OPEN && paths_have_changed(session))
        return;
    struct wire_reply reply;
    data_hold(session->data, job->volumes, job->volume_count);
    calls_make(&session->place, &work->packet, &work->memory, &reply);
    data_unhold(session->data, job->volumes, job->volume_count);
    call_answer(work, &reply);
    if (may_be_paths(reply.status))
        paths_have_changed(session);
}

static void on_call_finished(struct job *job) {
    work_give_back(work_of(job));
}

static void close_all(const int *descriptors, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        close(descriptors[i]);
}

/* NOTHING is answered here, by the loop itself and without memory: it measures the boundary. */
static void answer_nothing(struct session *session, uint64_t call_id) {
    static const uint8_t result[] = {1, 0, 1, 0, 0, 0, 0, 0}; /* wire_nothing, encoded */
    struct wire_reply reply = {.status = SLUICE_OK,
                               .result = {.at = result, .length = sizeof result}};
    say(session, WIRE_REPLY, call_id, &reply);
}

/* RING_ATTACH reaches no driver, so the loop carries it out. */
static bool ring_attach(struct session *session, const int descriptors[DESCRIPTORS],
                        struct err *err) {
    bool serial = session->place.driver.base.threads == SLUICE_THREADS_SERIAL;
    if (session->place.driver.storage.data_open == NULL) {
        close_all(descriptors, DESCRIPTORS);
        return err_set(err, ERR_UNSUPPORTED, "the driver has no data_open");
    }
    if (!data_attach(session->data, descriptors, err))
        return false;
    /* The ring has it, and lives until a turn has taken over the next one. */
    return data_has_thread(session->data) ||
           data_loop_watch(&session->data_loop, session->data, serial, descriptors[1]) ||
           err_set(err, ERR_NO_MEMORY, "the ring's descriptor cannot be watched");
}

static void answer_ring_attach(struct session *session, uint64_t call_id,
                               const struct wire_ring_attach *args,
                               const int descriptors[DESCRIPTORS]) {
    if (!is_wanted(atomic_load(&session->asking), call_id)) {
        close_all(descriptors, DESCRIPTORS);
        breach(session, "a call of another incarnation than RESUME named");
        return;
    }
    struct err err = ERR_INIT;
    if (ring_attach(session, descriptors, &err)) {
        session->ring = args->generation;
        answer_nothing(session, call_id);
        return;
    }
    /* A ring that is not one has no number among a driver's statuses. */
    uint32_t status = err.code <= ERR_INTERNAL ? (uint32_t)err.code : SLUICE_INVALID;
    say(session, WIRE_REPLY, call_id, &(struct wire_reply){.status = status, .text = err.text});
}

/* The work is the dispatch's from here on. */
static void call_start(struct session *session, struct work *work) {
    if (!is_wanted(atomic_load(&session->asking), work->packet.call_id)) {
        breach(session, "a call of another incarnation than RESUME named");
        return;
    }
    if (work->packet.number == WIRE_NOTHING) {
        answer_nothing(session, work->packet.call_id);
        return;
    }
    if ((uint32_t)atomic_fetch_add(&session->asking, 1) >= WIRE_CALLS_MAX) {
        breach(session, "too many calls at once");
        return;
    }
    session->spare = NULL;
    work->job = (struct job){
        .run = call_run, .finished = on_call_finished, .serial = work->packet.row->serial};
    calls_volumes(&work->packet, &work->job);
    dispatch_submit(&session->dispatch, &work->job);
}

/* ---- LOAD ----------------------------------------------------------------------------------- */

static void refuse(struct session *session, const struct err *err) {
    struct wire_refused refused = {.status = (uint32_t)err->code, .text = err->text};
    say(session, WIRE_REFUSED, 0, &refused);
    words_say("sluice-runner: refused: %s", err->text);
    session_end(session, SESSION_REFUSED);
}

static void load_run(struct job *job) {
    struct work *work = work_of(job);
    const struct wire_load *load = work->packet.body;
    calls_start(&work->session->place, &load->settings, &work->memory, &work->err);
}

static void on_load_finished(struct job *job) {
    tell_loop(work_of(job)->session, NEWS_STARTED);
}

static bool load_open(struct session *session, const struct wire_load *load, struct err *err) {
    struct driver_expect expect = {
        .name = load->name, .version = load->version, .category = load->category};
    if (!sandbox_init(&session->sandbox, load, err))
        return false;
    if (session->options->sandbox)
        sandbox_enter_files(&session->sandbox);
    struct driver *driver = &session->place.driver;
    bool good = session->options->driver != NULL
                    ? driver_bind(session->options->driver, &expect, driver, err)
                    : driver_open(load->directory, load->library, &expect, driver, err);
    if (!good || !dispatch_open(&session->dispatch, driver->base.threads, err))
        return false;
    session->has_dispatch = true;
    data_load(session->data, driver);
    if (driver->base.threads == SLUICE_THREADS_LOOP)
        data_loop_serve(&session->data_loop, data_watches(session->data));
    snprintf(session->name, sizeof session->name, "%s", load->name);
    snprintf(session->version, sizeof session->version, "%s", load->version);
    return true;
}

static void load_start(struct session *session, struct work *work) {
    session->spare = NULL;
    session->load = work;
    work->err = ERR_INIT;
    if (!load_open(session, work->packet.body, &work->err)) {
        refuse(session, &work->err);
        return;
    }
    work->job =
        (struct job){.run = load_run, .finished = on_load_finished, .serial = WIRE_SERIAL_POOL};
    dispatch_submit(&session->dispatch, &work->job);
}

static int by_facility(const void *a, const void *b) {
    return strcmp(((const struct text_pair *)a)->name, ((const struct text_pair *)b)->name);
}

/* The driver's start has returned. */
static void on_load_done(struct session *session) {
    struct work *work = session->load;
    if (work->err.code != ERR_NONE) {
        refuse(session, &work->err);
        return;
    }
    struct sandbox_report *report = &session->sandbox.report;
    if (session->options->sandbox)
        sandbox_close_door(&session->sandbox);
    struct text_pair lines[SANDBOX_FACILITIES_MAX];
    for (uint32_t i = 0; i < report->count; i++)
        lines[i] = (struct text_pair){.name = report->at[i].facility, .value = report->at[i].text};
    qsort(lines, report->count, sizeof lines[0], by_facility);
    struct wire_loaded loaded = {
        .threads = session->place.driver.base.threads,
        .abi = session->place.driver.base.abi,
        .sandbox = {.at = lines, .count = report->count},
    };
    shape_encode(&wire_loaded_shape, &loaded, &session->loaded);
    atomic_store(&session->state, wire_next_state(S_LOADING, WIRE_LOADED, 0, 0));
    say(session, WIRE_LOADED, 0, &loaded);
    session->load = NULL;
    work_give_back(work);
}

/* ---- STOP ----------------------------------------------------------------------------------- */

static bool is_no_call(const struct job *job) {
    return job->run != call_run;
}

static void stop_run(struct job *job) {
    calls_stop(&work_of(job)->session->place);
}

static void on_stop_finished(struct job *job) {
    struct session *session = work_of(job)->session;
    work_give_back(work_of(job));
    tell_loop(session, NEWS_STOPPED);
}

static void say_bye(struct session *session) {
    say(session, WIRE_BYE, 0, &(struct wire_bye){0});
    session_end(session, SESSION_DONE);
}

/* Calls that have not begun are not answered: whoever asked asks the successor. The job of serial
 * POOL waits for those that have. */
static void stop_start(struct session *session, struct work *work) {
    atomic_store(&session->state, S_CLOSING);
    data_loop_stop(&session->data_loop);
    if (!session->has_dispatch) {
        say_bye(session);
        return;
    }
    dispatch_discard(&session->dispatch, is_no_call);
    session->spare = NULL;
    work->job =
        (struct job){.run = stop_run, .finished = on_stop_finished, .serial = WIRE_SERIAL_POOL};
    dispatch_submit(&session->dispatch, &work->job);
}

/* ---- PING and RESUME ------------------------------------------------------------------------ */

/* Bytes, from the second number of /proc/self/statm; 0 when it cannot be read. */
static uint64_t resident_bytes(const struct session *session) {
    char text[STATM_SIZE];
    ssize_t length = session->statm < 0 ? -1 : pread(session->statm, text, sizeof text - 1, 0);
    if (length <= 0)
        return 0;
    text[length] = '\0';
    char *end;
    strtoull(text, &end, 10);
    return strtoull(end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void answer_ping(struct session *session, const struct wire_ping *ping) {
    struct wire_pong pong = {
        .number = ping->number,
        .resident = resident_bytes(session),
        .dropped_logs = services_dropped(&session->services),
    };
    if (session->has_dispatch)
        dispatch_running(&session->dispatch, &pong.running, &pong.oldest_ms);
    uint32_t running;
    uint32_t oldest_ms;
    data_running(session->data, &running, &oldest_ms);
    pong.running += running;
    pong.oldest_ms = oldest_ms > pong.oldest_ms ? oldest_ms : pong.oldest_ms;
    say(session, WIRE_PONG, 0, &pong);
}

/* The new gateway process makes its calls anew; those of the old one that have not begun are
 * dropped, the answers of the others too. */
static void resume(struct session *session, const struct wire_resume *resume) {
    if (resume->incarnation == 0 || resume->incarnation > UINT32_MAX) {
        breach(session, "RESUME of no possible incarnation");
        return;
    }
    atomic_store(&session->asking, resume->incarnation << 32);
    if (session->has_dispatch)
        dispatch_discard(&session->dispatch, is_no_call);
    unsigned state = atomic_load(&session->state);
    struct wire_resumed resumed = {
        .incarnation = resume->incarnation,
        .state = state,
        .name = session->name,
        .version = session->version,
        .loaded = {.at = session->loaded.at, .length = (uint32_t)session->loaded.length},
        .ring = session->ring,
    };
    if (state == S_OPEN) {
        resumed.pool = session->place.pool_id;
        resumed.opened =
            (struct blob){.at = session->place.opened, .length = session->place.opened_length};
    }
    say(session, WIRE_RESUMED, 0, &resumed);
}

/* ---- receiving ------------------------------------------------------------------------------ */

/* A call or a message that was permitted. work->packet.body lives in work. */
static void handle(struct session *session, struct work *work) {
    const struct wire_packet *packet = &work->packet;
    switch (packet->number) {
    case WIRE_LOAD:
        atomic_store(&session->state, wire_next_state(S_READY, WIRE_LOAD, 0, 0));
        load_start(session, work);
        break;
    case WIRE_PING:
        answer_ping(session, packet->body);
        break;
    case WIRE_RESUME:
        resume(session, packet->body);
        break;
    case WIRE_STOP:
        stop_start(session, work);
        break;
    default:
        call_start(session, work);
        break;
    }
}

/* Owns the descriptors that came along. */
static void receive_one(struct session *session, const uint8_t *packet, size_t length,
                        const int *descriptors, uint32_t count) {
    if (session->spare == NULL)
        session->spare = work_take(session);
    struct work *work = session->spare;
    struct err err = ERR_INIT;
    bool attaches = false;
    if (work == NULL) {
        words_say("sluice-runner: no memory for a message");
        session_end(session, SESSION_SYSTEM);
    } else {
        calls_memory_reset(&work->memory);
        bool good = wire_decode(packet, length, WIRE_GATEWAY, atomic_load(&session->state),
                                &work->memory.arena, &work->packet, &err);
        attaches = good && work->packet.number == WIRE_RING_ATTACH && count == DESCRIPTORS;
        if (attaches)
            answer_ring_attach(session, work->packet.call_id, work->packet.body, descriptors);
        else if (!good)
            breach(session, err.text);
        else if (count > 0 || work->packet.number == WIRE_RING_ATTACH)
            breach(session, count > 0 ? "a packet carries descriptors" : "a ring without any");
        else
            handle(session, work);
    }
    if (!attaches)
        close_all(descriptors, count);
}

/* Where packets go. */
static void receive_prepare(struct session *session) {
    for (size_t i = 0; i < BATCH_PACKETS; i++) {
        session->parts[i] =
            (struct iovec){.iov_base = session->packets[i], .iov_len = WIRE_PACKET_MAX};
        session->headers[i].msg_hdr =
            (struct msghdr){.msg_iov = &session->parts[i], .msg_iovlen = 1};
    }
}

/* There is room for as many descriptors as any packet may bring; the kernel says when there were
 * more, and has closed those. */
static uint32_t descriptors_of(struct msghdr *header, int ret[DESCRIPTORS]) {
    uint32_t count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL;
         part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t bytes = part->cmsg_len - CMSG_LEN(0);
        for (size_t i = 0; i < bytes / sizeof(int) && count < DESCRIPTORS; i++)
            memcpy(&ret[count++], CMSG_DATA(part) + i * sizeof(int), sizeof(int));
    }
    return count;
}

/* The packets of one system call; false: no more for now. */
static bool receive_batch(struct session *session) {
    for (size_t i = 0; i < BATCH_PACKETS; i++) {
        session->headers[i].msg_hdr.msg_control = &session->controls[i];
        session->headers[i].msg_hdr.msg_controllen = sizeof session->controls[i].at;
    }
    int count = recvmmsg(session->options->socket, session->headers, BATCH_PACKETS,
                         MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
    if (count < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            session_end(session, SESSION_ABANDONED);
        return false;
    }
    for (int i = 0; i < count; i++) {
        struct mmsghdr *header = &session->headers[i];
        int descriptors[DESCRIPTORS];
        uint32_t brought = descriptors_of(&header->msg_hdr, descriptors);
        bool cut = (header->msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
        if (!session->ended && !cut && header->msg_len > 0) {
            receive_one(session, session->packets[i], header->msg_len, descriptors, brought);
            continue;
        }
        close_all(descriptors, brought);
        if (cut && !session->ended)
            breach(session, "a packet that is too long or carries descriptors");
        else if (!session->ended)
            session_end(session, SESSION_ABANDONED);
    }
    return count == BATCH_PACKETS && !session->ended;
}

static void poll_start(struct session *session);

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct session *session = poll->data;
    CHECK_MAGIC(session, SESSION_MAGIC);
    if (status < 0) {
        session_end(session, SESSION_ABANDONED);
        return;
    }
    if ((events & UV_WRITABLE) != 0)
        outbox_drain(&session->outbox);
    if ((events & UV_READABLE) != 0)
        for (int round = 0; round < BATCH_ROUNDS && receive_batch(session); round++)
            ;
    if (!session->ended)
        poll_start(session);
}

/* Asks for what is of use now; a change only, as each costs a system call. */
static void poll_start(struct session *session) {
    uint32_t queued = atomic_load(&session->outbox.count);
    int events = (queued < OUTBOX_PAUSE ? UV_READABLE : 0) | (queued > 0 ? UV_WRITABLE : 0);
    if (events == session->polled)
        return;
    CHECK(uv_poll_start(&session->poll, events, on_poll) == 0);
    session->polled = events;
}

static void on_async(uv_async_t *async) {
    struct session *session = async->data;
    CHECK_MAGIC(session, SESSION_MAGIC);
    unsigned news = atomic_exchange(&session->news, 0);
    if ((news & NEWS_STARTED) != 0 && !session->ended)
        on_load_done(session);
    if ((news & NEWS_STOPPED) != 0)
        say_bye(session);
    if ((news & NEWS_PATHS) != 0)
        session_end(session, SESSION_PATHS);
    if (!session->ended)
        poll_start(session);
}

/* ---- life ----------------------------------------------------------------------------------- */

static struct session *session_create(const struct session_options *options) {
    struct session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return NULL;
    session->data = data_create(&session->services, data_loop_wake, &session->data_loop);
    if (session->data == NULL) {
        free(session);
        return NULL;
    }
    session->magic = SESSION_MAGIC;
    session->options = options;
    atomic_store(&session->state, S_NEW);
    session->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    buf_init(&session->out, WIRE_PACKET_MAX);
    buf_init(&session->loaded, WIRE_PACKET_MAX);
    CHECK(pthread_mutex_init(&session->kept_mutex, NULL) == 0);
    CHECK(uv_loop_init(&session->loop) == 0);
    CHECK(uv_async_init(&session->loop, &session->async, on_async) == 0);
    CHECK(uv_poll_init(&session->loop, &session->poll, options->socket) == 0);
    session->async.data = session;
    session->poll.data = session;
    outbox_init(&session->outbox, options->socket, wake_loop, session);
    services_init(&session->services,
                  &(struct services_sink){.log = on_driver_log,
                                          .event = on_driver_event,
                                          .complete = on_driver_complete,
                                          .watch = on_driver_watch,
                                          .watch_change = on_driver_watch_change,
                                          .unwatch = on_driver_unwatch,
                                          .owner = session});
    data_loop_init(&session->data_loop, &session->loop, &session->dispatch);
    session->place.services = &session->services;
    session->place.data = session->data;
    receive_prepare(session);
    return session;
}

/* Only when nothing of the driver runs any more. */
static void session_destroy(struct session *session) {
    if (session->has_dispatch)
        dispatch_close(&session->dispatch);
    data_loop_close(&session->data_loop);
    data_destroy(session->data);
    uv_close((uv_handle_t *)&session->poll, NULL);
    uv_close((uv_handle_t *)&session->async, NULL);
    uv_run(&session->loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&session->loop) == 0);
    while (session->kept != NULL) {
        struct work *work = session->kept;
        session->kept = work->next;
        work_destroy(work);
    }
    work_destroy(session->spare);
    work_destroy(session->load);
    outbox_release(&session->outbox);
    services_release(&session->services);
    pthread_mutex_destroy(&session->kept_mutex);
    buf_release(&session->out);
    buf_release(&session->loaded);
    if (session->statm >= 0)
        close(session->statm);
    close(session->options->socket);
    free(session);
}

enum session_end session_run(const struct session_options *options) {
    struct session *session = session_create(options);
    if (session == NULL)
        return SESSION_SYSTEM;
    struct wire_hello hello = {
        .protocol = WIRE_PROTOCOL,
        .abi = SLUICE_ABI,
        .pid = (uint32_t)getpid(),
        .build = BUILD_VERSION,
    };
    say(session, WIRE_HELLO, 0, &hello);
    atomic_store(&session->state, wire_next_state(S_NEW, WIRE_HELLO, 0, 0));
    poll_start(session);
    if (!session->ended)
        uv_run(&session->loop, UV_RUN_DEFAULT);
    enum session_end end = session->end;
    if (end != SESSION_ABANDONED)
        outbox_flush(&session->outbox, clock_mono_ms() + FLUSH_MS);
    if (end == SESSION_DONE || end == SESSION_REFUSED)
        session_destroy(session);
    return end;
}
