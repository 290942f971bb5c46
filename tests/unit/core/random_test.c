/* SPDX-License-Identifier: Apache-2.0
 *
 * Two thousand operations at random, whose calls are answered at random, with cancels, restarts and
 * forgotten pools in between. Whatever happens: each request is answered once, every operation ends
 * once the backends are well, and the catalogue agrees with itself at each restart.
 *
 * SLUICE_SEED repeats a run; without it each run is another one.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/uuid.h"
#include "walk.h"

#define ROUNDS 2000
#define POOLS 3
#define VOLUMES 10
#define SNAPSHOTS 2
#define HOSTS 3

static uint64_t seed;

static uint32_t dice(uint32_t sides) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % sides;
}

/* ---- what drivers and runners do ------------------------------------------------------------ */

static bool healthy;

static void at_random(void *arg, enum wire_number number, const void *args,
                      struct fake_answer *ret) {
    static const enum err_code codes[] = {ERR_BUSY,    ERR_UNREACHABLE, ERR_NO_SPACE,  ERR_VANISHED,
                                          ERR_IO,      ERR_CORRUPT,     ERR_NOT_FOUND, ERR_POISONED,
                                          ERR_INVALID, ERR_RUNNER_LOST};
    (void)arg, (void)args, (void)number;
    if (healthy)
        return;
    switch (dice(9)) {
    case 0:
    case 1:
        ret->code = codes[dice(sizeof codes / sizeof codes[0])];
        break;
    case 2:
        ret->pending = true;
        ret->retry_after_ms = dice(5);
        ret->total = 100;
        ret->done = dice(100);
        break;
    case 3:
        ret->never = dice(6) == 0;
        break;
    default:
        break;
    }
}

static void fate_at_random(void *arg, const struct runner_spec *spec, struct fake_fate *ret) {
    (void)arg;
    if (healthy || !spec->has_pool)
        return;
    switch (dice(20)) {
    case 0:
        *ret = (struct fake_fate){RUNNER_DOWN, ERR_UNREACHABLE};
        break;
    case 1:
        *ret = (struct fake_fate){RUNNER_DOWN, ERR_FOREIGN};
        break;
    case 2:
        *ret = (struct fake_fate){RUNNER_QUARANTINED, ERR_QUARANTINED};
        break;
    case 3:
        *ret = (struct fake_fate){RUNNER_STARTING, ERR_NONE};
        break;
    default:
        break;
    }
}

/* ---- what people ask for -------------------------------------------------------------------- */

struct names {
    char pool[8], volume[16], volume_path[32], snapshot_path[48], host[8], value[8];
};

static void choose_names(struct names *names) {
    snprintf(names->pool, sizeof names->pool, "p%u", dice(POOLS));
    snprintf(names->volume, sizeof names->volume, "v%u", dice(VOLUMES));
    snprintf(names->volume_path, sizeof names->volume_path, "%s:%s", names->pool, names->volume);
    snprintf(names->snapshot_path, sizeof names->snapshot_path, "%s@s%u", names->volume_path,
             dice(SNAPSHOTS));
    snprintf(names->host, sizeof names->host, "h%u", dice(HOSTS));
    snprintf(names->value, sizeof names->value, "%u", dice(10));
}

/* Ids are not known beforehand: one of those there are. */
static char found_ids[64][UUID_TEXT_SIZE];

static uint32_t attachments(struct bench *bench) {
    char next[CORE_TOKEN_MAX];
    struct core_query query = {.limit = 64};
    struct err err = ERR_INIT;
    struct buf json;
    uint32_t count = 0;
    buf_init(&json, 1 << 20);
    assert_true(core_list(bench->core, CORE_ATTACHMENT, &query, &json, next, &err));
    for (const char *at = buf_text(&json); (at = strstr(at, "{\"id\":\"")) != NULL; at++)
        snprintf(found_ids[count++], UUID_TEXT_SIZE, "%.36s", at + strlen("{\"id\":\""));
    buf_release(&json);
    return count;
}

static void submit_target(struct bench *bench, enum core_kind kind, const char *target,
                          struct asked *asked) {
    struct target_params params = {.target = target};
    bench_submit(bench, kind, &params, NULL, 0, asked);
}

static void submit_volume(struct bench *bench, const struct names *names, struct asked *asked) {
    struct volume_create_params params = bench_volume(names->pool, names->volume);
    struct text_pair pair = {"color", names->value};
    char source[48];
    if (dice(3) == 0) {
        snprintf(source, sizeof source, "%s:v%u", names->pool, dice(VOLUMES));
        params.source_volume = source;
        params.size_bytes = 1 << 20;
    } else if (dice(3) == 0) {
        params.source_snapshot = names->snapshot_path;
        params.size_bytes = 1 << 20;
    }
    if (dice(2) == 0)
        params.labels = (struct text_pairs){&pair, 1};
    bench_submit(bench, KIND_volume_create, &params, dice(4) == 0 ? names->value : NULL,
                 (unsigned char)dice(2), asked);
}

static void submit_labels(struct bench *bench, const struct names *names, struct asked *asked) {
    struct text_pair pair = {"color", dice(4) == 0 ? "" : names->value};
    bool snapshot = dice(3) == 0;
    struct labels_update_params params = {
        .target = snapshot ? names->snapshot_path : names->volume_path,
        .name = dice(3) == 0 ? (snapshot ? "s1" : "v5") : "",
        .labels = {&pair, 1},
    };
    bench_submit(bench, snapshot ? KIND_snapshot_update : KIND_volume_update, &params, NULL, 0,
                 asked);
}

static void submit_attachment(struct bench *bench, const struct names *names, struct asked *asked) {
    bool snapshot = dice(3) == 0;
    struct attachment_create_params params = {
        .volume = snapshot ? "" : names->volume_path,
        .snapshot = snapshot ? names->snapshot_path : "",
        .host = names->host,
        .mode = dice(2) == 0 ? "" : "read-only",
    };
    bench_submit(bench, KIND_attachment_create, &params, NULL, 0, asked);
}

static void submit_about_pool(struct bench *bench, const struct names *names, struct asked *asked) {
    static const enum core_kind kinds[] = {KIND_pool_enable,  KIND_pool_enable, KIND_pool_enable,
                                           KIND_pool_disable, KIND_pool_drain,  KIND_pool_restart};
    struct pool_delete_params gone = {.target = names->pool, .forget = dice(2) == 0};
    struct text_pair pair = {"size", names->value};
    struct pool_update_params update = {.target = names->pool, .properties = {&pair, 1}};
    switch (dice(10)) {
    case 0:
        bench_submit(bench, KIND_pool_delete, &gone, NULL, 0, asked);
        break;
    case 1:
        bench_submit(bench, KIND_pool_update, &update, NULL, 0, asked);
        break;
    default:
        submit_target(bench, kinds[dice(sizeof kinds / sizeof kinds[0])], names->pool, asked);
        break;
    }
}

static void submit_other(struct bench *bench, const struct names *names, struct asked *asked) {
    struct volume_resize_params resize = {
        .target = names->volume_path, .size_bytes = (1u << 20) * (1 + dice(4)), .shrink = true};
    struct volume_revert_params revert = {.target = names->volume_path,
                                          .snapshot = names->snapshot_path};
    struct volume_adopt_params adopt = {
        .pool = names->pool, .name = names->volume, .reference = "there"};
    struct host_create_params host = {.name = names->host};
    switch (dice(6)) {
    case 0:
        bench_submit(bench, KIND_volume_resize, &resize, NULL, 0, asked);
        break;
    case 1:
        bench_submit(bench, KIND_volume_revert, &revert, NULL, 0, asked);
        break;
    case 2:
        bench_submit(bench, KIND_volume_adopt, &adopt, NULL, 0, asked);
        break;
    case 3:
        submit_target(bench, KIND_volume_unmanage, names->volume_path, asked);
        break;
    case 4:
        bench_submit(bench, KIND_host_create, &host, NULL, 0, asked);
        break;
    default:
        submit_target(bench, KIND_host_delete, names->host, asked);
        break;
    }
}

static void submit_one(struct bench *bench, struct asked *asked) {
    struct names names;
    choose_names(&names);
    uint32_t what = dice(100), count;
    struct pool_create_params pool = bench_pool(names.pool);
    struct snapshot_create_params snapshot = {.volume = names.volume_path,
                                              .name = strchr(names.snapshot_path, '@') + 1};
    if (what < 4)
        bench_submit(bench, KIND_pool_create, &pool, NULL, 0, asked);
    else if (what < 30)
        submit_volume(bench, &names, asked);
    else if (what < 40)
        bench_submit(bench, KIND_snapshot_create, &snapshot, NULL, 0, asked);
    else if (what < 50)
        submit_attachment(bench, &names, asked);
    else if (what < 60 && (count = attachments(bench)) > 0)
        submit_target(bench, KIND_attachment_delete, found_ids[dice(count)], asked);
    else if (what < 66)
        submit_target(bench, KIND_snapshot_delete, names.snapshot_path, asked);
    else if (what < 72)
        submit_target(bench, KIND_volume_delete, names.volume_path, asked);
    else if (what < 82)
        submit_labels(bench, &names, asked);
    else if (what < 85)
        submit_about_pool(bench, &names, asked);
    else
        submit_other(bench, &names, asked);
}

/* ---- the walk ------------------------------------------------------------------------------- */

static struct asked asked[ROUNDS];

static void restart(struct bench *bench, uint32_t upto) {
    bench_stop(bench);
    for (uint32_t i = 0; i < upto; i++)
        assert_int_equal(asked[i].answers, 1);
    walk_catalogue(bench->state);
    bench_start(bench);
}

static bool works(struct bench *bench) {
    struct buf text;
    buf_init(&text, 1 << 20);
    core_metrics(bench->core, &text);
    bool idle = strstr(buf_text(&text), "\nsluice_operations_running 0\n") != NULL;
    buf_release(&text);
    return !idle;
}

/* Something that can be worked on again; what is there already is refused, and that is fine. */
static void furnish(struct bench *bench) {
    for (uint32_t i = 0; i < POOLS; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%u", i);
        struct pool_create_params pool = bench_pool(name);
        (void)bench_do(bench, KIND_pool_create, &pool);
        (void)bench_do_to(bench, KIND_pool_enable, name);
        for (uint32_t k = 0; k < VOLUMES / 2; k++) {
            char volume_name[8];
            snprintf(volume_name, sizeof volume_name, "v%u", k);
            struct volume_create_params volume = bench_volume(name, volume_name);
            (void)bench_do(bench, KIND_volume_create, &volume);
        }
    }
    for (uint32_t i = 0; i < HOSTS; i++) {
        char name[8];
        snprintf(name, sizeof name, "h%u", i);
        struct host_create_params host = {.name = name};
        (void)bench_do(bench, KIND_host_create, &host);
    }
}

static void heal(struct bench *bench, uint32_t upto) {
    healthy = true;
    restart(bench, upto);
    bench_run_while(bench, works);
}

static void test_whatever_happens(void **state) {
    struct bench *bench = *state;
    const char *text = getenv("SLUICE_SEED");
    uint64_t first = clock_wall_ms();
    if (text != NULL)
        assert_true(num_parse_u64(text, &first));
    print_message("SLUICE_SEED=%llu\n", (unsigned long long)first);
    seed = first * 0x9e3779b97f4a7c15u | 1;
    bench->retry_limit_ms = 20;
    healthy = true;
    fake_runners_answer(at_random, NULL);
    fake_runners_fate(fate_at_random, NULL);
    restart(bench, 0);
    furnish(bench);
    uint32_t done = 0, accepted = 0;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        healthy = dice(50) == 0;
        submit_one(bench, &asked[i]);
        healthy = false;
        if (dice(3) != 0) /* time passes, or the next one comes at the same time */
            bench_run_until(bench, &asked[i].accepted);
        bench_turns(bench, dice(40));
        if (dice(6) == 0 && i > 0 && asked[i - 1].accepted &&
            asked[i - 1].answer.err.code == ERR_NONE)
            (void)bench_cancel(bench, &asked[i - 1]);
        if (dice(60) == 0)
            fake_runners_again();
        if (dice(150) == 0)
            restart(bench, i + 1);
        if (i % 50 == 49) { /* or everything would be stuck in the end */
            heal(bench, i + 1);
            furnish(bench);
        }
    }
    heal(bench, ROUNDS);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct core_outcome outcome;
        struct err err = ERR_INIT;
        if (asked[i].answer.err.code != ERR_NONE)
            continue;
        assert_true(core_outcome(bench->core, &asked[i].answer.operation, &outcome, &err));
        assert_true(outcome.ended);
        accepted++;
        done += outcome.err.code == ERR_NONE;
    }
    print_message("of %u requests %u were accepted and %u done\n", ROUNDS, accepted, done);
    assert_true(done > ROUNDS / 10 && done < accepted); /* or it tested little */
}

int main(void) {
    const struct CMUnitTest tests[] = {BENCH(test_whatever_happens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
