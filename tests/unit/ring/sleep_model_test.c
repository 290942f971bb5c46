/* SPDX-License-Identifier: Apache-2.0
 *
 * sleep_model_test.c: the ring's sleep protocol, all interleavings of it.
 *
 * A producer publishes a few entries; a consumer takes them and sleeps when there are none. Each
 * has a store buffer, from which stores reach memory at any later time: in order for one variable,
 * in any order for different ones (so the reordering that relaxed stores may see on weaker machines
 * than x86 is there), a release store only after all older ones. Loads see the own buffer, else
 * memory. A seq_cst fence waits for the own buffer to be empty. The exchange acts on memory, the
 * eventfd is a count in the kernel that orders nothing. Loads are not reordered with each other:
 * every load that matters comes right after a fence or is an acquire.
 *
 * Explored to the end from every reachable state:
 *   - nobody sleeps for ever while there are entries (no lost wake-up);
 *   - no entry is read before it was written.
 * Each of the two fences and the release is then left out, and the exploration must find the harm,
 * so that it is known to be able to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES 3
#define BUFFER_MAX 8
#define STATES_MAX (1u << 20) /* of which the model needs a few per cent */

enum variable { TAIL, ASLEEP, ENTRY, VARIABLES = ENTRY + ENTRIES };

enum producer { P_ENTRY, P_TAIL, P_FENCE, P_LOOK, P_EXCHANGE, P_WAKE, P_DONE };
enum consumer { C_LOOK, C_SLEEP, C_FENCE, C_AGAIN, C_WAIT, C_AWAKE, C_TAKE_COUNT, C_DONE };

struct store {
    uint8_t variable;
    uint8_t value;
    uint8_t release;
};

struct thread {
    uint8_t at;
    uint8_t number; /* producer: entries published; consumer: entries taken */
    uint8_t count;
    struct store buffer[BUFFER_MAX];
};

/* Bytes only: compared and hashed as such. */
struct state {
    uint8_t memory[VARIABLES];
    uint8_t event;
    struct thread producer;
    struct thread consumer;
};

struct model {
    bool producer_fences;
    bool consumer_fences;
    bool releases;
};

enum harm { NONE, LOST_WAKE_UP, UNWRITTEN_ENTRY };

static struct state seen[STATES_MAX];
static uint8_t used[STATES_MAX];
static uint32_t found[STATES_MAX]; /* places in `seen`, in the order in which they were found */
static uint32_t found_count;

static void add(const struct state *state) {
    const uint8_t *bytes = (const void *)state;
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < sizeof *state; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    uint32_t place = (uint32_t)(hash >> 20) % STATES_MAX;
    while (used[place]) {
        if (memcmp(&seen[place], state, sizeof *state) == 0)
            return;
        place = (place + 1) % STATES_MAX;
    }
    assert_in_range(found_count, 0, STATES_MAX / 2);
    used[place] = 1;
    seen[place] = *state;
    found[found_count++] = place;
}

static void store(struct thread *thread, enum variable variable, uint8_t value, bool release) {
    assert_in_range(thread->count, 0, BUFFER_MAX - 1);
    thread->buffer[thread->count++] = (struct store){(uint8_t)variable, value, release};
}

static uint8_t load(const struct state *state, const struct thread *thread,
                    enum variable variable) {
    for (int i = thread->count - 1; i >= 0; i--)
        if (thread->buffer[i].variable == variable)
            return thread->buffer[i].value;
    return state->memory[variable];
}

/* May the store at that place of the buffer reach memory now? */
static bool may_drain(const struct thread *thread, uint8_t place) {
    if (thread->buffer[place].release)
        return place == 0;
    for (uint8_t i = 0; i < place; i++)
        if (thread->buffer[i].variable == thread->buffer[place].variable)
            return false;
    return true;
}

static void drain(struct state *state, struct thread *thread, uint8_t place) {
    state->memory[thread->buffer[place].variable] = thread->buffer[place].value;
    thread->count--;
    for (uint8_t i = place; i < thread->count; i++)
        thread->buffer[i] = thread->buffer[i + 1];
    thread->buffer[thread->count] = (struct store){0, 0, 0};
}

static void publish_next(struct thread *producer) {
    producer->number++;
    producer->at = producer->number == ENTRIES ? P_DONE : P_ENTRY;
}

/* One step of ring_submit and ring_publish. false: it can make none. */
static bool produce(struct state *state, const struct model *model) {
    struct thread *producer = &state->producer;
    switch (producer->at) {
    case P_ENTRY:
        store(producer, ENTRY + producer->number, 1, false);
        producer->at = P_TAIL;
        return true;
    case P_TAIL:
        store(producer, TAIL, producer->number + 1, model->releases);
        producer->at = P_FENCE;
        return true;
    case P_FENCE:
        if (model->producer_fences && producer->count > 0)
            return false;
        producer->at = P_LOOK;
        return true;
    case P_LOOK:
        if (load(state, producer, ASLEEP) != 0)
            producer->at = P_EXCHANGE;
        else
            publish_next(producer);
        return true;
    case P_EXCHANGE:
        if (state->memory[ASLEEP] != 0)
            producer->at = P_WAKE;
        else
            publish_next(producer);
        state->memory[ASLEEP] = 0;
        return true;
    case P_WAKE:
        state->event = 1;
        publish_next(producer);
        return true;
    default:
        return false;
    }
}

static void look(struct state *state, enum harm *ret_harm) {
    struct thread *consumer = &state->consumer;
    if (load(state, consumer, TAIL) == consumer->number) {
        consumer->at = C_SLEEP;
        return;
    }
    if (load(state, consumer, ENTRY + consumer->number) == 0)
        *ret_harm = UNWRITTEN_ENTRY;
    consumer->number++;
    if (consumer->number == ENTRIES)
        consumer->at = C_DONE;
}

/* One step of ring_next_..., ring_asleep, poll and ring_awake. false: it can make none. */
static bool consume(struct state *state, const struct model *model, enum harm *ret_harm) {
    struct thread *consumer = &state->consumer;
    switch (consumer->at) {
    case C_LOOK:
        look(state, ret_harm);
        return true;
    case C_SLEEP:
        store(consumer, ASLEEP, 1, false);
        consumer->at = C_FENCE;
        return true;
    case C_FENCE:
        if (model->consumer_fences && consumer->count > 0)
            return false;
        consumer->at = C_AGAIN;
        return true;
    case C_AGAIN:
        if (load(state, consumer, TAIL) == consumer->number) {
            consumer->at = C_WAIT;
        } else {
            store(consumer, ASLEEP, 0, false);
            consumer->at = C_LOOK;
        }
        return true;
    case C_WAIT:
        if (state->event == 0)
            return false;
        consumer->at = C_AWAKE;
        return true;
    case C_AWAKE:
        store(consumer, ASLEEP, 0, false);
        consumer->at = C_TAKE_COUNT;
        return true;
    case C_TAKE_COUNT:
        state->event = 0;
        consumer->at = C_LOOK;
        return true;
    default:
        return false;
    }
}

/* Adds every state that one more store in memory leads to. false: both buffers are empty. */
static bool add_drained(const struct state *state) {
    for (uint8_t i = 0; i < state->producer.count; i++) {
        struct state next = *state;
        if (may_drain(&next.producer, i)) {
            drain(&next, &next.producer, i);
            add(&next);
        }
    }
    for (uint8_t i = 0; i < state->consumer.count; i++) {
        struct state next = *state;
        if (may_drain(&next.consumer, i)) {
            drain(&next, &next.consumer, i);
            add(&next);
        }
    }
    return state->producer.count > 0 || state->consumer.count > 0;
}

static enum harm explore(const struct model *model) {
    struct state first;
    memset(&first, 0, sizeof first);
    memset(used, 0, sizeof used);
    found_count = 0;
    add(&first);
    for (uint32_t i = 0; i < found_count; i++) {
        const struct state state = seen[found[i]];
        enum harm harm = NONE;
        bool moves = add_drained(&state);
        struct state next = state;
        if (produce(&next, model)) {
            add(&next);
            moves = true;
        }
        next = state;
        if (consume(&next, model, &harm)) {
            add(&next);
            moves = true;
        }
        if (harm != NONE)
            return harm;
        if (!moves && state.consumer.at != C_DONE)
            return LOST_WAKE_UP;
    }
    return NONE;
}

static void no_wake_up_is_lost(void **state) {
    (void)state;
    assert_int_equal(explore(&(struct model){true, true, true}), NONE);
    print_message("%u states\n", found_count);
    assert_in_range(found_count, 200, STATES_MAX);
}

static void without_the_producers_fence_one_is(void **state) {
    (void)state;
    assert_int_equal(explore(&(struct model){false, true, true}), LOST_WAKE_UP);
}

static void without_the_consumers_fence_one_is(void **state) {
    (void)state;
    assert_int_equal(explore(&(struct model){true, false, true}), LOST_WAKE_UP);
}

static void without_the_release_an_entry_is_read_too_early(void **state) {
    (void)state;
    assert_int_equal(explore(&(struct model){true, true, false}), UNWRITTEN_ENTRY);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_wake_up_is_lost),
        cmocka_unit_test(without_the_producers_fence_one_is),
        cmocka_unit_test(without_the_consumers_fence_one_is),
        cmocka_unit_test(without_the_release_an_entry_is_read_too_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
