/* SPDX-License-Identifier: Apache-2.0
 *
 * record.c: see record.h.
 */
#include "record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"
#include "step.h"

#define FIRST_BYTES 4096 /* what most records fit in */
#define END_LINE 13      /* "end=" 8 digits "\n" */

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

static bool grow(struct record *record, size_t room) {
    if (room > RECORD_MAX && record->room < RECORD_MAX) {
        room = RECORD_MAX;
    }
    if (room > RECORD_MAX) {
        record->status = SLUICE_LIMIT;
        return false;
    }
    char *text = realloc(record->text, room);
    if (text == NULL) {
        record->status = SLUICE_NO_MEMORY;
        return false;
    }
    record->text = text;
    record->room = room;
    return true;
}

static void append(struct record *record, const char *bytes, size_t length) {
    if (record->status != SLUICE_OK ||
        (length + END_LINE > record->room - record->length &&
         !grow(record, record->room + FIRST_BYTES + record->room / 2))) {
        return;
    }
    memcpy(record->text + record->length, bytes, length);
    record->length += length;
}

void record_begin(struct record *record, const char *kind) {
    char head[64];
    *record = (struct record){.status = SLUICE_OK};
    int length = snprintf(head, sizeof head, "%s %d\n", kind, RECORD_FORMAT);
    append(record, head, (size_t)length);
}

void record_release(struct record *record) {
    free(record->text);
    record->text = NULL;
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

int32_t record_store(struct record *record, struct share_fs *fs, struct sluice_call *call,
                     const char *path, bool replace) {
    char end[END_LINE + 1];
    if (record->status != SLUICE_OK) {
        return record->status;
    }
    snprintf(end, sizeof end, "end=%08x\n", checksum(record->text, record->length));
    memcpy(record->text + record->length, end, END_LINE);
    int32_t status =
        fs->ops->store(fs, call, path, record->text, record->length + END_LINE, replace);
    STEP(record_published);
    return status;
}

/* OK with *ret_length bytes of the file in the record. */
static int32_t load(struct record *record, struct share_fs *fs, struct sluice_call *call,
                    const char *path, size_t *ret_length) {
    int32_t status = SLUICE_LIMIT;
    for (size_t room = FIRST_BYTES; status == SLUICE_LIMIT && room <= RECORD_MAX; room *= 8) {
        if (!grow(record, room)) {
            return record->status;
        }
        status = fs->ops->load(fs, call, path, record->text, room, ret_length);
    }
    return status == SLUICE_LIMIT ? SLUICE_CORRUPT : status;
}

int32_t record_load(struct record *record, struct share_fs *fs, struct sluice_call *call,
                    const char *path, const char *kind) {
    char end[END_LINE + 1];
    size_t length;
    size_t kind_length = strlen(kind);
    *record = (struct record){.status = SLUICE_OK};
    int32_t status = load(record, fs, call, path, &length);
    if (status != SLUICE_OK) {
        return status;
    }
    if (length < kind_length + 3 + END_LINE || memcmp(record->text, kind, kind_length) != 0 ||
        record->text[kind_length] != ' ' || memchr(record->text, 0, length) != NULL) {
        return SLUICE_CORRUPT;
    }
    record->length = length - END_LINE;
    snprintf(end, sizeof end, "end=%08x\n", checksum(record->text, record->length));
    if (memcmp(record->text + record->length, end, END_LINE) != 0) {
        return SLUICE_CORRUPT;
    }
    return record->text[kind_length + 1] == '0' + RECORD_FORMAT &&
                   record->text[kind_length + 2] == '\n'
               ? SLUICE_OK
               : SLUICE_UNSUPPORTED;
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
