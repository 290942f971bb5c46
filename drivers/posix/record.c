/* SPDX-License-Identifier: Apache-2.0
 *
 * record.c: see record.h.
 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layout.h"
#include "step.h"

#define END_LINE 13 /* "end=" 8 digits "\n" */

static uint32_t checksum(const char *bytes, size_t length) {
    uint32_t crc = UINT32_MAX; /* CRC-32 of ISO-HDLC, as in zip */
    for (size_t i = 0; i < length; i++) {
        crc ^= (uint8_t)bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
        }
    }
    return ~crc;
}

static void append(struct record *record, const char *bytes, size_t length) {
    if (length > sizeof record->text - END_LINE - record->length) {
        record->overflow = true;
        return;
    }
    memcpy(record->text + record->length, bytes, length);
    record->length += length;
}

void record_begin(struct record *record, const char *kind) {
    record->length = 0;
    record->overflow = false;
    append(record, kind, strlen(kind));
    append(record, " 1\n", 3);
}

void record_put(struct record *record, const char *key, const char *value) {
    append(record, key, strlen(key));
    append(record, "=", 1);
    for (; *value != '\0'; value++) {
        unsigned char byte = (unsigned char)*value;
        if (byte < ' ' || byte == '%' || byte == 127) {
            char escaped[4];
            snprintf(escaped, sizeof escaped, "%%%02X", byte);
            append(record, escaped, 3);
        } else {
            append(record, value, 1);
        }
    }
    append(record, "\n", 1);
}

void record_put_number(struct record *record, const char *key, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    record_put(record, key, text);
}

void record_put_uuid(struct record *record, const char *key, const struct sluice_uuid *value) {
    char text[UUID_TEXT];
    uuid_text(value, text);
    record_put(record, key, text);
}

int record_store(struct record *record, int directory, const char *name, bool replace) {
    char unfinished[LAYOUT_NAME];
    snprintf(unfinished, sizeof unfinished, "%s" LAYOUT_NEW_SUFFIX, name);
    if (record->overflow) {
        errno = E2BIG;
        return -1;
    }
    char end[END_LINE + 1];
    snprintf(end, sizeof end, "end=%08x\n", checksum(record->text, record->length));
    memcpy(record->text + record->length, end, END_LINE);
    if (unlinkat(directory, unfinished, 0) != 0 && errno != ENOENT) {
        return -1;
    }
    int fd = beneath_open(directory, unfinished, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0) {
        return -1;
    }
    bool written = write_all(fd, record->text, record->length + END_LINE, 0) == 0 && fsync(fd) == 0;
    close_quietly(&fd);
    STEP(record_written);
    if (!written || publish(directory, unfinished, directory, name, replace) != 0) {
        int error = errno;
        unlinkat(directory, unfinished, 0);
        errno = error;
        return -1;
    }
    STEP(record_published);
    return 0;
}

int record_load(struct record *record, int directory, const char *name, const char *kind) {
    int fd = beneath_open(directory, name, O_RDONLY, 0);
    if (fd < 0) {
        return -1;
    }
    ssize_t n = pread(fd, record->text, sizeof record->text, 0);
    close_quietly(&fd);
    if (n < 0) {
        return -1;
    }
    size_t length = (size_t)n;
    char head[LAYOUT_NAME];
    char end[END_LINE + 1];
    snprintf(head, sizeof head, "%s 1\n", kind);
    errno = EBADMSG;
    if (length < strlen(head) + END_LINE || length == sizeof record->text ||
        memcmp(record->text, head, strlen(head)) != 0 || memchr(record->text, 0, length) != NULL) {
        return -1;
    }
    record->length = length - END_LINE;
    record->overflow = false;
    snprintf(end, sizeof end, "end=%08x\n", checksum(record->text, record->length));
    return memcmp(record->text + record->length, end, END_LINE) == 0 ? 0 : -1;
}

static bool unescape(const char *from, const char *end, char *ret_value, size_t room) {
    size_t length = 0;
    while (from < end) {
        char byte = *from++;
        if (byte == '%') {
            char digits[3] = {0};
            if (end - from < 2) {
                return false;
            }
            memcpy(digits, from, 2);
            byte = (char)strtoul(digits, NULL, 16);
            from += 2;
        }
        if (byte == '\0' || length + 1 >= room) {
            return false;
        }
        ret_value[length++] = byte;
    }
    ret_value[length] = '\0';
    return true;
}

bool record_next(const struct record *record, size_t *cursor, const char *key, char *ret_value,
                 size_t room) {
    size_t length = strlen(key);
    while (*cursor < record->length) {
        const char *line = record->text + *cursor;
        const char *end = memchr(line, '\n', record->length - *cursor);
        if (end == NULL) {
            return false;
        }
        *cursor = (size_t)(end - record->text) + 1;
        if ((size_t)(end - line) > length && memcmp(line, key, length) == 0 &&
            line[length] == '=') {
            return unescape(line + length + 1, end, ret_value, room);
        }
    }
    return false;
}

bool record_get(const struct record *record, const char *key, char *ret_value, size_t room) {
    size_t cursor = 0;
    return record_next(record, &cursor, key, ret_value, room);
}

bool record_get_number(const struct record *record, const char *key, uint64_t *ret_value) {
    char text[24];
    char *end;
    if (!record_get(record, key, text, sizeof text) || text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*end != '\0' || errno != 0) {
        return false;
    }
    *ret_value = value;
    return true;
}

bool record_get_uuid(const struct record *record, const char *key, struct sluice_uuid *ret_value) {
    char text[UUID_TEXT];
    return record_get(record, key, text, sizeof text) && uuid_parse(text, ret_value);
}
