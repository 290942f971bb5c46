/* SPDX-License-Identifier: Apache-2.0
 *
 * Random schedules of writes, trims, zeroes, flushes and reads by two connections, with runners
 * that die (and lose what is not stable), backends that restart by themselves, calls that are
 * executed in any order: the history is checked against one register a block.
 *
 * Each block is a register, and its history has to be that of one: there is an order of all writes
 * and reads, each at some moment between its begin and its answer, in which every read returns what
 * was written last. All values are different, so it is known which write a read has seen, and there
 * is such an order exactly when no two values need the register at the same moment (judge; after
 * P. Gibbons and E. Korach, Testing shared memories, 1997). Zeroes are not different from each
 * other: a read of them counts when only one write can have been it. Seeds are printed when
 * something is wrong (SLUICE_SCHEDULE runs that one alone).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "play.h"

#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
#define SCHEDULES 200 /* each takes five times as long */
#else
#define SCHEDULES 1000
#endif
#define SCHEDULES_FULL 20000
#define BLOCKS 4u /* few, so that they meet */
#define CLIENTS 2
#define DEPTH 8u /* of a client */
#define STEPS 60u
#define VALUES 2048u
#define PENDING UINT64_MAX

/* The end of it all: threads run on that another test would meet. */
#define WRONG(...)                \
    do {                          \
        print_error(__VA_ARGS__); \
        print_error("\n");        \
        _exit(1);                 \
    } while (0)

/* Values of a block are numbered from 0, which is what it has at the beginning. */
struct value {
    uint64_t begun, ended; /* in time of the history; PENDING: not answered */
    bool zero;             /* reads as zeroes, so it cannot be told from other such */
    /* Of the write and of all reads that have seen it: the register had it at the latest when the
     * first of them ended, and still when the last of them began. */
    uint64_t first_end, last_begin;
};

struct asked {
    bool used;
    uint16_t type;
    uint32_t first, count;   /* blocks */
    uint32_t number[BLOCKS]; /* values that it writes */
    uint64_t begun;          /* of a read */
    uint64_t floor[BLOCKS];  /* likewise: the state of `seen` when it began */
    uint8_t payload[BLOCKS * PLAY_BLOCK];
};

struct history {
    uint64_t seed, dice, time;
    struct value values[VALUES]; /* by block: index block * (VALUES / BLOCKS) + number */
    uint32_t value_count[BLOCKS];
    uint64_t seen[BLOCKS]; /* nothing that ended before this may be read by who begins now */
    struct play_client clients[CLIENTS];
    struct asked asked[CLIENTS][DEPTH];
    uint32_t under_way;
    uint32_t deaths;
};

#define PER_BLOCK (VALUES / BLOCKS)
_Static_assert(STEPS + 2 < PER_BLOCK, "each step writes a block once");

static struct value *value_at(struct history *history, uint32_t block, uint32_t number) {
    assert_true(number < history->value_count[block]);
    return &history->values[block * PER_BLOCK + number];
}

static uint32_t new_value(struct history *history, uint32_t block, bool zero) {
    uint32_t number = history->value_count[block]++;
    assert_true(number < PER_BLOCK);
    *value_at(history, block, number) =
        (struct value){.begun = ++history->time, .ended = PENDING, .zero = zero};
    value_at(history, block, number)->first_end = PENDING;
    value_at(history, block, number)->last_begin = history->time;
    return number;
}

/* A block says its number and which of its values it is. */
static void fill(uint8_t *block, uint32_t index, uint32_t number) {
    uint64_t *words = (uint64_t *)(void *)block;
    for (uint32_t i = 0; i < PLAY_BLOCK / 8; i++)
        words[i] = (uint64_t)(index + 1) << 32 | number;
}

static void raise(uint64_t *floor, uint64_t to) {
    if (to > *floor)
        *floor = to;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static bool is_zeroing(uint16_t type) {
    return type == NBD_TRIM || type == NBD_WRITE_ZEROES;
}

/* false: the client has enough under way. */
static bool ask(struct history *history, uint32_t who) {
    uint32_t slot = 0;
    while (slot < DEPTH && history->asked[who][slot].used)
        slot++;
    if (slot == DEPTH)
        return false;
    struct asked *asked = &history->asked[who][slot];
    static const uint16_t types[] = {NBD_READ,  NBD_READ,  NBD_READ,  NBD_WRITE, NBD_WRITE,
                                     NBD_WRITE, NBD_WRITE, NBD_FLUSH, NBD_TRIM,  NBD_WRITE_ZEROES};
    asked->used = true;
    asked->type = types[play_roll(&history->dice) % (sizeof types / sizeof types[0])];
    asked->first = (uint32_t)(play_roll(&history->dice) % BLOCKS);
    asked->count = 1 + (uint32_t)(play_roll(&history->dice) % 3);
    if (asked->first + asked->count > BLOCKS)
        asked->count = BLOCKS - asked->first;
    uint16_t flags = 0;
    bool changes = asked->type == NBD_WRITE || is_zeroing(asked->type);
    if (changes && play_roll(&history->dice) % 5 == 0)
        flags = NBD_FUA;
    for (uint32_t i = 0; i < asked->count; i++) {
        uint32_t block = asked->first + i;
        if (changes) {
            asked->number[i] = new_value(history, block, is_zeroing(asked->type));
            fill(asked->payload + i * PLAY_BLOCK, block, asked->number[i]);
        }
        asked->floor[i] = history->seen[block];
    }
    asked->begun = ++history->time;
    bool ranged = asked->type != NBD_FLUSH;
    client_ask(&history->clients[who], asked->type, flags, slot,
               ranged ? (uint64_t)asked->first * PLAY_BLOCK : 0,
               ranged ? asked->count * PLAY_BLOCK : 0, asked->payload);
    history->under_way++;
    return true;
}

/* ---- answers --------------------------------------------------------------------------------- */

struct finder {
    struct history *history;
    uint32_t who;
};

static uint8_t *find(void *argument, uint64_t cookie, uint64_t *ret_offset, uint32_t *ret_length) {
    struct finder *finder = argument;
    assert_true(cookie < DEPTH);
    struct asked *asked = &finder->history->asked[finder->who][cookie];
    assert_true(asked->used);
    if (asked->type != NBD_READ)
        return NULL;
    *ret_offset = (uint64_t)asked->first * PLAY_BLOCK;
    *ret_length = asked->count * PLAY_BLOCK;
    return asked->payload;
}

/* When the value that was read began, at the earliest; PENDING: nothing permits what was read. It
 * was overwritten for certain when its write had ended before another began that was answered, or
 * seen, before the read began (floor). *ret: the value, if there is only one that it can be. */
static uint64_t permitted(struct history *history, uint32_t block, uint64_t word, uint64_t floor,
                          struct value **ret) {
    uint64_t begun = PENDING;
    uint32_t found = 0;
    for (uint32_t number = 0; number < history->value_count[block]; number++) {
        struct value *value = value_at(history, block, number);
        bool is_it = value->zero ? word == 0 : word == ((uint64_t)(block + 1) << 32 | number);
        if (!is_it || value->ended < floor)
            continue;
        *ret = found++ == 0 ? value : NULL;
        if (value->begun < begun)
            begun = value->begun;
    }
    return begun;
}

static void took_part(struct value *value, uint64_t begun, uint64_t ended) {
    raise(&value->last_begin, begun);
    if (ended < value->first_end)
        value->first_end = ended;
}

/* A value that had been there before its last reader began holds the register in between; no other
 * may do so in a part of that time, nor be written and overwritten within it. */
static void judge(struct history *history, uint32_t block) {
    for (uint32_t i = 0; i < history->value_count[block]; i++)
        for (uint32_t j = 0; j < history->value_count[block]; j++) {
            const struct value *one = value_at(history, block, i);
            const struct value *other = value_at(history, block, j);
            if (i != j && one->first_end < one->last_begin && one->first_end < other->last_begin &&
                other->first_end < one->last_begin)
                WRONG("seed %llu: block %u was value %u from %llu to %llu, and value %u from "
                      "%llu to %llu",
                      (unsigned long long)history->seed, block, i,
                      (unsigned long long)one->first_end, (unsigned long long)one->last_begin, j,
                      (unsigned long long)other->last_begin, (unsigned long long)other->first_end);
        }
}

static void on_read(struct history *history, const struct asked *asked) {
    for (uint32_t i = 0; i < asked->count; i++) {
        uint32_t block = asked->first + i;
        const uint8_t *bytes = asked->payload + i * PLAY_BLOCK;
        if (memcmp(bytes, bytes + 8, PLAY_BLOCK - 8) != 0)
            WRONG("seed %llu: block %u is torn", (unsigned long long)history->seed, block);
        struct value *value = NULL;
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        uint64_t begun = permitted(history, block, word, asked->floor[i], &value);
        if (begun == PENDING)
            WRONG("seed %llu: block %u reads as value %llx, which was overwritten (floor %llu)",
                  (unsigned long long)history->seed, block, (unsigned long long)word,
                  (unsigned long long)asked->floor[i]);
        raise(&history->seen[block], begun);
        if (value != NULL)
            took_part(value, asked->begun, ++history->time);
    }
}

static void on_reply(struct history *history, uint32_t who) {
    struct finder finder = {.history = history, .who = who};
    struct play_reply reply;
    assert_true(client_reply(&history->clients[who], find, &finder, &reply));
    struct asked *asked = &history->asked[who][reply.cookie];
    if (reply.error != 0)
        WRONG("seed %llu: error %u", (unsigned long long)history->seed, reply.error);
    if (asked->type == NBD_READ)
        on_read(history, asked);
    for (uint32_t i = 0; i < asked->count; i++)
        if (asked->type == NBD_WRITE || is_zeroing(asked->type)) {
            struct value *value = value_at(history, asked->first + i, asked->number[i]);
            value->ended = ++history->time;
            took_part(value, value->begun, value->ended);
            raise(&history->seen[asked->first + i], value->begun);
        }
    asked->used = false;
    history->under_way--;
}

/* ---- a schedule ------------------------------------------------------------------------------ */

static void next_runner(struct play *play, struct history *history) {
    struct play_script script = {
        .seed = play_roll(&history->dice) | 1, .die_at = UINT64_MAX, .fail_at = UINT64_MAX};
    /* Two at most: a third would make a call the suspect. */
    if (history->deaths < 2 && play_roll(&history->dice) % 4 != 0)
        script.die_after = 1 + (int)(play_roll(&history->dice) % 40);
    if (play_roll(&history->dice) % 3 == 0)
        script.delay_us = 100;
    /* A ring's memory is most of what a schedule costs: the last one's runner goes on. */
    if (play->running)
        play_open(play, &script);
    else
        play_run(play, &script);
}

/* false: nothing came in time. */
static bool wait_for(struct play *play, struct history *history, int timeout_ms) {
    struct pollfd fds[CLIENTS + 1];
    for (uint32_t i = 0; i < CLIENTS; i++)
        fds[i] = (struct pollfd){.fd = history->clients[i].fd, .events = POLLIN};
    fds[CLIENTS] = (struct pollfd){.fd = play->dead_fd, .events = POLLIN};
    if (poll(fds, CLIENTS + 1, timeout_ms) <= 0)
        return false;
    for (uint32_t i = 0; i < CLIENTS; i++)
        if (fds[i].revents != 0)
            on_reply(history, i);
    if (fds[CLIENTS].revents != 0) {
        play_kill(play);
        history->deaths++;
        for (uint64_t i = play_roll(&history->dice) % 4; i > 0; i--)
            ask(history, (uint32_t)(play_roll(&history->dice) % CLIENTS));
        next_runner(play, history);
    }
    return true;
}

static void read_all(struct history *history) {
    struct asked *asked = &history->asked[0][0];
    *asked =
        (struct asked){.used = true, .type = NBD_READ, .count = BLOCKS, .begun = ++history->time};
    memcpy(asked->floor, history->seen, sizeof asked->floor);
    client_ask(&history->clients[0], NBD_READ, 0, 0, 0, BLOCKS * PLAY_BLOCK, NULL);
    history->under_way++;
}

static void run_schedule(struct play *play, uint64_t seed) {
    static struct history history;
    memset(&history, 0, sizeof history);
    history.seed = seed;
    history.dice = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    for (uint32_t block = 0; block < BLOCKS; block++) {
        history.value_count[block] = 1;
        history.values[block * PER_BLOCK] = (struct value){.zero = true};
    }
    pthread_mutex_lock(&play->lock); /* the last one's runner may still be there */
    memset(play->current, 0, play->size_bytes);
    memset(play->stable, 0, play->size_bytes);
    memset(play->dirty, 0, play->size_bytes / PLAY_BLOCK);
    pthread_mutex_unlock(&play->lock);
    play_export(play, NULL);
    next_runner(play, &history);
    for (uint32_t i = 0; i < CLIENTS; i++)
        client_connect(play, &history.clients[i], seed % 2 == i);
    uint32_t steps = STEPS;
    while (steps > 0 || history.under_way > 0) {
        if (steps > 0 && play_roll(&history.dice) % 2 == 0) {
            if (!ask(&history, (uint32_t)(play_roll(&history.dice) % CLIENTS)))
                wait_for(play, &history, 1000);
            else if (--steps == 0 && history.deaths < 2 && play_roll(&history.dice) % 2 == 0) {
                play_kill(play);
                history.deaths++;
                next_runner(play, &history);
            }
        } else if (!wait_for(play, &history, steps > 0 ? 0 : 10000) && steps == 0) {
            WRONG("seed %llu: %u requests are not answered", (unsigned long long)seed,
                  history.under_way);
        }
    }
    /* A last death after the last answer: what was acknowledged is there in the end. */
    if (seed % 2 == 0) {
        play_kill(play);
        history.deaths = 2;
        next_runner(play, &history);
    }
    read_all(&history);
    while (history.under_way > 0)
        assert_true(wait_for(play, &history, 10000));
    for (uint32_t block = 0; block < BLOCKS; block++)
        judge(&history, block);
    for (uint32_t i = 0; i < CLIENTS; i++)
        client_close(&history.clients[i]);
    play_open(play, NULL); /* nobody dies of the last flush */
    play_unexport(play);
}

static void run_schedules(bool loses, uint64_t first, uint64_t count) {
    static struct play play;
    const char *only = getenv("SLUICE_SCHEDULE");
    play_start(&play, BLOCKS * PLAY_BLOCK, loses);
    if (only != NULL)
        run_schedule(&play, strtoull(only, NULL, 10));
    else
        for (uint64_t seed = first; seed < first + count; seed++)
            run_schedule(&play, seed);
    play_ping(&play);
    print_message("seeds %llu to %llu: %llu calls, of them replayed %llu\n",
                  (unsigned long long)first, (unsigned long long)(first + count - 1),
                  (unsigned long long)play.pong_calls, (unsigned long long)play.pong_replayed);
    assert_true(only != NULL || play.pong_replayed > count);
    play_stop(&play);
}

static uint64_t schedules(void) {
    const char *full = getenv("SLUICE_FULL");
    return full != NULL && strcmp(full, "1") == 0 ? SCHEDULES_FULL : SCHEDULES;
}

static void test_losing(void **state) {
    (void)state;
    run_schedules(true, 1, schedules() * 7 / 10);
}

static void test_constant(void **state) {
    (void)state;
    run_schedules(false, 1000001, schedules() * 3 / 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losing),
        cmocka_unit_test(test_constant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
