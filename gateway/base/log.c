/* SPDX-License-Identifier: Apache-2.0
 *
 * log.c: a line is composed on the stack and goes out in one write.
 */
#include "base/log.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/num.h"

#define LINE_MAX_BYTES 4096 /* PIPE_BUF: lines of several writers in one pipe do not mix */
#define TAIL_BYTES 8        /* kept free for the end of a line that was cut */
#define PAIRS_MAX 32        /* ends a list whose NULL was forgotten */

struct line {
    char at[LINE_MAX_BYTES];
    size_t length;
    bool cut;
};

static const char *start_program = "sluice";
static enum log_level start_level = LOG_LEVEL_INFO;

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

void log_start(const char *program, enum log_level level) {
    CHECK(program != NULL);
    start_program = program;
    start_level = level;
}

/* All of it or nothing, so that neither a character nor an escape is ever cut in two. */
static void put(struct line *line, const char *bytes, size_t length) {
    if (line->cut || length > sizeof line->at - TAIL_BYTES - line->length) {
        line->cut = true;
        return;
    }
    memcpy(line->at + line->length, bytes, length);
    line->length += length;
}

static void put_text(struct line *line, const char *text) {
    put(line, text, strlen(text));
}

/* Room in the tail is kept for this. */
static void put_tail(struct line *line, const char *text) {
    size_t length = strlen(text);
    CHECK(length <= sizeof line->at - line->length);
    memcpy(line->at + line->length, text, length);
    line->length += length;
}

/* C0, DEL, C1 and the two separators of Unicode that some viewers take for line ends. */
static bool is_control(const char *at, size_t length) {
    const unsigned char *c = (const unsigned char *)at;
    if (length == 1)
        return c[0] < 0x20 || c[0] == 0x7f;
    if (length == 2)
        return c[0] == 0xc2 && c[1] < 0xa0;
    return length == 3 && c[0] == 0xe2 && c[1] == 0x80 && (c[2] == 0xa8 || c[2] == 0xa9);
}

static void put_byte_escape(struct line *line, char byte) {
    char escape[5];
    int length = snprintf(escape, sizeof escape, "\\x%02x", (unsigned)(unsigned char)byte);
    put(line, escape, (size_t)length);
}

static void put_escaped(struct line *line, const char *text, bool quoted) {
    size_t left = strlen(text);
    while (left > 0 && !line->cut) {
        size_t length = text_character(text, left);
        if (*text == '\n') {
            put_text(line, "\\n");
        } else if (*text == '\\' || (quoted && *text == '"')) {
            put(line, (const char[]){'\\', *text}, 2);
        } else if (length == 0) {
            put_byte_escape(line, *text);
        } else if (is_control(text, length)) {
            for (size_t i = 0; i < length; i++)
                put_byte_escape(line, text[i]);
        } else {
            put(line, text, length);
        }
        if (length == 0)
            length = 1;
        text += length;
        left -= length;
    }
}

static bool is_plain(const char *value) {
    if (*value == '\0')
        return false;
    for (const char *at = value; *at != '\0'; at++)
        if ((unsigned char)*at <= ' ' || (unsigned char)*at >= 0x7f || strchr("\"\\=", *at) != NULL)
            return false;
    return true;
}

static void put_pair(struct line *line, const char *key, const char *value) {
    put_text(line, " ");
    put_escaped(line, key, false);
    put_text(line, "=");
    if (is_plain(value)) {
        put_text(line, value);
        return;
    }
    put_text(line, "\"");
    bool opened = !line->cut;
    put_escaped(line, value, true);
    if (opened)
        put_tail(line, line->cut ? "...\"" : "\"");
}

void log_line(enum log_level level, const char *message, ...) {
    if (level > start_level || level < LOG_LEVEL_ERROR)
        return;
    int saved_errno = errno;
    struct line line;
    line.length = 0;
    line.cut = false;
    char now[CLOCK_TEXT_SIZE];
    put_text(&line, clock_format(clock_wall_ms(), now));
    put_text(&line, " ");
    put_text(&line, level_names[level]);
    put_text(&line, " ");
    put_text(&line, start_program);
    put_text(&line, ": ");
    put_escaped(&line, message, false);
    va_list keys;
    va_start(keys, message);
    for (int i = 0; i < PAIRS_MAX && !line.cut; i++) {
        const char *key = va_arg(keys, const char *);
        if (key == NULL)
            break;
        const char *value = va_arg(keys, const char *);
        put_pair(&line, key, value != NULL ? value : "");
        if (value == NULL) /* which was the end of the list */
            break;
    }
    va_end(keys);
    put_tail(&line, line.cut && line.at[line.length - 1] != '"' ? "...\n" : "\n");
    /* A log that nobody can take is dropped: the program has better things to do than to wait. */
    while (write(STDERR_FILENO, line.at, line.length) < 0 && errno == EINTR)
        continue;
    errno = saved_errno;
}
