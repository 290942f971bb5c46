/* SPDX-License-Identifier: Apache-2.0
 *
 * actor.h: a process in the role of sluice-runner that does what its messages say.
 *
 * LOAD.library says how it loads and opens, the name of VOLUME_CREATE what becomes of that call. It
 * keeps a folder "state" beside its program: `starts` grows by a byte with each process, `calls` by
 * a line with each call: the number of the process, the name of the call. A word that ends in
 * "-once" counts for the first process only, for the others it is "ok".
 */
#ifndef SLUICE_TEST_ACTOR_H
#define SLUICE_TEST_ACTOR_H

#include "../super/play.h"

#include "wire/message.h"
#include <sluice/driver.h>

#define ACTOR_FLOOD 5000

struct actor {
    char folder[PATH_MAX];
    int number; /* of this process, from 1 */
    unsigned session;
    char script[256];
    char name[64], version[64];
    struct sluice_uuid pool;
    int opens;
    bool stubborn;
    uint64_t held[8]; /* calls that wait for "release" */
    int held_count;
    struct arena arena;
    struct buf out;
};

static inline void actor_send(struct actor *actor, uint16_t number, uint64_t id, const void *body) {
    buf_clear(&actor->out);
    wire_encode(number, id, body, &actor->out);
    if (send(SUPER_RUNNER_FD, actor->out.at, actor->out.length, 0) < 0)
        _exit(4);
}

static inline void actor_answer(struct actor *actor, uint64_t id, const struct shape *shape,
                                const void *result, uint32_t status, const char *text) {
    struct buf encoded;
    buf_init(&encoded, WIRE_PACKET_MAX);
    if (result != NULL)
        shape_encode(shape, result, &encoded);
    struct wire_reply reply = {.status = status,
                               .text = text,
                               .retry_after_ms = 10,
                               .done = 5,
                               .total = 9,
                               .result = {encoded.at, (uint32_t)encoded.length}};
    actor_send(actor, WIRE_REPLY, id, &reply);
    buf_release(&encoded);
}

/* Appends and gives the length of the file before. */
static inline long actor_note(const struct actor *actor, const char *file, const char *text) {
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/state/%s", actor->folder, file);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    long before = lseek(fd, 0, SEEK_END);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        _exit(4);
    close(fd);
    return before;
}

static inline bool actor_has(const struct actor *actor, const char *file) {
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/state/%s", actor->folder, file);
    return access(path, F_OK) == 0;
}

_Noreturn static inline void actor_die(const struct actor *actor, const char *word) {
    dprintf(STDERR_FILENO, "process %d\nended by %s\n", actor->number, word);
    _exit(3);
}

static inline void actor_volume(struct actor *actor, uint64_t id,
                                const struct wire_volume_create *args, uint32_t status,
                                const char *text) {
    struct wire_volume volume = {.volume = args->volume,
                                 .size_bytes = args->size_bytes,
                                 .name = args->name,
                                 .format = "raw"};
    actor_answer(actor, id, &wire_volume_shape,
                 status == SLUICE_OK || status == SLUICE_PENDING ? &volume : NULL, status, text);
}

/* Words that break the protocol. */
static inline bool actor_break(struct actor *actor, uint64_t id,
                               const struct wire_volume_create *args, const char *word) {
    static char big[WIRE_PACKET_MAX + 1];
    struct wire_nothing nothing = {0};
    struct wire_pong pong = {.number = 999999};
    struct wire_hello hello = {.protocol = WIRE_PROTOCOL, .build = ""};
    struct wire_log line = {.level = SLUICE_LOG_INFO, .text = "again"};
    if (strcmp(word, "unknown-id") == 0)
        actor_volume(actor, id + 1000, args, SLUICE_OK, "");
    else if (strcmp(word, "malformed") == 0)
        actor_answer(actor, id, &wire_nothing_shape, &nothing, SLUICE_OK, "");
    else if (strcmp(word, "garbage") == 0)
        send(SUPER_RUNNER_FD, "what is this", 12, 0);
    else if (strcmp(word, "long") == 0)
        send(SUPER_RUNNER_FD, big, sizeof big, 0);
    else if (strcmp(word, "descriptor") == 0)
        play_send_fd(SUPER_RUNNER_FD, "x", 1, STDERR_FILENO);
    else if (strcmp(word, "hello") == 0)
        actor_send(actor, WIRE_HELLO, 0, &hello);
    else if (strcmp(word, "pong") == 0)
        actor_send(actor, WIRE_PONG, 0, &pong);
    else if (strcmp(word, "flood") == 0)
        for (int i = 0; i < ACTOR_FLOOD; i++)
            actor_send(actor, WIRE_LOG, 0, &line);
    else
        return false;
    return true;
}

static inline void actor_create(struct actor *actor, uint64_t id,
                                const struct wire_volume_create *args) {
    char line[320], word[256];
    if (strcmp(args->name, "say") == 0)
        dprintf(STDERR_FILENO, "process %d speaks\n", actor->number);
    snprintf(line, sizeof line, "%d:%s\n", actor->number, args->name);
    actor_note(actor, "calls", line);
    snprintf(word, sizeof word, "%s", args->name);
    char *once = strstr(word, "-once");
    if (once != NULL && actor->number > 1)
        snprintf(word, sizeof word, "ok");
    else if (once != NULL)
        *once = '\0';

    if (strcmp(word, "die") == 0)
        actor_die(actor, "die");
    if (strcmp(word, "answer-and-die") == 0) {
        actor_volume(actor, id, args, SLUICE_OK, "");
        actor_die(actor, "answer-and-die");
    }
    if (strcmp(word, "hang") == 0)
        for (;;)
            pause();
    if (strcmp(word, "hang-up") == 0) {
        close(SUPER_RUNNER_FD);
        for (;;)
            pause();
    }
    if (strcmp(word, "tell") == 0) {
        struct wire_log log = {.level = SLUICE_LOG_WARNING, .text = "one\ntwo\x7f"};
        struct wire_event event = {.event = 1, .volume = args->volume, .value = 7, .text = "e\tf"};
        actor_send(actor, WIRE_LOG, 0, &log);
        actor_send(actor, WIRE_EVENT, 0, &event);
    }
    if (actor_break(actor, id, args, word))
        return;
    if (strcmp(word, "hold") == 0) {
        actor->held[actor->held_count++] = id;
    } else if (strcmp(word, "release") == 0) {
        for (int i = 0; i < actor->held_count; i++)
            actor_volume(actor, actor->held[i], args, SLUICE_OK, "");
        actor->held_count = 0;
        actor_volume(actor, id, args, SLUICE_OK, "");
    } else if (strcmp(word, "pend") == 0) {
        actor_volume(actor, id, args, SLUICE_PENDING, "");
    } else if (strcmp(word, "fail") == 0) {
        actor_volume(actor, id, args, SLUICE_NO_SPACE, "the disk\nis full");
    } else {
        actor_volume(actor, id, args, SLUICE_OK, "");
    }
}

static inline void actor_fill_loaded(struct wire_loaded *ret) {
    *ret = (struct wire_loaded){.threads = SLUICE_THREADS_SERIAL, .abi = 1};
}

static inline void actor_load(struct actor *actor, const struct wire_load *load) {
    struct wire_loaded loaded;
    snprintf(actor->script, sizeof actor->script, "%s", load->library);
    snprintf(actor->name, sizeof actor->name, "%s", load->name);
    snprintf(actor->version, sizeof actor->version, "%s", load->version);
    actor->session = S_LOADING;
    if (strcmp(actor->script, "die") == 0)
        actor_die(actor, "load");
    if (strcmp(actor->script, "hang") == 0)
        for (;;)
            pause();
    if (strncmp(actor->script, "refuse", 6) == 0) {
        struct wire_refused refused = {.status = strcmp(actor->script, "refuse-retry") == 0
                                                     ? SLUICE_UNREACHABLE
                                                     : SLUICE_INVALID,
                                       .text = "not like that"};
        actor_send(actor, WIRE_REFUSED, 0, &refused);
        _exit(0);
    }
    actor->stubborn = strcmp(actor->script, "stubborn") == 0;
    actor_fill_loaded(&loaded);
    actor_send(actor, WIRE_LOADED, 0, &loaded);
    actor->session = S_LOADED;
}

static inline void actor_open(struct actor *actor, uint64_t id, const struct wire_pool_open *args) {
    struct wire_pool pool = {.caps = 5, .volume_size_max = 1 << 20, .formats = "raw"};
    actor->opens++;
    if (strcmp(actor->script, "closed") == 0 && actor->opens <= 2) {
        actor_answer(actor, id, NULL, NULL, SLUICE_FOREIGN, "somebody else's");
        return;
    }
    if (strcmp(actor->script, "hold-open-once") == 0 && actor->number == 1)
        return;
    actor->pool = args->pool;
    actor->session = S_OPEN;
    actor_answer(actor, id, &wire_pool_shape, &pool, SLUICE_OK, "");
}

static inline void actor_resume(struct actor *actor, const struct wire_resume *resume) {
    struct wire_pool pool = {.caps = 5, .volume_size_max = 1 << 20, .formats = "raw"};
    struct wire_loaded loaded;
    struct buf opened, encoded;
    buf_init(&opened, 1024);
    buf_init(&encoded, 4096);
    actor_fill_loaded(&loaded);
    if (actor->session == S_OPEN)
        shape_encode(&wire_pool_shape, &pool, &opened);
    if (actor->session == S_OPEN || actor->session == S_LOADED)
        shape_encode(&wire_loaded_shape, &loaded, &encoded);
    struct wire_resumed resumed = {.incarnation = resume->incarnation,
                                   .state = actor->session,
                                   .name = actor->name,
                                   .version = actor->version,
                                   .pool = actor->pool,
                                   .opened = {opened.at, (uint32_t)opened.length},
                                   .loaded = {encoded.at, (uint32_t)encoded.length}};
    actor_send(actor, WIRE_RESUMED, 0, &resumed);
    buf_release(&opened);
    buf_release(&encoded);
}

static inline void actor_handle(struct actor *actor, const struct wire_packet *packet) {
    struct wire_bye bye = {0};
    struct wire_nothing nothing = {0};
    switch (packet->number) {
    case WIRE_LOAD:
        actor_load(actor, packet->body);
        break;
    case WIRE_RESUME:
        actor_resume(actor, packet->body);
        break;
    case WIRE_PING: {
        struct wire_pong pong = {.number = ((const struct wire_ping *)packet->body)->number,
                                 .resident = 4096};
        actor_send(actor, WIRE_PONG, 0, &pong);
        break;
    }
    case WIRE_STOP:
        if (actor->stubborn)
            break;
        actor->session = S_CLOSING;
        actor_send(actor, WIRE_BYE, 0, &bye);
        _exit(0);
    case WIRE_POOL_OPEN:
        actor_open(actor, packet->call_id, packet->body);
        break;
    case WIRE_VOLUME_CREATE:
        actor_create(actor, packet->call_id, packet->body);
        break;
    default: /* NOTHING, CONFIGURE */
        actor_answer(actor, packet->call_id, &wire_nothing_shape, &nothing, SLUICE_OK, "");
    }
}

static inline int actor_main(void) {
    static struct actor actor;
    static uint8_t bytes[WIRE_PACKET_MAX];
    struct wire_hello hello = {.protocol = WIRE_PROTOCOL, .abi = 1, .build = "actor"};
    ssize_t length = readlink("/proc/self/exe", actor.folder, sizeof actor.folder - 1);
    if (length <= 0)
        return 4;
    *strrchr(actor.folder, '/') = '\0';
    arena_init(&actor.arena, WIRE_ARENA_MAX);
    buf_init(&actor.out, WIRE_PACKET_MAX);
    actor.number = (int)actor_note(&actor, "starts", ".") + 1;
    actor.session = S_NEW;
    if (actor_has(&actor, "mute"))
        for (;;)
            pause();
    if (actor_has(&actor, "stranger"))
        hello.protocol = WIRE_PROTOCOL + 1;
    actor_send(&actor, WIRE_HELLO, 0, &hello);
    actor.session = S_READY;
    while ((length = recv(SUPER_RUNNER_FD, bytes, sizeof bytes, 0)) > 0) {
        struct wire_packet packet;
        struct err err = ERR_INIT;
        arena_reset(&actor.arena);
        if (!wire_decode(bytes, (size_t)length, WIRE_GATEWAY, actor.session, &actor.arena, &packet,
                         &err)) {
            dprintf(STDERR_FILENO, "the gateway broke the protocol: %s\n", err.text);
            return 5;
        }
        actor_handle(&actor, &packet);
    }
    return 6;
}

#endif
