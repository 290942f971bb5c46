/* SPDX-License-Identifier: Apache-2.0
 *
 * layout.c: see layout.h.
 */
#include "layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"

void uuid_text(const struct sluice_uuid *uuid, char *ret_text) {
    static const char digits[] = "0123456789abcdef";
    char *to = ret_text;
    for (size_t i = 0; i < sizeof uuid->bytes; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *to++ = '-';
        }
        *to++ = digits[uuid->bytes[i] >> 4];
        *to++ = digits[uuid->bytes[i] & 15];
    }
    *to = '\0';
}

bool uuid_parse(const char *text, struct sluice_uuid *ret_uuid) {
    struct sluice_uuid uuid = {{0}};
    char again[UUID_TEXT];
    size_t nibbles = 0;
    if (strlen(text) != UUID_TEXT - 1) {
        return false;
    }
    for (const char *at = text; *at != '\0'; at++) {
        int value = *at >= '0' && *at <= '9'   ? *at - '0'
                    : *at >= 'a' && *at <= 'f' ? *at - 'a' + 10
                                               : -1;
        if (value >= 0 && nibbles < 32) {
            uuid.bytes[nibbles / 2] |= (uint8_t)(nibbles % 2 == 0 ? value << 4 : value);
            nibbles++;
        }
    }
    uuid_text(&uuid, again);
    if (strcmp(again, text) != 0) {
        return false;
    }
    *ret_uuid = uuid;
    return true;
}

int uuid_compare(const struct sluice_uuid *a, const struct sluice_uuid *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

bool uuid_is_zero(const struct sluice_uuid *uuid) {
    static const struct sluice_uuid zero;
    return uuid_compare(uuid, &zero) == 0;
}

void layout_volume(const struct sluice_uuid *volume, char *ret_path) {
    char text[UUID_TEXT];
    uuid_text(volume, text);
    snprintf(ret_path, SHARE_PATH_MAX, LAYOUT_VOLUMES "/%s", text);
}

void layout_file(const struct sluice_uuid *volume, const char *name, char *ret_path) {
    char text[UUID_TEXT];
    uuid_text(volume, text);
    snprintf(ret_path, SHARE_PATH_MAX, LAYOUT_VOLUMES "/%s/%s", text, name);
}

static void image_name(uint64_t generation, const char *suffix, char *ret_name) {
    snprintf(ret_name, LAYOUT_NAME, "g%06llu.%s", (unsigned long long)generation, suffix);
}

void layout_image(const struct sluice_uuid *volume, uint64_t generation, uint32_t format,
                  char *ret_path) {
    char name[LAYOUT_NAME];
    image_name(generation, image_format_name(format), name);
    layout_file(volume, name, ret_path);
}

void layout_manifest(const struct sluice_uuid *volume, uint64_t generation, char *ret_path) {
    char name[LAYOUT_NAME];
    image_name(generation, "meta", name);
    layout_file(volume, name, ret_path);
}

void layout_unmanaged(const struct sluice_uuid *volume, uint32_t format, char *ret_path) {
    char text[UUID_TEXT];
    uuid_text(volume, text);
    snprintf(ret_path, SHARE_PATH_MAX, LAYOUT_UNMANAGED "/%s.%s", text, image_format_name(format));
}

/* "g<digits>.<suffix>", and the suffix. */
static const char *parse(const char *name, uint64_t *ret_generation) {
    char again[LAYOUT_NAME];
    char *end;
    if (name[0] != 'g' || strlen(name) >= LAYOUT_NAME || name[1] < '0' || name[1] > '9') {
        return NULL;
    }
    unsigned long long generation = strtoull(name + 1, &end, 10);
    if (*end != '.') {
        return NULL;
    }
    image_name(generation, end + 1, again);
    if (generation == 0 || strcmp(again, name) != 0) {
        return NULL;
    }
    *ret_generation = generation;
    return end + 1;
}

bool layout_is_image(const char *name, uint64_t *ret_generation, uint32_t *ret_format) {
    uint64_t generation;
    const char *suffix = parse(name, &generation);
    uint32_t format = suffix != NULL ? image_format_of_name(suffix) : 0;
    if (format == 0) {
        return false;
    }
    *ret_generation = generation;
    *ret_format = format;
    return true;
}

bool layout_is_manifest(const char *name, uint64_t *ret_generation) {
    uint64_t generation;
    const char *suffix = parse(name, &generation);
    if (suffix == NULL || strcmp(suffix, "meta") != 0) {
        return false;
    }
    *ret_generation = generation;
    return true;
}

bool layout_is_unfinished(const char *name) {
    static const char suffix[] = LAYOUT_NEW_SUFFIX;
    size_t length = strlen(name);
    return length >= sizeof suffix && length < LAYOUT_NAME &&
           strcmp(name + length - (sizeof suffix - 1), suffix) == 0;
}

void layout_parent(const struct sluice_uuid *of, const struct sluice_uuid *volume,
                   uint64_t generation, uint32_t format, char *ret_name) {
    char name[LAYOUT_NAME];
    char text[UUID_TEXT];
    image_name(generation, image_format_name(format), name);
    if (uuid_compare(of, volume) == 0) {
        snprintf(ret_name, LAYOUT_PARENT, "%s", name);
    } else {
        uuid_text(volume, text);
        snprintf(ret_name, LAYOUT_PARENT, "../%s/%s", text, name);
    }
}

bool layout_is_parent(const struct sluice_uuid *of, const char *name,
                      struct sluice_uuid *ret_volume, uint64_t *ret_generation,
                      uint32_t *ret_format) {
    struct sluice_uuid volume = *of;
    char text[UUID_TEXT];
    if (strncmp(name, "../", 3) == 0) {
        if (strlen(name) < 3 + UUID_TEXT || name[3 + UUID_TEXT - 1] != '/') {
            return false;
        }
        memcpy(text, name + 3, UUID_TEXT - 1);
        text[UUID_TEXT - 1] = '\0';
        if (!uuid_parse(text, &volume)) {
            return false;
        }
        name += 3 + UUID_TEXT;
    }
    if (!layout_is_image(name, ret_generation, ret_format)) {
        return false;
    }
    *ret_volume = volume;
    return true;
}
