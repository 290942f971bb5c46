/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_client.c: see ring_client.h.
 */
#include "ring_client.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include <sluice/driver.h>

#define SOCKET_FD 3
#define DEADLINE_MS 20000
#define DESCRIPTORS_MAX 8
#define POOL_BYTE 0x70

static _Noreturn void give_up(const char *what) {
    fprintf(stderr, "ring_client: %s\n", what);
    abort();
}

static struct sluice_uuid id_of(uint8_t byte) {
    return (struct sluice_uuid){.bytes = {byte, byte}};
}

/* ---- the socket ----------------------------------------------------------------------------- */

static _Noreturn void become_runner(const char *build, int socket) {
    char program[1024];
    snprintf(program, sizeof program, "%s/bin/sluice-runner", build);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int high = fcntl(socket, F_DUPFD_CLOEXEC, 10);
    dup2(high, SOCKET_FD);
    char *arguments[] = {program, NULL};
    execve(program, arguments, arguments + 1);
    _exit(127);
}

/* The next packet, passing over log lines and events. false: the stream ended. */
static bool next(struct ring_client *client) {
    uint64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    for (;;) {
        struct pollfd socket = {.fd = client->socket, .events = POLLIN};
        uint64_t now_ms = clock_mono_ms();
        if (now_ms >= deadline_ms || poll(&socket, 1, (int)(deadline_ms - now_ms)) != 1)
            give_up("the runner does not answer");
        ssize_t length = recv(client->socket, client->bytes, sizeof client->bytes, 0);
        if (length <= 0)
            return false;
        struct err err = ERR_INIT;
        arena_reset(&client->arena);
        if (!wire_decode(client->bytes, (size_t)length, WIRE_RUNNER, S_ANY, &client->arena,
                         &client->packet, &err))
            give_up(err.text);
        if (client->packet.number != WIRE_LOG && client->packet.number != WIRE_EVENT)
            return true;
    }
}

static const void *expect(struct ring_client *client, uint16_t number) {
    if (!next(client))
        give_up("the runner is gone");
    if (client->packet.number == WIRE_REFUSED)
        give_up(((const struct wire_refused *)client->packet.body)->text);
    if (client->packet.number != number)
        give_up("an unexpected message");
    return client->packet.body;
}

static void send_packet(struct ring_client *client, uint16_t number, uint64_t call_id,
                        const void *body, const int *descriptors, uint32_t count) {
    struct buf buf;
    buf_init(&buf, WIRE_PACKET_MAX);
    wire_encode(number, call_id, body, &buf);
    struct iovec part = {.iov_base = buf.at, .iov_len = buf.length};
    union {
        struct cmsghdr aligned;
        uint8_t at[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.aligned = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                           .cmsg_type = SCM_RIGHTS,
                                           .cmsg_len = CMSG_LEN(count * sizeof(int))};
        memcpy(CMSG_DATA(&control.aligned), descriptors, count * sizeof(int));
    }
    if (buf.overflow || sendmsg(client->socket, &header, MSG_NOSIGNAL) != (ssize_t)buf.length)
        give_up("a message cannot be sent");
    buf_release(&buf);
}

/* ---- the gateway's part --------------------------------------------------------------------- */

void ring_client_start(struct ring_client *client, const char *build, const char *name,
                       const char *path) {
    int sockets[2];
    memset(client, 0, sizeof *client);
    arena_init(&client->arena, WIRE_ARENA_MAX);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
        give_up("no socketpair");
    client->child = fork();
    if (client->child < 0)
        give_up("no process");
    if (client->child == 0)
        become_runner(build, sockets[1]);
    close(sockets[1]);
    client->socket = sockets[0];
    expect(client, WIRE_HELLO);
    char directory[1024];
    char library[80];
    snprintf(directory, sizeof directory, "%s/drivers/%s-0.1.0", build, name);
    snprintf(library, sizeof library, "%s.so", name);
    const char *paths[] = {path};
    struct wire_load load = {
        .directory = directory,
        .library = library,
        .name = name,
        .version = "0.1.0",
        .category = SLUICE_CATEGORY_STORAGE,
        .paths = {.at = paths, .count = path != NULL},
        .memory_mib = 256,
        .open_files = 64,
    };
    send_packet(client, WIRE_LOAD, 0, &load, NULL, 0);
    expect(client, WIRE_LOADED);
}

void ring_client_send(struct ring_client *client, uint16_t number, const void *args,
                      const int *descriptors, uint32_t count) {
    send_packet(client, number, UINT64_C(1) << 32 | ++client->calls, args, descriptors, count);
}

static uint32_t answer(struct ring_client *client, uint16_t number, void *ret_result) {
    const struct wire_reply *reply = expect(client, WIRE_REPLY);
    struct err err = ERR_INIT;
    if (reply->status == SLUICE_OK && ret_result != NULL &&
        !shape_decode(wire_row(number)->result, reply->result.at, reply->result.length,
                      &client->arena, ret_result, &err))
        give_up(err.text);
    return reply->status;
}

uint32_t ring_client_call(struct ring_client *client, uint16_t number, const void *args,
                          void *ret_result) {
    uint64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    for (;;) {
        ring_client_send(client, number, args, NULL, 0);
        uint32_t status = answer(client, number, ret_result);
        if (status != SLUICE_PENDING)
            return status;
        if (clock_mono_ms() > deadline_ms)
            give_up("a call stays PENDING");
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

void ring_client_pool(struct ring_client *client, const char *property, const char *value) {
    struct text_pair pair = {property, value};
    struct wire_pool_open open = {
        .pool = id_of(POOL_BYTE),
        .gateway = id_of(0x67),
        .name = "p",
        .flags = SLUICE_POOL_CLAIM,
        .properties = {.at = &pair, .count = property != NULL},
    };
    if (ring_client_call(client, WIRE_POOL_OPEN, &open, NULL) != SLUICE_OK)
        give_up("the pool does not open");
}

uint32_t ring_client_create(struct ring_client *client, uint8_t volume, uint64_t size_bytes) {
    struct wire_volume_create create = {
        .volume = id_of(volume), .size_bytes = size_bytes, .name = "v", .format = "raw"};
    return ring_client_call(client, WIRE_VOLUME_CREATE, &create, NULL);
}

void ring_client_attach(struct ring_client *client) {
    struct err err = ERR_INIT;
    if (client->attached)
        ring_release(&client->ring);
    if (!ring_create(&client->ring, &err))
        give_up(err.text);
    if (client->sleeps)
        ring_set_spin(&client->ring, 0);
    client->attached = true;
    ring_pages_init(&client->pages);
    int descriptors[] = {client->ring.memory_fd, client->ring.wake_runner, client->ring.wake_data};
    struct wire_ring_attach attach = {.generation = ++client->generation};
    ring_client_send(client, WIRE_RING_ATTACH, &attach, descriptors, 3);
    if (answer(client, WIRE_RING_ATTACH, NULL) != SLUICE_OK)
        give_up("the ring is refused");
}

uint32_t ring_client_open(struct ring_client *client, uint8_t volume, uint64_t epoch,
                          struct wire_data_opened *ret) {
    struct wire_data_open open = {.volume = id_of(volume), .epoch = epoch};
    return ring_client_call(client, WIRE_DATA_OPEN, &open, ret);
}

struct wire_pong ring_client_ping(struct ring_client *client) {
    send_packet(client, WIRE_PING, 0, &(struct wire_ping){.number = 1}, NULL, 0);
    const struct wire_pong *pong = expect(client, WIRE_PONG);
    return *pong;
}

/* ---- sluice-data's part --------------------------------------------------------------------- */

void ring_client_submit(struct ring_client *client, const struct ring_submission *submission) {
    if (ring_room(&client->ring) == 0)
        give_up("no room for a submission");
    ring_submit(&client->ring, submission);
    ring_publish(&client->ring);
}

struct ring_completion ring_client_wait(struct ring_client *client) {
    struct ring_completion completion;
    uint64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    while (!ring_next_completion(&client->ring, &completion)) {
        if (ring_broken(&client->ring) || clock_mono_ms() > deadline_ms)
            give_up("no completion");
        if (ring_spin(&client->ring, client->ring.spin_ns) || !ring_asleep(&client->ring))
            continue;
        struct pollfd wake = {.fd = client->ring.wake_data, .events = POLLIN};
        poll(&wake, 1, DEADLINE_MS);
        ring_awake(&client->ring);
    }
    return completion;
}

struct ring_completion ring_client_io(struct ring_client *client, uint16_t verb, uint16_t flags,
                                      uint32_t handle, uint64_t offset, void *bytes,
                                      uint64_t length) {
    uint32_t page = 0;
    uint64_t payload = verb == RING_EXTENTS ? RING_PAGE : length;
    bool has_payload = verb == RING_READ || verb == RING_WRITE || verb == RING_EXTENTS;
    if (has_payload && !ring_pages_take(&client->pages, payload, &page))
        give_up("no pages");
    if (verb == RING_WRITE)
        memcpy(ring_payload(&client->ring, page, length), bytes, length);
    ring_client_submit(client, &(struct ring_submission){.tag = offset ^ verb,
                                                         .verb = verb,
                                                         .flags = flags,
                                                         .handle = handle,
                                                         .offset = offset,
                                                         .length = length,
                                                         .page = page});
    struct ring_completion completion = ring_client_wait(client);
    if (completion.tag != (offset ^ verb))
        give_up("the completion of another call");
    if (completion.status == SLUICE_OK && verb == RING_READ)
        memcpy(bytes, ring_payload(&client->ring, page, length), length);
    if (completion.status == SLUICE_OK && verb == RING_EXTENTS)
        memcpy(bytes, ring_payload(&client->ring, page, RING_PAGE),
               completion.count * sizeof(struct ring_extent));
    if (has_payload)
        ring_pages_give(&client->pages, page, payload);
    return completion;
}

/* ---- the end -------------------------------------------------------------------------------- */

static void release(struct ring_client *client) {
    if (client->attached)
        ring_release(&client->ring);
    close(client->socket);
    arena_release(&client->arena);
}

int ring_client_stop(struct ring_client *client) {
    int status;
    send_packet(client, WIRE_STOP, 0, &(struct wire_stop){0}, NULL, 0);
    expect(client, WIRE_BYE);
    waitpid(client->child, &status, 0);
    release(client);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void ring_client_kill(struct ring_client *client) {
    kill(client->child, SIGKILL);
    waitpid(client->child, NULL, 0);
    release(client);
}
