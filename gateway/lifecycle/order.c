/* SPDX-License-Identifier: Apache-2.0
 *
 * order.c: everything works on one canonical row of drivers (category, name, version, directory),
 * so that the order in which they were given cannot show. `nodes` and all numbers here are places
 * in that row; only the results speak of what was given.
 *
 * With n drivers and r requirements of each, no step takes more than n * n * r looks.
 */
#include "lifecycle/order.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

#define NONE UINT32_MAX
#define CIRCLE_TEXT_MAX 400    /* bytes of the names in a circle; the sentence must fit an err */
#define DIRECTORY_TEXT_MAX 160 /* two of them and a sentence fit an err */

struct node {
    const struct order_driver *driver;
    const struct manifest *manifest;
    uint32_t given; /* index of what was given */
    uint32_t *uses; /* that meet its requirements, in the order of these */
    uint32_t use_count;
    bool absent;  /* broken: to others as if it were not there */
    bool blocked; /* cause is set */
    bool placed;  /* has its place in the order of start */
    struct err cause;
};

struct ordering {
    struct node *nodes;
    uint32_t count;
    struct arena *arena;
    uint32_t *queue; /* room for one walk */
    uint32_t *from;
};

static int compare_nodes(const void *a, const void *b) {
    const struct node *left = a;
    const struct node *right = b;
    int order = (int)left->manifest->category - (int)right->manifest->category;
    if (order == 0)
        order = strcmp(left->manifest->name, right->manifest->name);
    if (order == 0)
        order = version_compare(&left->manifest->version, &right->manifest->version);
    return order != 0 ? order : strcmp(left->driver->directory, right->driver->directory);
}

__attribute__((format(printf, 3, 4))) static void block(struct node *node, enum err_code code,
                                                        const char *format, ...) {
    va_list args;
    va_start(args, format);
    err_vset(&node->cause, code, format, args);
    va_end(args);
    node->blocked = !node->driver->running; /* what runs goes on: what it needs it has */
}

/* ---- one name and version, several directories ----------------------------------------------- */

static bool same_claim(const struct node *a, const struct node *b) {
    return strcmp(a->manifest->name, b->manifest->name) == 0 &&
           version_compare(&a->manifest->version, &b->manifest->version) == 0;
}

/* Who claims the same: the running one if there is one. */
static const struct node *find_rival(const struct ordering *ordering, uint32_t of) {
    const struct node *rival = NULL;
    for (uint32_t i = 0; i < ordering->count; i++) {
        const struct node *other = &ordering->nodes[i];
        if (i == of || !same_claim(&ordering->nodes[of], other))
            continue;
        if (other->driver->running)
            return other;
        if (rival == NULL && other->driver->broken == NULL)
            rival = other;
    }
    return rival;
}

/* The running one has the name and version already; the newcomer is as if it were not there. */
static void judge_claims(struct ordering *ordering) {
    for (uint32_t i = 0; i < ordering->count; i++) {
        struct node *node = &ordering->nodes[i];
        const struct node *rival = find_rival(ordering, i);
        if (rival == NULL || node->absent || node->driver->running)
            continue;
        char here[DIRECTORY_TEXT_MAX], there[DIRECTORY_TEXT_MAX];
        text_copy(here, sizeof here, node->driver->directory);
        text_copy(there, sizeof there, rival->driver->directory);
        block(node, ERR_DEPENDENCY, "%s %s is ambiguous: it is in %s and in %s; remove one of them",
              node->manifest->name, node->manifest->version_text, here, there);
        node->absent = rival->driver->running;
    }
}

/* ---- requirements ---------------------------------------------------------------------------- */

static bool is_held(const struct node *node) {
    return node->driver->held && !node->driver->running;
}

/* Versions of one name stand in ascending order, so the last one in range is the highest. One that
 * is wanted stopped is taken only where there is no other. */
static uint32_t find_highest(const struct ordering *ordering, const struct node *node,
                             const struct manifest_requirement *requirement) {
    uint32_t found = NONE;
    for (uint32_t i = 0; i < ordering->count; i++) {
        const struct node *other = &ordering->nodes[i];
        if (!other->absent && other->manifest->category == node->manifest->category &&
            strcmp(other->manifest->name, requirement->name) == 0 &&
            version_in_range(&other->manifest->version, &requirement->range) &&
            (found == NONE || !is_held(other) || is_held(&ordering->nodes[found])))
            found = i;
    }
    return found;
}

/* Which versions there are instead, so that nobody has to look. */
static void say_missing(const struct ordering *ordering, const struct node *node,
                        const struct manifest_requirement *requirement, char *ret, size_t size) {
    size_t used = (size_t)snprintf(ret, size, "%s %s", requirement->name, requirement->range_text);
    bool any = false;
    for (uint32_t i = 0; i < ordering->count && used < size; i++) {
        const struct node *other = &ordering->nodes[i];
        if (other->absent || other->manifest->category != node->manifest->category ||
            strcmp(other->manifest->name, requirement->name) != 0)
            continue;
        used += (size_t)snprintf(ret + used, size - used, "%s%s", any ? ", " : " (there is ",
                                 other->manifest->version_text);
        any = true;
    }
    if (any && used < size)
        snprintf(ret + used, size - used, ")");
}

static bool resolve(struct ordering *ordering, struct node *node) {
    const struct manifest *manifest = node->manifest;
    char missing[320] = "";
    size_t used = 0;
    if (manifest->require_count == 0)
        return true;
    node->uses = arena_array(ordering->arena, manifest->require_count, sizeof node->uses[0]);
    if (node->uses == NULL)
        return false;
    for (uint32_t i = 0; i < manifest->require_count; i++) {
        uint32_t found = find_highest(ordering, node, &manifest->requires[i]);
        if (found != NONE) {
            node->uses[node->use_count++] = found;
            continue;
        }
        char one[160];
        say_missing(ordering, node, &manifest->requires[i], one, sizeof one);
        if (used < sizeof missing)
            used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%s",
                                     used > 0 ? "; " : "", one);
    }
    if (used > 0 && !node->blocked)
        block(node, ERR_DEPENDENCY, "%s %s requires what is not there: %s", manifest->name,
              manifest->version_text, missing);
    return true;
}

/* ---- circles --------------------------------------------------------------------------------- */

/* The shortest way from `start` along requirements back to it, in queue[0..]; its length, or 0. */
static uint32_t find_circle(struct ordering *ordering, uint32_t start) {
    uint32_t head = 0, tail = 0;
    for (uint32_t i = 0; i < ordering->count; i++)
        ordering->from[i] = NONE;
    ordering->queue[tail++] = start;
    while (head < tail) { /* each node is queued once */
        uint32_t at = ordering->queue[head++];
        const struct node *node = &ordering->nodes[at];
        for (uint32_t i = 0; i < node->use_count; i++) {
            uint32_t next = node->uses[i];
            if (ordering->from[next] != NONE)
                continue;
            ordering->from[next] = at;
            if (next != start) {
                ordering->queue[tail++] = next;
                continue;
            }
            uint32_t length = 0;
            uint32_t back = start;
            do {
                back = ordering->from[back];
                ordering->queue[length++] = back;
            } while (back != start);
            return length;
        }
    }
    return 0;
}

/* queue holds the circle backwards, ending with where it was looked for. The text begins with the
 * least of them, so that all members of a circle tell the same. */
static void say_circle(const struct ordering *ordering, uint32_t length, char *ret, size_t size) {
    uint32_t least = 0;
    for (uint32_t i = 1; i < length; i++)
        if (ordering->queue[i] < ordering->queue[least])
            least = i;
    size_t used = 0;
    uint32_t told = 0;
    for (; told < length && used < CIRCLE_TEXT_MAX; told++) {
        const struct manifest *manifest =
            ordering->nodes[ordering->queue[(least + length - told) % length]].manifest;
        used += (size_t)snprintf(ret + used, size - used, "%s %s -> ", manifest->name,
                                 manifest->version_text);
    }
    if (told < length)
        used += (size_t)snprintf(ret + used, size - used, "(%u more) -> ", length - told);
    snprintf(ret + used, size - used, "%s", ordering->nodes[ordering->queue[least]].manifest->name);
}

static void judge_circles(struct ordering *ordering) {
    for (uint32_t i = 0; i < ordering->count; i++) {
        struct node *node = &ordering->nodes[i];
        if (node->blocked || node->driver->running)
            continue;
        uint32_t length = find_circle(ordering, i);
        if (length == 0)
            continue;
        char text[ERR_TEXT_MAX + CIRCLE_TEXT_MAX];
        say_circle(ordering, length, text, sizeof text);
        block(node, ERR_CYCLE, "drivers require each other: %s", text);
    }
}

/* ---- what others bring about ------------------------------------------------------------------
 */

/* Whether this blocked it. */
static bool judge_uses(struct ordering *ordering, struct node *node) {
    if (node->blocked || node->driver->running)
        return false;
    for (uint32_t i = 0; i < node->use_count; i++) {
        const struct node *used = &ordering->nodes[node->uses[i]];
        if (!used->blocked && !is_held(used))
            continue;
        if (used->blocked)
            block(node, ERR_DEPENDENCY, "%s %s requires %s %s, which cannot start: %s",
                  node->manifest->name, node->manifest->version_text, used->manifest->name,
                  used->manifest->version_text, used->cause.text);
        else
            block(node, ERR_DEPENDENCY,
                  "%s %s requires %s %s, which is wanted stopped; start that first",
                  node->manifest->name, node->manifest->version_text, used->manifest->name,
                  used->manifest->version_text);
        return true;
    }
    return false;
}

static void spread_blocks(struct ordering *ordering) {
    bool more = true;
    while (more) { /* each round blocks at least one more */
        more = false;
        for (uint32_t i = 0; i < ordering->count; i++)
            more = judge_uses(ordering, &ordering->nodes[i]) || more;
    }
}

/* ---- the order --------------------------------------------------------------------------------
 */

static enum order_action action_of(const struct node *node) {
    if (node->driver->running)
        return ORDER_KEEP;
    if (node->driver->held)
        return ORDER_HELD;
    return node->blocked ? ORDER_BLOCKED : ORDER_START;
}

static bool startable(const struct node *node) {
    enum order_action action = action_of(node);
    return action == ORDER_START || action == ORDER_KEEP;
}

/* All that it requires comes before it. Who runs may use what is blocked now; that is not waited
 * for. */
static bool is_ready(const struct ordering *ordering, const struct node *node) {
    for (uint32_t i = 0; i < node->use_count; i++) {
        const struct node *used = &ordering->nodes[node->uses[i]];
        if (!used->placed && startable(used))
            return false;
    }
    return true;
}

/* The first in canonical order that can be next. Only running ones can stand in a circle, which
 * archives that came later have closed; the first of them is taken then. */
static uint32_t find_next(const struct ordering *ordering) {
    uint32_t first = NONE;
    uint32_t running = NONE;
    for (uint32_t i = 0; i < ordering->count; i++) {
        const struct node *node = &ordering->nodes[i];
        if (node->placed || !startable(node))
            continue;
        if (first == NONE)
            first = i;
        if (node->manifest->category != ordering->nodes[first].manifest->category)
            break;
        if (is_ready(ordering, node))
            return i;
        if (running == NONE && node->driver->running)
            running = i;
    }
    return running;
}

static bool add_row(struct ordering *ordering, uint32_t i, struct order *order) {
    struct node *node = &ordering->nodes[i];
    struct order_row *row = &order->rows[order->count++];
    uint32_t *uses = NULL;
    if (node->use_count > 0) {
        uses = arena_array(ordering->arena, node->use_count, sizeof uses[0]);
        if (uses == NULL)
            return false;
    }
    for (uint32_t use = 0; use < node->use_count; use++)
        uses[use] = ordering->nodes[node->uses[use]].given;
    *row = (struct order_row){
        .position = order->count,
        .driver = node->given,
        .action = action_of(node),
        .uses = uses,
        .use_count = node->use_count,
        .cause = node->cause,
    };
    node->placed = true;
    return true;
}

static bool add_rows(struct ordering *ordering, struct order *order) {
    for (uint32_t i; (i = find_next(ordering)) != NONE;)
        if (!add_row(ordering, i, order))
            return false;
    order->startable = order->count;
    for (uint32_t i = 0; i < ordering->count; i++)
        if (!ordering->nodes[i].placed && !add_row(ordering, i, order))
            return false;
    return true;
}

static void take_drivers(struct ordering *ordering, const struct order_driver *drivers) {
    for (uint32_t i = 0; i < ordering->count; i++)
        ordering->nodes[i] = (struct node){
            .driver = &drivers[i],
            .manifest = drivers[i].manifest,
            .given = i,
        };
    if (ordering->count > 1)
        qsort(ordering->nodes, ordering->count, sizeof ordering->nodes[0], compare_nodes);
    for (uint32_t i = 0; i < ordering->count; i++) {
        struct node *node = &ordering->nodes[i];
        const struct err *broken = node->driver->broken;
        if (broken == NULL)
            continue;
        node->absent = !node->driver->running;
        block(node, broken->code, "%s", broken->text);
    }
}

static bool compute(struct ordering *ordering, const struct order_driver *drivers,
                    struct order *order) {
    size_t room = (size_t)ordering->count + 1;
    ordering->nodes = arena_array(ordering->arena, room, sizeof ordering->nodes[0]);
    ordering->queue = arena_array(ordering->arena, room, sizeof ordering->queue[0]);
    ordering->from = arena_array(ordering->arena, room, sizeof ordering->from[0]);
    order->rows = arena_array(ordering->arena, room, sizeof order->rows[0]);
    if (ordering->nodes == NULL || ordering->queue == NULL || ordering->from == NULL ||
        order->rows == NULL)
        return false;
    take_drivers(ordering, drivers);
    judge_claims(ordering);
    for (uint32_t i = 0; i < ordering->count; i++)
        if (!resolve(ordering, &ordering->nodes[i]))
            return false;
    judge_circles(ordering);
    spread_blocks(ordering);
    return add_rows(ordering, order);
}

bool order_compute(const struct order_driver *drivers, uint32_t count, struct arena *arena,
                   struct order *ret, struct err *err) {
    if (count > ORDER_DRIVERS_MAX)
        return err_set(err, ERR_LIMIT, "there are %u drivers; at most %d are ordered", count,
                       ORDER_DRIVERS_MAX);
    struct ordering ordering = {.count = count, .arena = arena};
    struct order order = {0};
    if (!compute(&ordering, drivers, &order))
        return err_set(err, ERR_NO_MEMORY, "the order of drivers: there is no memory for it");
    *ret = order;
    return true;
}

const char *order_action_name(enum order_action action) {
    switch (action) {
    case ORDER_START:
        return "start";
    case ORDER_KEEP:
        return "keep";
    case ORDER_HELD:
        return "held";
    case ORDER_BLOCKED:
        return "blocked";
    }
    return "unknown";
}
