/* SPDX-License-Identifier: Apache-2.0
 *
 * play.c: see play.h.
 */
#include "play.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/uuid.h"
#include "wire/data.h"
#include <sluice/driver.h>

#define DEADLINE_S 20
#define HELD_ROUNDS 8 /* of RING_SPIN_NS, at most, in which nothing comes */

uint64_t play_roll(uint64_t *dice) {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    return *dice * UINT64_C(0x2545f4914f6cdd1d) >> 11;
}

/* ---- the gateway ----------------------------------------------------------------------------- */

/* Takes the descriptors. */
static void say_all(struct play *play, enum data_number number, const void *body, const int *fds,
                    uint32_t count) {
    struct buf packet;
    buf_init(&packet, WIRE_PACKET_MAX);
    data_encode(number, body, &packet);
    CHECK(!packet.overflow);
    union {
        struct cmsghdr header;
        uint8_t bytes[CMSG_SPACE(3 * sizeof(int))];
    } ancillary = {0};
    CHECK(count <= 3);
    struct iovec part = {.iov_base = packet.at, .iov_len = packet.length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = &ancillary;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        ancillary.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(count * sizeof(int)),
                                            .cmsg_level = SOL_SOCKET,
                                            .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&ancillary.header), fds, count * sizeof(int));
    }
    CHECK(sendmsg(play->control, &message, MSG_NOSIGNAL) >= 0);
    buf_release(&packet);
    for (uint32_t i = 0; i < count; i++)
        close(fds[i]);
}

static void say(struct play *play, enum data_number number, const void *body, int fd) {
    say_all(play, number, body, &fd, fd >= 0);
}

/* Waits for one message; others that come first are noted. */
static void hear(struct play *play, enum data_number wanted, int descriptors[3]) {
    static uint8_t bytes[WIRE_PACKET_MAX];
    struct arena arena;
    arena_init(&arena, WIRE_ARENA_MAX);
    for (;;) {
        union {
            struct cmsghdr header;
            uint8_t bytes[CMSG_SPACE(3 * sizeof(int))];
        } ancillary;
        struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = &ancillary,
                                 .msg_controllen = sizeof ancillary};
        ssize_t length = recvmsg(play->control, &message, 0);
        CHECK(length > 0);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        uint32_t count = 0;
        if (header != NULL) {
            count = (uint32_t)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            CHECK(count == (wanted == DATA_RING_MADE ? 3 : 1) && descriptors != NULL);
            memcpy(descriptors, CMSG_DATA(header), sizeof(int) * count);
        }
        enum data_number number;
        const void *body;
        struct err err = ERR_INIT;
        CHECK(data_decode(bytes, (size_t)length, count, DATA_SENDER_DATA, &arena, &number, &body,
                          &err));
        if (number == DATA_PONG) {
            const struct data_pong *pong = body;
            play->pong_connections = pong->connections;
            play->pong_calls = pong->calls;
            play->pong_replayed = pong->replayed;
            play->pong_tls_failed = pong->tls_failed;
            play->pong_names_refused = pong->names_refused;
            play->pong_strangers_ended = pong->strangers_ended;
        }
        if (number == DATA_RING_BROKEN)
            play->heard_broken = true;
        if (number == DATA_RING_STILL) {
            play->heard_still++;
            play->heard_still_ms = ((const struct data_still *)body)->still_ms;
        }
        if (number == wanted)
            break;
        arena_reset(&arena);
    }
    arena_release(&arena);
}

struct loop_start {
    struct play *play;
    int control;
};

static void *run_loop(void *argument) {
    struct loop_start *start = argument;
    struct play *play = start->play;
    play->err = ERR_INIT;
    play->end =
        loop_run(&(struct loop_options){.control = start->control, .statm = -1}, &play->err);
    free(start);
    return NULL;
}

/* Everything but the loop; returns its end of the control socket. */
static int prepare(struct play *play, uint64_t size_bytes, bool loses) {
    memset(play, 0, sizeof *play);
    play->loses = loses;
    play->size_bytes = size_bytes;
    play->current = calloc(1, size_bytes);
    play->stable = calloc(1, size_bytes);
    play->dirty = calloc(1, size_bytes / PLAY_BLOCK + 1);
    play->token = 1;
    play->pool = uuid_new();
    pthread_mutex_init(&play->lock, NULL);
    play->dead_fd = eventfd(0, EFD_NONBLOCK);
    snprintf(play->folder, sizeof play->folder, "%s/sluice-play-XXXXXX", P_tmpdir);
    CHECK(mkdtemp(play->folder) != NULL);
    snprintf(play->path, sizeof play->path, "%s/nbd.sock", play->folder);
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    play->control = pair[0];
    struct timeval deadline = {.tv_sec = DEADLINE_S};
    setsockopt(play->control, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    return pair[1];
}

void play_start(struct play *play, uint64_t size_bytes, bool loses) {
    int control = prepare(play, size_bytes, loses);
    struct loop_start *start = malloc(sizeof *start);
    CHECK(start != NULL);
    *start = (struct loop_start){.play = play, .control = control};
    CHECK(pthread_create(&play->loop_thread, NULL, run_loop, start) == 0);
    hear(play, DATA_HELLO, NULL);
}

void play_start_program(struct play *play, const char *program, uint64_t size_bytes, bool loses) {
    int control = prepare(play, size_bytes, loses);
    play->program = fork();
    CHECK(play->program >= 0);
    if (play->program == 0) {
        CHECK(dup2(control, 3) == 3);
        char *arguments[] = {(char *)(uintptr_t)program, NULL};
        char *environment[] = {NULL};
        execve(program, arguments, environment);
        _exit(127);
    }
    close(control);
    hear(play, DATA_HELLO, NULL);
}

void play_stop(struct play *play) {
    play_kill(play);
    close(play->control);
    if (play->program > 0) {
        int status = -1;
        CHECK(waitpid(play->program, &status, 0) == play->program);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == LOOP_ENDED);
    } else {
        pthread_join(play->loop_thread, NULL);
        CHECK(play->end == LOOP_ENDED);
    }
    free(play->current);
    free(play->stable);
    free(play->dirty);
    close(play->dead_fd);
    unlink(play->path);
    rmdir(play->folder);
}

static int listen_at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    CHECK(strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
          listen(fd, 1024) == 0);
    return fd;
}

void play_export(struct play *play, const struct data_export *wanted) {
    struct data_export body = {
        .name = "disk",
        .io_max = RING_CALL_MAX,
        .io_align = 1,
        .trims = true,
        .zeroes_fast = true,
        .extents = true,
        .token_constant = !play->loses,
        .uid = getuid(),
    };
    if (wanted != NULL)
        body = *wanted;
    play->attachment = uuid_new();
    play->volume = uuid_new();
    body.attachment = play->attachment;
    body.volume = play->volume;
    body.pool = play->pool;
    body.size_bytes = play->size_bytes;
    if (body.uid == PLAY_TLS_ONLY)
        say(play, DATA_EXPORT_TLS, &body, -1);
    else
        say(play, DATA_EXPORT, &body, listen_at(play->path));
}

static int keep(const void *bytes, size_t length) {
    int fd = memfd_create("pem", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, bytes, length) == (ssize_t)length);
    return fd;
}

static uint16_t port_of(int fd) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    CHECK(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    return ntohs(address.sin_port);
}

uint16_t play_listen(struct play *play, const void *certificate, size_t certificate_size,
                     const void *key, size_t key_size) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
          listen(fd, 1024) == 0);
    uint16_t port = port_of(fd);
    int fds[] = {fd, keep(certificate, certificate_size), keep(key, key_size)};
    struct data_listen body = {.address = "here"};
    say_all(play, DATA_LISTEN, &body, fds, 3);
    return port;
}

void play_unlisten(struct play *play) {
    say(play, DATA_UNLISTEN, &(struct data_nothing){0}, -1);
}

uint16_t play_sync(struct play *play) {
    int fds[3];
    say(play, DATA_SYNC, &(struct data_sync){.incarnation = 2}, -1);
    hear(play, DATA_LISTENS, fds);
    uint16_t port = port_of(fds[0]);
    close(fds[0]);
    hear(play, DATA_SYNCED, NULL);
    return port;
}

void play_unexport(struct play *play) {
    struct data_unexport body = {.attachment = play->attachment};
    say(play, DATA_UNEXPORT, &body, -1);
    hear(play, DATA_UNEXPORTED, NULL);
}

void play_ping(struct play *play) {
    struct data_ping body = {.number = 7};
    say(play, DATA_PING, &body, -1);
    hear(play, DATA_PONG, NULL);
}

/* ---- the runner ------------------------------------------------------------------------------ */

static void lose(struct play *play) {
    for (uint64_t i = 0; i < play->size_bytes / PLAY_BLOCK; i++) {
        if (play->dirty[i] == 0)
            continue;
        uint64_t at = i * PLAY_BLOCK;
        /* Either it got to the disk in time or it did not. */
        if (play_roll(&play->dice) % 2 == 0)
            memcpy(play->current + at, play->stable + at, PLAY_BLOCK);
        else
            memcpy(play->stable + at, play->current + at, PLAY_BLOCK);
        play->dirty[i] = 0;
    }
    play->token++;
}

static void changed(struct play *play, uint64_t offset, uint64_t length, bool stable) {
    if (length == 0)
        return;
    for (uint64_t i = offset / PLAY_BLOCK; i <= (offset + length - 1) / PLAY_BLOCK; i++) {
        play->dirty[i] = 1;
        if (stable) {
            memcpy(play->stable + i * PLAY_BLOCK, play->current + i * PLAY_BLOCK, PLAY_BLOCK);
            play->dirty[i] = 0;
        }
    }
}

static void flush(struct play *play) {
    for (uint64_t i = 0; i < play->size_bytes / PLAY_BLOCK; i++)
        if (play->dirty[i] != 0)
            changed(play, i * PLAY_BLOCK, PLAY_BLOCK, true);
}

static uint32_t tell_extents(const struct play *play, const struct ring_submission *call) {
    struct ring_extent *to = ring_payload(&play->ring, call->page, RING_PAGE);
    uint32_t count = 0;
    uint64_t at = call->offset;
    uint64_t end = call->offset + call->length;
    while (at < end && count < RING_EXTENTS_MAX) {
        uint64_t next = (at / PLAY_BLOCK + 1) * PLAY_BLOCK;
        if (next > end)
            next = end;
        bool zero = true;
        for (uint64_t i = at; i < next && zero; i++)
            zero = play->current[i] == 0;
        uint64_t flags = zero ? SLUICE_EXTENT_HOLE | SLUICE_EXTENT_ZERO : 0;
        if (count > 0 && to[count - 1].flags == flags)
            to[count - 1].length += next - at;
        else
            to[count++] = (struct ring_extent){.length = next - at, .flags = flags};
        at = next;
    }
    return count;
}

static struct ring_completion execute(struct play *play, const struct ring_submission *call) {
    struct ring_completion done = {.tag = call->tag, .token = play->token};
    CHECK(ring_submission_valid(call));
    if (call->offset > play->size_bytes || call->length > play->size_bytes - call->offset ||
        call->handle != atomic_load(&play->handle)) {
        done.status = SLUICE_INVALID;
        return done;
    }
    bool stable = (call->flags & SLUICE_IO_FUA) != 0;
    void *payload = ring_payload(&play->ring, call->page, call->length);
    switch (call->verb) {
    case RING_READ:
        memcpy(payload, play->current + call->offset, call->length);
        break;
    case RING_WRITE:
        memcpy(play->current + call->offset, payload, call->length);
        changed(play, call->offset, call->length, stable);
        break;
    case RING_WRITE_ZEROES:
    case RING_TRIM:
        memset(play->current + call->offset, 0, call->length);
        changed(play, call->offset, call->length, stable);
        break;
    case RING_FLUSH:
        flush(play);
        break;
    case RING_EXTENTS:
        done.count = tell_extents(play, call);
        break;
    default:
        CHECK(false);
    }
    return done;
}

static bool touches(const struct ring_submission *call, uint64_t at) {
    return at != UINT64_MAX && call->verb != RING_FLUSH && call->offset <= at &&
           at < call->offset + call->length;
}

/* true: the runner died of it. */
static bool serve(struct play *play, struct ring_submission *batch, uint32_t count) {
    const struct play_script *script = &play->script;
    if (script->seed != 0)
        for (uint32_t i = count; i > 1; i--) {
            uint32_t other = (uint32_t)(play_roll(&play->dice) % i);
            struct ring_submission swap = batch[i - 1];
            batch[i - 1] = batch[other];
            batch[other] = swap;
        }
    for (uint32_t i = 0; i < count; i++) {
        bool last = script->die_after > 0 && play->executed + 1 >= (uint64_t)script->die_after;
        if (touches(&batch[i], script->die_at) ||
            (last && script->seed != 0 && play_roll(&play->dice) % 2 == 0))
            return true;
        play->executed++;
        atomic_fetch_add(&play->calls, 1);
        if (script->token_every > 0 && play->executed % script->token_every == 0)
            lose(play);
        struct ring_completion done = execute(play, &batch[i]);
        if (touches(&batch[i], script->fail_at))
            done.status = script->fail_status;
        if (last)
            return true; /* it took effect, and nobody was told */
        if (script->hostile)
            done.tag ^= 0xff00;
        /* Some took effect long before they are told. */
        if (script->seed != 0 && play_roll(&play->dice) % 3 == 0) {
            play->held[play->held_count++] = done;
            continue;
        }
        ring_complete(&play->ring, &done);
        ring_publish(&play->ring);
    }
    return false;
}

static void tell_held(struct play *play) {
    for (uint32_t i = 0; i < play->held_count; i++)
        ring_complete(&play->ring, &play->held[i]);
    play->held_count = 0;
    ring_publish(&play->ring);
}

static void wait_for_calls(struct play *play) {
    if (ring_spin(&play->ring, RING_SPIN_NS) || !ring_asleep(&play->ring))
        return;
    struct pollfd wake = {.fd = play->ring.wake_runner, .events = POLLIN};
    poll(&wake, 1, 5);
    ring_awake(&play->ring);
}

static void *run_runner(void *argument) {
    struct play *play = argument;
    static _Thread_local struct ring_submission batch[RING_ENTRIES];
    bool died = false;
    uint64_t idle_rounds = 0;
    while (!died && !atomic_load(&play->kill)) {
        uint32_t count = 0;
        while (count < RING_ENTRIES && ring_next_submission(&play->ring, &batch[count]))
            count++;
        if (count == 0) {
            if (ring_spin(&play->ring, RING_SPIN_NS))
                continue;
            pthread_mutex_lock(&play->lock);
            /* What took effect is told late now and then, and others come meanwhile. */
            bool later =
                play->held_count > 0 && idle_rounds++ < play_roll(&play->dice) % HELD_ROUNDS;
            /* Or never: the worst moment to die is when others have seen what nobody was told. */
            died = !later && play->held_count > 0 && play->script.die_after > 0 &&
                   play_roll(&play->dice) % 4 == 0;
            if (!later && !died)
                tell_held(play);
            pthread_mutex_unlock(&play->lock);
            if (later || died)
                continue;
            idle_rounds = 0;
            wait_for_calls(play);
            continue;
        }
        pthread_mutex_lock(&play->lock);
        if (play->script.delay_us > 0)
            usleep(play->script.delay_us);
        died = serve(play, batch, count);
        pthread_mutex_unlock(&play->lock);
    }
    if (died) {
        uint64_t one = 1;
        ssize_t written = write(play->dead_fd, &one, sizeof one);
        (void)written;
    }
    return NULL;
}

static void take_script(struct play *play, const struct play_script *script) {
    play->script = script != NULL
                       ? *script
                       : (struct play_script){.die_at = UINT64_MAX, .fail_at = UINT64_MAX};
    play->dice = play->script.seed * 2654435761u + play->generation + 1;
    play->executed = 0;
    play->held_count = 0;
}

void play_open(struct play *play, const struct play_script *script) {
    pthread_mutex_lock(&play->lock);
    take_script(play, script);
    uint64_t token = play->token;
    pthread_mutex_unlock(&play->lock);
    play->epoch++;
    atomic_store(&play->handle, (uint32_t)play->epoch);
    struct data_volume_open opened = {.volume = play->volume,
                                      .pool = play->pool,
                                      .generation = play->generation,
                                      .handle = (uint32_t)play->epoch,
                                      .epoch = play->epoch,
                                      .token = token,
                                      .size_bytes = play->size_bytes};
    say(play, DATA_VOLUME_OPEN, &opened, -1);
}

void play_run(struct play *play, const struct play_script *script) {
    struct data_wanted wanted = {
        .pool = play->pool, .generation = ++play->generation, .spin_ns = RING_SPIN_NS};
    say(play, DATA_RING_WANTED, &wanted, -1);
    int descriptors[3];
    hear(play, DATA_RING_MADE, descriptors);
    struct err err = ERR_INIT;
    CHECK(ring_open(descriptors[0], descriptors[1], descriptors[2], &play->ring, &err));
    play_open(play, script);
    atomic_store(&play->kill, false);
    play->running = true;
    CHECK(pthread_create(&play->runner_thread, NULL, run_runner, play) == 0);
}

void play_kill(struct play *play) {
    if (!play->running)
        return;
    atomic_store(&play->kill, true);
    pthread_join(play->runner_thread, NULL);
    play->running = false;
    ring_release(&play->ring);
    uint64_t count;
    ssize_t taken = read(play->dead_fd, &count, sizeof count);
    (void)taken;
    if (play->loses)
        lose(play);
    struct data_ring lost = {.pool = play->pool, .generation = play->generation};
    say(play, DATA_RING_LOST, &lost, -1);
}

/* ---- the client ------------------------------------------------------------------------------ */

bool play_write_all(int fd, const void *bytes, size_t length) {
    const uint8_t *at = bytes;
    while (length > 0) {
        ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        at += sent;
        length -= (size_t)sent;
    }
    return true;
}

bool play_read_all(int fd, void *bytes, size_t length) {
    uint8_t *at = bytes;
    while (length > 0) {
        ssize_t got = recv(fd, at, length, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        length -= (size_t)got;
    }
    return true;
}

static void send_option(int fd, uint32_t option, const void *bytes, uint32_t length) {
    uint8_t header[16];
    nbd_store_64(header, NBD_OPTION_MAGIC);
    nbd_store_32(header + 8, option);
    nbd_store_32(header + 12, length);
    CHECK(play_write_all(fd, header, sizeof header) && play_write_all(fd, bytes, length));
}

/* Type of one option reply; its data in `ret`. */
static uint32_t option_reply(int fd, uint8_t *ret, uint32_t *ret_length) {
    uint8_t header[20];
    CHECK(play_read_all(fd, header, sizeof header));
    CHECK(nbd_load_64(header) == NBD_OPTION_REPLY_MAGIC);
    *ret_length = nbd_load_32(header + 16);
    CHECK(*ret_length <= 4096 && play_read_all(fd, ret, *ret_length));
    return nbd_load_32(header + 12);
}

void client_connect(struct play *play, struct play_client *client, bool structured) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, play->path, strlen(play->path) + 1);
    *client = (struct play_client){.structured = structured};
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(client->fd, (struct sockaddr *)&address, sizeof address) == 0);
    struct timeval deadline = {.tv_sec = DEADLINE_S};
    setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    uint8_t bytes[4096];
    uint32_t length;
    CHECK(play_read_all(client->fd, bytes, 18) && nbd_load_64(bytes) == NBD_INIT_MAGIC);
    nbd_store_32(bytes, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
    CHECK(play_write_all(client->fd, bytes, 4));
    if (structured) {
        send_option(client->fd, NBD_OPT_STRUCTURED_REPLY, "", 0);
        CHECK(option_reply(client->fd, bytes, &length) == NBD_REP_ACK);
        uint8_t query[4 + 4 + 4 + 15];
        nbd_store_32(query, 0);
        nbd_store_32(query + 4, 1);
        nbd_store_32(query + 8, 15);
        memcpy(query + 12, "base:allocation", 15);
        send_option(client->fd, NBD_OPT_SET_META_CONTEXT, query, sizeof query);
        CHECK(option_reply(client->fd, bytes, &length) == NBD_REP_META_CONTEXT);
        CHECK(option_reply(client->fd, bytes, &length) == NBD_REP_ACK);
    }
    uint8_t go[4 + 4 + 2] = {0, 0, 0, 4, 'd', 'i', 's', 'k', 0, 0};
    send_option(client->fd, NBD_OPT_GO, go, sizeof go);
    uint32_t type;
    while ((type = option_reply(client->fd, bytes, &length)) == NBD_REP_INFO) {
        if (nbd_load_16(bytes) == NBD_INFO_EXPORT) {
            client->size_bytes = nbd_load_64(bytes + 2);
            client->flags = nbd_load_16(bytes + 10);
        } else if (nbd_load_16(bytes) == NBD_INFO_BLOCK_SIZE) {
            client->block_min = nbd_load_32(bytes + 2);
        }
    }
    CHECK(type == NBD_REP_ACK);
}

void client_close(struct play_client *client) {
    close(client->fd);
    client->fd = -1;
}

void client_ask(struct play_client *client, uint16_t type, uint16_t flags, uint64_t cookie,
                uint64_t offset, uint32_t length, const void *payload) {
    uint8_t header[NBD_REQUEST_SIZE];
    nbd_store_32(header, NBD_REQUEST_MAGIC);
    nbd_store_16(header + 4, flags);
    nbd_store_16(header + 6, type);
    nbd_store_64(header + 8, cookie);
    nbd_store_64(header + 16, offset);
    nbd_store_32(header + 24, length);
    CHECK(play_write_all(client->fd, header, sizeof header));
    if (type == NBD_WRITE)
        CHECK(play_write_all(client->fd, payload, length));
}

static bool chunk_reply(struct play_client *client, client_find find, void *who,
                        struct play_reply *ret) {
    uint8_t header[NBD_CHUNK_SIZE];
    ret->error = 0;
    for (;;) {
        if (!play_read_all(client->fd, header + 4, sizeof header - 4))
            return false;
        uint16_t flags = nbd_load_16(header + 4);
        uint16_t type = nbd_load_16(header + 6);
        ret->cookie = nbd_load_64(header + 8);
        uint32_t length = nbd_load_32(header + 16);
        uint64_t offset = 0;
        uint32_t wanted = 0;
        uint8_t *to = find(who, ret->cookie, &offset, &wanted);
        uint8_t first[8];
        if (type == NBD_CHUNK_OFFSET_DATA) {
            CHECK(length > 8 && play_read_all(client->fd, first, 8));
            uint64_t at = nbd_load_64(first);
            CHECK(at >= offset && at + length - 8 <= offset + wanted);
            if (!play_read_all(client->fd, to + (at - offset), length - 8))
                return false;
        } else if (type == NBD_CHUNK_ERROR) {
            CHECK(length == 6 && play_read_all(client->fd, first, 6));
            ret->error = nbd_load_32(first);
        } else {
            CHECK(type == NBD_CHUNK_BLOCK_STATUS && length <= wanted);
            if (!play_read_all(client->fd, to, length))
                return false;
        }
        if ((flags & NBD_CHUNK_DONE) != 0)
            return true;
        if (!play_read_all(client->fd, header, 4))
            return false;
        CHECK(nbd_load_32(header) == NBD_STRUCTURED_MAGIC);
    }
}

bool client_reply(struct play_client *client, client_find find, void *who, struct play_reply *ret) {
    uint8_t header[NBD_SIMPLE_SIZE];
    if (!play_read_all(client->fd, header, 4))
        return false;
    if (nbd_load_32(header) == NBD_STRUCTURED_MAGIC)
        return chunk_reply(client, find, who, ret);
    CHECK(nbd_load_32(header) == NBD_SIMPLE_MAGIC);
    if (!play_read_all(client->fd, header + 4, sizeof header - 4))
        return false;
    ret->error = nbd_load_32(header + 4);
    ret->cookie = nbd_load_64(header + 8);
    uint64_t offset = 0;
    uint32_t length = 0;
    uint8_t *to = find(who, ret->cookie, &offset, &length);
    /* Of a read in simple replies the bytes follow. */
    if (to != NULL && ret->error == 0 && !client->structured)
        return play_read_all(client->fd, to, length);
    return true;
}

struct one {
    uint8_t *to;
    uint64_t offset;
    uint32_t length;
};

static uint8_t *find_one(void *who, uint64_t cookie, uint64_t *ret_offset, uint32_t *ret_length) {
    struct one *one = who;
    CHECK(cookie == 4711);
    *ret_offset = one->offset;
    *ret_length = one->length;
    return one->to;
}

uint32_t client_do(struct play_client *client, uint16_t type, uint16_t flags, uint64_t offset,
                   uint32_t length, void *payload) {
    struct one one = {.to = type == NBD_WRITE ? NULL : payload,
                      .offset = offset,
                      .length = type == NBD_BLOCK_STATUS ? 4096 : length};
    client_ask(client, type, flags, 4711, offset, length, payload);
    struct play_reply reply;
    CHECK(client_reply(client, find_one, &one, &reply));
    return reply.error;
}
