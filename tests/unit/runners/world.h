/* SPDX-License-Identifier: Apache-2.0
 *
 * world.h: a loop, the real sluice-super, runners that are actors, and what they told.
 */
#ifndef SLUICE_TEST_WORLD_H
#define SLUICE_TEST_WORLD_H

#include "actor.h"

#include <uv.h>

#include "base/uuid.h"
#include "runners/runners.h"

#define WORLD_ACCOUNT (SUPER_UID_LOW + 3)
#define WORLD_STATES 256

struct world {
    struct play play;
    uv_loop_t loop;
    uv_timer_t tick; /* conditions are looked at that often */
    struct runners *runners;
    struct runner *runner;
    uint32_t held;
    bool ready, lost;
    bool inside; /* a function of runners.h: no callback may come */
    struct sluice_uuid tag, volume;
    const char *script, *version;
    bool no_pool;
    enum runner_state states[WORLD_STATES];
    uint64_t delays_ms[WORLD_STATES]; /* until the retry, with BACKING_OFF */
    int state_count;
    struct err cause; /* of the last bad state */
    int stopped;
    bool release_when_stopped;
    char log[512];
    uint32_t log_level;
    struct wire_event event;
    char event_text[512];
};

struct asked {
    struct world *world;
    int answers;
    int order; /* in which it was answered, from 1 */
    struct runner_reply reply;
    bool had_result;
    bool no_volume; /* the result is of another shape */
};
static int world_order;

#define UNTIL(world, condition)                                                     \
    do {                                                                            \
        uint64_t world_until_ms = clock_mono_ms() + PLAY_DEADLINE_MS;               \
        while (!(condition)) {                                                      \
            if (clock_mono_ms() > world_until_ms)                                   \
                fail_msg("line %d: this did not happen: %s", __LINE__, #condition); \
            uv_run(&(world)->loop, UV_RUN_ONCE);                                    \
        }                                                                           \
    } while (0)

static inline void world_on_tick(uv_timer_t *tick) {
    (void)tick;
}

static inline void world_on_ready(void *owner, uint32_t held) {
    struct world *world = owner;
    world->ready = true;
    world->held = held;
}

static inline void world_on_lost(void *owner) {
    struct world *world = owner;
    world->lost = true;
}

static inline void world_on_state(void *owner, struct runner *runner, enum runner_state state,
                                  const struct err *cause) {
    struct world *world = owner;
    struct runner_status status;
    assert_false(world->inside);
    runner_status(runner, &status);
    uint64_t now_ms = clock_mono_ms();
    if (world->state_count < WORLD_STATES) {
        world->delays_ms[world->state_count] =
            status.retry_at_ms > now_ms ? status.retry_at_ms - now_ms : 0;
        world->states[world->state_count++] = state;
    }
    if (cause->code != ERR_NONE)
        world->cause = *cause;
}

static inline void world_on_event(void *owner, struct runner *runner,
                                  const struct wire_event *event) {
    struct world *world = owner;
    (void)runner;
    world->event = *event;
    snprintf(world->event_text, sizeof world->event_text, "%s", event->text);
}

static inline void world_on_log(void *owner, struct runner *runner, uint32_t level,
                                const char *text) {
    struct world *world = owner;
    (void)runner;
    world->log_level = level;
    snprintf(world->log, sizeof world->log, "%s", text);
}

static inline void world_on_stopped(void *owner, struct runner *runner) {
    struct world *world = owner;
    assert_false(world->inside);
    world->stopped++;
    if (world->release_when_stopped) {
        runner_release(runner);
        world->runner = NULL;
    }
}

/* The gateway half: a loop and runners over the socket that is at hand. */
static inline void world_open(struct world *world, uint64_t incarnation,
                              const struct runner_policy *policy) {
    struct err err = ERR_INIT;
    struct runners_options options = {.incarnation = incarnation,
                                      .on_ready = world_on_ready,
                                      .on_lost = world_on_lost,
                                      .owner = world};
    if (policy != NULL)
        options.policy = *policy;
    assert_int_equal(uv_loop_init(&world->loop), 0);
    uv_timer_init(&world->loop, &world->tick);
    uv_timer_start(&world->tick, world_on_tick, 10, 10);
    int fd = fcntl(world->play.fd, F_DUPFD_CLOEXEC, 0);
    assert_true(runners_open(&world->loop, fd, &options, &world->runners, &err));
    UNTIL(world, world->ready);
}

/* The other half: sluice-super, and a folder for the actors. */
static inline void world_prepare(struct world *world) {
    char path[128];
    *world = (struct world){.script = "serve", .version = "1.0.0", .release_when_stopped = true};
    play_begin(&world->play);
    snprintf(path, sizeof path, "%s/state", world->play.folder);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(chmod(path, 0777), 0);
    world->tag = uuid_new();
    world->volume = uuid_new();
}

static inline void world_begin(struct world *world, const struct runner_policy *policy) {
    world_prepare(world);
    world_open(world, 1, policy);
    assert_int_equal(world->held, 0);
}

static inline struct runner_spec world_spec(const struct world *world) {
    return (struct runner_spec){
        .tag = world->tag,
        .label = "pool p",
        .uid = WORLD_ACCOUNT,
        .gid = WORLD_ACCOUNT,
        .load = {.directory = "/",
                 .library = world->script,
                 .name = "actor",
                 .version = world->version,
                 .category = SLUICE_CATEGORY_STORAGE},
        .has_pool = !world->no_pool,
        .open = {.pool = world->tag, .name = "p"},
    };
}

static inline void world_start(struct world *world) {
    static const struct runner_events events = {world_on_state, world_on_event, world_on_log};
    struct runner_spec spec = world_spec(world);
    struct err err = ERR_INIT;
    world->inside = true;
    assert_true(runner_start(world->runners, &spec, &events, world, &world->runner, &err));
    world->inside = false;
}

static inline struct runner_status world_status(const struct world *world) {
    struct runner_status status;
    runner_status(world->runner, &status);
    return status;
}

static inline enum runner_state world_state(const struct world *world) {
    return world_status(world).state;
}

static inline void world_on_reply(void *arg, const struct runner_reply *reply) {
    struct asked *asked = arg;
    assert_false(asked->world->inside);
    asked->answers++;
    asked->order = ++world_order;
    asked->reply = *reply;
    asked->had_result = reply->result != NULL;
    if (asked->had_result && !asked->no_volume) {
        const struct wire_volume *volume = reply->result;
        assert_true(uuid_equal(&volume->volume, &asked->world->volume));
    }
}

static inline void world_ask(struct world *world, const char *name, struct asked *asked) {
    struct wire_volume_create args = {
        .volume = world->volume, .size_bytes = 4096, .name = name, .format = "raw"};
    *asked = (struct asked){.world = world};
    world->inside = true;
    runner_call(world->runner, WIRE_VOLUME_CREATE, &args, world_on_reply, asked);
    world->inside = false;
}

static inline void world_stop(struct world *world) {
    world->inside = true;
    runner_stop(world->runner, world_on_stopped);
    world->inside = false;
}

/* The names of the calls as the actors noted them. */
static inline void world_read(const struct world *world, const char *file, char *ret, size_t size) {
    char path[128];
    ret[0] = '\0';
    snprintf(path, sizeof path, "%s/state/%s", world->play.folder, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t length = read(fd, ret, size - 1);
    ret[length > 0 ? length : 0] = '\0';
    close(fd);
}

static inline int world_starts(const struct world *world) {
    char starts[256];
    world_read(world, "starts", starts, sizeof starts);
    return (int)strlen(starts);
}

static inline void world_put(const struct world *world, const char *file) {
    char path[128];
    snprintf(path, sizeof path, "%s/state/%s", world->play.folder, file);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    assert_true(fd >= 0);
    close(fd);
}

static inline void world_remove(const struct world *world, const char *file) {
    char path[128];
    snprintf(path, sizeof path, "%s/state/%s", world->play.folder, file);
    unlink(path);
}

static inline void world_close(struct world *world) {
    if (world->runner != NULL) {
        world->release_when_stopped = true;
        world_stop(world);
        UNTIL(world, world->runner == NULL);
    }
    runners_close(world->runners);
    uv_close((uv_handle_t *)&world->tick, NULL);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0);
}

static inline void world_end(struct world *world) {
    char path[128];
    world_close(world);
    world_remove(world, "starts");
    world_remove(world, "calls");
    world_remove(world, "mute");
    world_remove(world, "stranger");
    snprintf(path, sizeof path, "%s/state", world->play.folder);
    rmdir(path);
    play_end(&world->play);
}

#endif
