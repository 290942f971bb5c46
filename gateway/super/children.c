/* SPDX-License-Identifier: Apache-2.0
 *
 * children.c: a table searched from its start (512 rows, asked at spawns and deaths only), and
 * rings.
 */
#include "super/children.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "super/say.h"

#define READ_MAX 4096 /* of one child in one turn */

struct super_child *super_children_room(struct super_children *children) {
    for (uint32_t i = 0; i < SUPER_CHILDREN_MAX; i++) {
        struct super_child *child = &children->at[i];
        if (child->state == SUPER_CHILD_FREE) {
            memset(child, 0, sizeof *child);
            child->pidfd = child->gateway_fd = child->words_fd = -1;
            return child;
        }
    }
    return NULL;
}

uint32_t super_children_slot(const struct super_children *children,
                             const struct super_child *child) {
    CHECK(child >= children->at && child < children->at + SUPER_CHILDREN_MAX);
    return (uint32_t)(child - children->at);
}

struct super_child *super_children_find(struct super_children *children, pid_t pid) {
    for (uint32_t i = 0; i < SUPER_CHILDREN_MAX; i++)
        if (children->at[i].state == SUPER_CHILD_LIVE && children->at[i].pid == pid)
            return &children->at[i];
    return NULL;
}

bool super_children_any(const struct super_children *children, enum super_child_state state) {
    for (uint32_t i = 0; i < SUPER_CHILDREN_MAX; i++)
        if (children->at[i].state == state)
            return true;
    return false;
}

bool super_children_share_uid(const struct super_children *children,
                              const struct super_child *child) {
    for (uint32_t i = 0; i < SUPER_CHILDREN_MAX; i++) {
        const struct super_child *other = &children->at[i];
        if (other != child && other->state == SUPER_CHILD_LIVE && other->uid == child->uid)
            return true;
    }
    return false;
}

bool super_child_may_speak(struct super_child *child, uint64_t now_ms) {
    if (now_ms - child->second_ms >= 1000) {
        child->second_ms = now_ms;
        child->second_bytes = 0;
        child->second_lines = 0;
    }
    return child->words_fd >= 0 && child->second_bytes < SUPER_WORDS_PER_S;
}

static void end_line(struct super_child *child) {
    if (child->line_length == 0)
        return;
    child->line[child->line_length] = '\0';
    child->line_length = 0;
    if (child->second_lines++ >= SUPER_LINES_PER_S)
        return;
    char pid[SUPER_NUMBER_SIZE];
    super_say(LOG_LEVEL_INFO, "runner says", "pid", super_number(child->pid, pid), "text",
              child->line);
}

static void keep(struct super_child *child, const uint8_t *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) {
        child->words[child->words_end] = bytes[i];
        child->words_end = (child->words_end + 1) % SUPER_WORDS_MAX;
        if (child->words_length < SUPER_WORDS_MAX)
            child->words_length++;
        if (bytes[i] == '\n')
            end_line(child);
        else if (bytes[i] != '\0' && child->line_length < SUPER_LINE_MAX)
            child->line[child->line_length++] = (char)bytes[i];
    }
}

/* false: there is nothing (more) to read. */
static bool read_some(struct super_child *child) {
    uint8_t bytes[READ_MAX];
    ssize_t length;
    do
        length = read(child->words_fd, bytes, sizeof bytes);
    while (length < 0 && errno == EINTR);
    if (length > 0) {
        child->second_bytes += (uint32_t)length;
        keep(child, bytes, (size_t)length);
        return true;
    }
    if (length == 0 || errno != EAGAIN) {
        close(child->words_fd);
        child->words_fd = -1;
    }
    return false;
}

void super_child_listen(struct super_child *child) {
    if (child->words_fd >= 0)
        read_some(child);
}

static void close_held(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void super_child_bury(struct super_child *child, int status) {
    CHECK(child->state == SUPER_CHILD_LIVE);
    uint32_t before = child->second_bytes;
    /* Bounded, because somebody it left behind may hold the pipe and write on. */
    while (child->words_fd >= 0 && child->second_bytes - before < SUPER_WORDS_AT_DEATH &&
           read_some(child))
        continue;
    end_line(child);
    close_held(&child->words_fd);
    close_held(&child->gateway_fd);
    close_held(&child->pidfd);
    child->status = status;
    child->state = SUPER_CHILD_DEAD;
}

uint32_t super_child_words(const struct super_child *child, uint8_t ret[SUPER_WORDS_MAX]) {
    uint32_t start = (child->words_end + SUPER_WORDS_MAX - child->words_length) % SUPER_WORDS_MAX;
    for (uint32_t i = 0; i < child->words_length; i++)
        ret[i] = child->words[(start + i) % SUPER_WORDS_MAX];
    return child->words_length;
}
