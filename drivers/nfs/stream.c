/* SPDX-License-Identifier: Apache-2.0
 *
 * stream.c: see stream.h.
 */
#include "stream.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define PAUSE_MS 50 /* before the second attempt to connect; doubled each time ... */
#define PAUSE_MAX_MS 2000
#define TROUBLE_FAILURES 2 /* attempts in vain; one is a server that was restarted */

enum line_state { LINE_DOWN, LINE_CONNECTING, LINE_UP };

/* One connection. */
struct line {
    struct stream *stream;
    enum line_state state;
    struct rpc_context *rpc;
    struct sluice_watch *watch;
    struct identity as; /* for whom the next call is made */
    bool has_identity;
    bool failed; /* to be broken by the thread that serves it */
    uint32_t waits_for;
    uint32_t timeout_ms; /* what the watch was told */
    uint32_t calls;      /* under way ... */
    uint64_t bytes;      /* ... and what they carry */
    uint32_t failures;
    uint64_t retry_ms;
};

struct stream {
    struct nfs_fs *fs;
    const struct sluice_services *services;
    stream_done *done;
    pthread_mutex_t lock; /* of all below */
    int timer;
    struct sluice_watch *timer_watch;
    struct piece *queue; /* by number */
    struct piece **queue_end;
    uint64_t numbers;
    bool closing;
    bool troubled;
    uint32_t line_count;
    struct line lines[STREAM_LINES_MAX];
};

/* The lock under which `done` is called. */
static void lock_stream(struct stream *stream) {
    pthread_mutex_lock(&stream->lock);
}

static void unlock_stream(struct stream *stream) {
    pthread_mutex_unlock(&stream->lock);
}

/* ---- the queue ------------------------------------------------------------------------------ */

/* Behind all that is older. What comes back is older than most. */
static void queue_insert(struct stream *stream, struct piece *piece) {
    struct piece **link = &stream->queue;
    while (*link != NULL && (*link)->number < piece->number) {
        link = &(*link)->next;
    }
    piece->next = *link;
    *link = piece;
    if (piece->next == NULL) {
        stream->queue_end = &piece->next;
    }
}

static void queue_append(struct stream *stream, struct piece *piece) {
    piece->number = ++stream->numbers;
    piece->next = NULL;
    *stream->queue_end = piece;
    stream->queue_end = &piece->next;
}

static struct piece *queue_take(struct stream *stream) {
    struct piece *piece = stream->queue;
    stream->queue = piece->next;
    if (stream->queue == NULL) {
        stream->queue_end = &stream->queue;
    }
    return piece;
}

/* ---- answers -------------------------------------------------------------------------------- */

/* true: nothing is left of the piece. */
static bool take_read(struct piece *piece, const struct READ3resok *good, int *ret_code) {
    uint32_t left = piece->length - piece->done;
    uint32_t length = good->data.data_len < left ? good->data.data_len : left;
    memcpy(piece->bytes + piece->done, good->data.data_val, length);
    piece->done += length;
    if (good->eof != 0) { /* what lies beyond the end reads as zeroes */
        memset(piece->bytes + piece->done, 0, piece->length - piece->done);
        piece->done = piece->length;
    }
    *ret_code = length == 0 && piece->done < piece->length ? NFS3ERR_IO : 0;
    return *ret_code != 0 || piece->done == piece->length;
}

static bool take_write(struct piece *piece, const struct WRITE3resok *good, int *ret_code) {
    uint32_t left = piece->length - piece->done;
    uint64_t verifier;
    memcpy(&verifier, good->verf, sizeof verifier);
    /* Of several parts the oldest counts: it is the one that another life of the server lost. */
    piece->verifier = piece->done == 0 ? verifier : piece->verifier;
    piece->done += good->count < left ? good->count : left;
    *ret_code = good->count == 0 ? NFS3ERR_IO : 0;
    return *ret_code != 0 || piece->done == piece->length;
}

static bool take_answer(struct piece *piece, const void *result, int *ret_code) {
    memcpy(ret_code, result, sizeof *ret_code); /* every result leads with its status */
    if (*ret_code != 0) {
        return true;
    }
    switch (piece->kind) {
    case PIECE_READ:
        return take_read(piece, &((const struct READ3res *)result)->READ3res_u.resok, ret_code);
    case PIECE_WRITE:
        return take_write(piece, &((const struct WRITE3res *)result)->WRITE3res_u.resok, ret_code);
    default:
        memcpy(&piece->verifier, ((const struct COMMIT3res *)result)->COMMIT3res_u.resok.verf,
               sizeof piece->verifier);
        return true;
    }
}

/* libnfs tells all calls of a connection that breaks, and those that the server's RPC layer turned
 * away, in the same way but for the words. */
static bool is_turned_away(int status, const char *words) {
    return status == RPC_STATUS_ERROR && words != NULL && strncmp(words, "RPC ERROR", 9) != 0;
}

static void on_piece(struct rpc_context *rpc, int status, void *result, void *argument) {
    struct piece *piece = argument;
    struct line *line = piece->line;
    struct stream *stream = line->stream;
    int code = 0;
    (void)rpc;
    line->calls--;
    line->bytes -= piece->length;
    piece->line = NULL;
    if (is_turned_away(status, result)) {
        stream->done(piece, CONTROL_REFUSED, 0);
    } else if (status == RPC_STATUS_SUCCESS && result != NULL &&
               take_answer(piece, result, &code)) {
        stream->done(piece, code, piece->verifier);
    } else { /* the connection broke, or there is more to do */
        queue_insert(stream, piece);
    }
}

/* ---- lines ---------------------------------------------------------------------------------- */

static void on_line_ready(void *argument, uint32_t ready);

static void on_line_connected(struct rpc_context *rpc, int status, void *result, void *argument) {
    struct line *line = argument;
    (void)result;
    if (status != RPC_STATUS_SUCCESS) {
        line->failed = true;
        return;
    }
    server_tune(rpc_get_fd(rpc));
    line->state = LINE_UP;
    line->failures = 0;
    if (line->stream->troubled) {
        line->stream->troubled = false;
        health_better(&line->stream->fs->health);
    }
}

/* So that the earliest of those that are down is tried again. */
static void timer_arm(struct stream *stream) {
    uint64_t now_ms = server_now_ms();
    uint64_t first_ms = UINT64_MAX;
    for (uint32_t i = 0; i < stream->line_count; i++) {
        const struct line *line = &stream->lines[i];
        if (line->state == LINE_DOWN && line->retry_ms < first_ms) {
            first_ms = line->retry_ms;
        }
    }
    struct itimerspec when = {.it_value = {0}};
    if (first_ms != UINT64_MAX && stream->queue != NULL) {
        uint64_t wait_ms = first_ms > now_ms ? first_ms - now_ms : 1;
        when.it_value.tv_sec = (time_t)(wait_ms / 1000);
        when.it_value.tv_nsec = (long)(wait_ms % 1000) * 1000000;
    }
    timerfd_settime(stream->timer, 0, &when, NULL);
}

/* Told once, until a line is up again. */
static void tell_trouble(struct stream *stream, const char *why) {
    char text[SLUICE_TEXT_MAX];
    snprintf(text, sizeof text, "the NFS server %.200s %s; data calls wait for it",
             stream->fs->control.server.host, why);
    stream->troubled = true;
    health_trouble(&stream->fs->health, text);
}

static void line_pause(struct line *line, const char *why) {
    uint64_t pause_ms = PAUSE_MS;
    for (uint32_t i = 1; i < line->failures && pause_ms < PAUSE_MAX_MS; i++) {
        pause_ms *= 2;
    }
    line->retry_ms = line->failures == 0 ? 0 : server_now_ms() + pause_ms;
    line->failures++;
    if (line->failures > TROUBLE_FAILURES && !line->stream->troubled &&
        line->stream->queue != NULL) {
        tell_trouble(line->stream, why);
    }
}

static void line_connect(struct line *line) {
    struct stream *stream = line->stream;
    line->failed = false;
    line->has_identity = false;
    line->rpc = server_dial(&stream->fs->control.server, SERVER_NFS, on_line_connected, line);
    if (line->rpc != NULL) {
        line->state = LINE_CONNECTING;
        line->waits_for = SLUICE_READY_WRITE;
        line->timeout_ms = STREAM_CONNECT_MS;
        line->watch =
            stream->services->watch(stream->services, rpc_get_fd(line->rpc), line->waits_for,
                                    line->timeout_ms, on_line_ready, line);
    }
    if (line->rpc != NULL && line->watch == NULL) {
        server_hang_up(line->rpc);
        line->rpc = NULL;
        line->state = LINE_DOWN;
    }
    if (line->rpc == NULL) {
        line_pause(line, "cannot be reached from here");
    }
}

/* On the thread that serves watches only: nobody is inside on_line_ready but perhaps we. */
static void line_break(struct line *line, const char *why) {
    struct stream *stream = line->stream;
    stream->services->unwatch(stream->services, line->watch);
    line->watch = NULL;
    line->state = LINE_DOWN;
    server_hang_up(line->rpc); /* what was under way goes back into the queue */
    line->rpc = NULL;
    line_pause(line, why);
}

/* Tells the watch what the line waits for by now; each change costs, so only when it is one. */
static void line_watch(struct line *line) {
    struct stream *stream = line->stream;
    if (line->state == LINE_DOWN) {
        return;
    }
    int events = rpc_which_events(line->rpc);
    uint32_t ready = ((events & POLLIN) != 0 ? SLUICE_READY_READ : 0) |
                     ((events & POLLOUT) != 0 ? SLUICE_READY_WRITE : 0);
    uint32_t timeout_ms = line->state == LINE_CONNECTING ? STREAM_CONNECT_MS
                          : line->calls > 0              ? STREAM_REPLY_MS
                                                         : 0;
    if (ready != line->waits_for || timeout_ms != line->timeout_ms) {
        line->waits_for = ready;
        line->timeout_ms = timeout_ms;
        stream->services->watch_change(stream->services, line->watch, ready, timeout_ms);
    }
}

/* ---- sending -------------------------------------------------------------------------------- */

static int start_piece(struct line *line, struct piece *piece) {
    struct handle handle = file_handle(piece->file);
    const struct nfs_fh3 fh = {.data = {.data_len = handle.length, .data_val = handle.bytes}};
    uint32_t left = piece->length - piece->done;
    if (piece->kind == PIECE_READ) {
        struct READ3args args = {.file = fh, .offset = piece->offset + piece->done, .count = left};
        return rpc_nfs3_read_async(line->rpc, on_piece, &args, piece);
    }
    if (piece->kind == PIECE_COMMIT) {
        struct COMMIT3args args = {.file = fh}; /* count 0: all of it */
        return rpc_nfs3_commit_async(line->rpc, on_piece, &args, piece);
    }
    struct WRITE3args args = {
        .file = fh,
        .offset = piece->offset + piece->done,
        .count = left,
        .stable = piece->stable ? FILE_SYNC : UNSTABLE,
        .data = {.data_len = left, .data_val = piece->bytes + piece->done},
    };
    return rpc_nfs3_write_async(line->rpc, on_piece, &args, piece);
}

static bool is_same(const struct identity *a, const struct identity *b) {
    return a->uid == b->uid && a->gid == b->gid;
}

/* Begins the next piece on the line. false: it cannot take it. */
static bool line_begin(struct line *line, struct piece *piece) {
    bool acts = line->has_identity && is_same(&line->as, &piece->file->as);
    if (!acts) {
        acts = server_act_as(line->rpc, &piece->file->as, UINT32_MAX);
        line->as = piece->file->as;
        line->has_identity = acts;
    }
    piece->line = line;
    line->calls++;
    line->bytes += piece->length;
    if (acts && start_piece(line, piece) == 0) {
        return true;
    }
    line->calls--;
    line->bytes -= piece->length;
    return false;
}

/* The line with the least under way, or NULL. */
static struct line *line_choose(struct stream *stream) {
    struct line *best = NULL;
    for (uint32_t i = 0; i < stream->line_count; i++) {
        struct line *line = &stream->lines[i];
        bool room = line->state == LINE_UP && !line->failed && line->calls < STREAM_WINDOW_CALLS &&
                    line->bytes < STREAM_WINDOW_BYTES;
        if (room && (best == NULL || line->bytes < best->bytes)) {
            best = line;
        }
    }
    return best;
}

/* The thread that serves it will see it as broken. */
static void line_fail(struct line *line) {
    line->failed = true;
    shutdown(rpc_get_fd(line->rpc), SHUT_RDWR);
}

static void line_send(struct line *line) {
    if (line->state == LINE_UP && !line->failed && (rpc_which_events(line->rpc) & POLLOUT) != 0 &&
        rpc_service(line->rpc, POLLOUT) != 0) {
        line_fail(line);
    }
}

/* Gives what waits to the lines, as far as they take it, and wakes lines that are down. */
static void pump(struct stream *stream) {
    struct line *line;
    while (stream->queue != NULL && (line = line_choose(stream)) != NULL) {
        struct piece *piece = queue_take(stream);
        if (!line_begin(line, piece)) { /* no memory */
            queue_insert(stream, piece);
            line_fail(line);
        }
    }
    uint64_t now_ms = 0;
    bool any_down = false;
    for (uint32_t i = 0; i < stream->line_count; i++) {
        line = &stream->lines[i];
        if (line->state == LINE_DOWN && stream->queue != NULL) {
            now_ms = now_ms == 0 ? server_now_ms() : now_ms;
            if (line->retry_ms <= now_ms) {
                line_connect(line);
            }
        }
        any_down = any_down || line->state == LINE_DOWN;
        line_send(line);
        line_watch(line);
    }
    if (any_down && stream->queue != NULL) {
        timer_arm(stream);
    }
}

void stream_submit(struct stream *stream, struct piece *pieces) {
    lock_stream(stream);
    while (pieces != NULL) {
        struct piece *piece = pieces;
        pieces = piece->next;
        piece->done = 0;
        piece->verifier = 0;
        queue_append(stream, piece);
    }
    pump(stream);
    unlock_stream(stream);
}

/* ---- what the watches tell ------------------------------------------------------------------ */

static void line_serve(struct line *line, uint32_t ready) {
    int events = ((ready & SLUICE_READY_READ) != 0 ? POLLIN : 0) |
                 ((ready & SLUICE_READY_WRITE) != 0 ? POLLOUT : 0) |
                 ((ready & SLUICE_READY_HANGUP) != 0 ? POLLHUP : 0);
    /* What came before the end of the stream is still good. */
    bool whole = (events & POLLIN) == 0 || rpc_service(line->rpc, POLLIN) == 0;
    events &= ~POLLIN;
    whole = whole && !line->failed && (events == 0 || rpc_service(line->rpc, events) == 0);
    if (!whole || line->failed) {
        line_break(line, line->state == LINE_CONNECTING ? "is not reached" : "ends connections");
    }
}

static void on_line_ready(void *argument, uint32_t ready) {
    struct line *line = argument;
    struct stream *stream = line->stream;
    lock_stream(stream);
    if (!stream->closing && line->state != LINE_DOWN) {
        if ((ready & SLUICE_READY_TIMEOUT) == 0) {
            line_serve(line, ready);
        } else if (line->state == LINE_CONNECTING || line->calls > 0) {
            line->failures += line->state == LINE_UP ? TROUBLE_FAILURES : 0;
            line_break(line, "does not answer");
        }
        pump(stream);
    }
    unlock_stream(stream);
}

static void on_timer(void *argument, uint32_t ready) {
    struct stream *stream = argument;
    uint64_t times;
    (void)ready;
    lock_stream(stream);
    ssize_t taken = read(stream->timer, &times, sizeof times);
    (void)taken;
    if (!stream->closing) {
        pump(stream);
    }
    unlock_stream(stream);
}

/* ---- life ----------------------------------------------------------------------------------- */

struct stream *stream_open(struct nfs_fs *fs, uint32_t lines, stream_done *done) {
    const struct sluice_services *services = fs->base.services;
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        return NULL;
    }
    stream->fs = fs;
    stream->services = services;
    stream->done = done;
    stream->queue_end = &stream->queue;
    stream->line_count = lines < STREAM_LINES_MAX ? lines : STREAM_LINES_MAX;
    pthread_mutex_init(&stream->lock, NULL);
    stream->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (stream->timer >= 0) {
        stream->timer_watch =
            services->watch(services, stream->timer, SLUICE_READY_READ, 0, on_timer, stream);
    }
    if (stream->timer_watch == NULL) {
        if (stream->timer >= 0) {
            close(stream->timer);
        }
        pthread_mutex_destroy(&stream->lock);
        free(stream);
        return NULL;
    }
    lock_stream(stream);
    for (uint32_t i = 0; i < stream->line_count; i++) {
        stream->lines[i].stream = stream;
        line_connect(&stream->lines[i]);
    }
    unlock_stream(stream);
    return stream;
}

void stream_close(struct stream *stream) {
    if (stream == NULL) {
        return;
    }
    lock_stream(stream);
    stream->closing = true; /* from here on the watches' functions touch nothing */
    unlock_stream(stream);
    stream->services->unwatch(stream->services, stream->timer_watch);
    for (uint32_t i = 0; i < stream->line_count; i++) {
        struct line *line = &stream->lines[i];
        if (line->watch != NULL) {
            stream->services->unwatch(stream->services, line->watch);
        }
        server_hang_up(line->rpc);
    }
    if (stream->troubled) {
        health_better(&stream->fs->health);
    }
    close(stream->timer);
    pthread_mutex_destroy(&stream->lock);
    free(stream);
}
