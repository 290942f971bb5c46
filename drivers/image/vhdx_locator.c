/* SPDX-License-Identifier: Apache-2.0
 *
 * vhdx_locator.c: who the parent is.
 *
 * A name is UTF-8 with '/' to the outside, and a relative Windows path in UTF-16 in the file: what
 * is written for "../a/b.vhdx" is "..\a\b.vhdx", for "b.vhdx" it is ".\b.vhdx".
 */
#include <stdio.h>
#include <string.h>

#include "image/vhdx.h"

static const uint8_t locator_type[VHDX_GUID_BYTES] = VHDX_LOCATOR_IS_VHDX;

/* ---- text ------------------------------------------------------------------------------------ */

/* One character of UTF-8, at most U+10FFFF; 0: it is none. */
static uint32_t utf8_next(const char **at) {
    const uint8_t *from = (const uint8_t *)*at;
    uint32_t more = from[0] < 0x80 ? 0 : from[0] >= 0xf0 ? 3 : from[0] >= 0xe0 ? 2 : 1;
    static const uint32_t least[] = {1, 0x80, 0x800, 0x10000};
    uint32_t value = more == 0 ? from[0] : from[0] & (0x3fu >> more);
    if (more > 0 && (from[0] < 0xc0 || from[0] > 0xf7))
        return 0;
    for (uint32_t i = 1; i <= more; i++) {
        if ((from[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (from[i] & 0x3f);
    }
    if (value < least[more] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
        return 0;
    *at += more + 1;
    return value;
}

static uint32_t utf16_add(uint8_t *to, uint32_t used, uint32_t value) {
    if (value < 0x10000) {
        vhdx_store16(to + used, value);
        return used + 2;
    }
    vhdx_store16(to + used, 0xd800 + ((value - 0x10000) >> 10));
    vhdx_store16(to + used + 2, 0xdc00 + ((value - 0x10000) & 0x3ff));
    return used + 4;
}

static uint32_t ascii_add(uint8_t *to, uint32_t used, const char *text) {
    for (; *text != '\0'; text++)
        used = utf16_add(to, used, (uint8_t)*text);
    return used;
}

/* False: no text, or longer than `room` bytes with its NUL. */
static bool utf16_to_utf8(const uint8_t *from, uint32_t length, char *ret, size_t room) {
    size_t used = 0;
    for (uint32_t i = 0; i + 2 <= length; i += 2) {
        uint32_t value = vhdx_load16(from + i);
        if (value >= 0xd800 && value < 0xdc00 && i + 4 <= length &&
            (vhdx_load16(from + i + 2) & 0xfc00) == 0xdc00) {
            value = 0x10000 + ((value & 0x3ff) << 10) + (vhdx_load16(from + i + 2) & 0x3ff);
            i += 2;
        }
        uint32_t more = value < 0x80 ? 0 : value < 0x800 ? 1 : value < 0x10000 ? 2 : 3;
        if (value == 0 || (value >= 0xd800 && value < 0xe000) || used + more + 2 > room)
            return false;
        static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
        ret[used++] = (char)(lead[more] | value >> (6 * more));
        while (more-- > 0)
            ret[used++] = (char)(0x80 | (value >> (6 * more) & 0x3f));
    }
    ret[used] = '\0';
    return used > 0 && length % 2 == 0;
}

static void guid_print(const uint8_t *guid, char ret[VHDX_LINKAGE_CHARACTERS + 1]) {
    snprintf(ret, VHDX_LINKAGE_CHARACTERS + 1, "{%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x}",
             vhdx_load32(guid), vhdx_load16(guid + 4), vhdx_load16(guid + 6), guid[8], guid[9],
             guid[10], guid[11], guid[12], guid[13], guid[14], guid[15]);
}

static bool guid_parse(const char *text, uint8_t ret[VHDX_GUID_BYTES]) {
    unsigned int a;
    unsigned int b;
    unsigned int c;
    unsigned int d[8];
    int end = 0;
    if (strlen(text) != VHDX_LINKAGE_CHARACTERS ||
        sscanf(text, "{%8x-%4x-%4x-%2x%2x-%2x%2x%2x%2x%2x%2x}%n", &a, &b, &c, &d[0], &d[1], &d[2],
               &d[3], &d[4], &d[5], &d[6], &d[7], &end) != 11 ||
        end != (int)VHDX_LINKAGE_CHARACTERS)
        return false;
    vhdx_store32(ret, a);
    vhdx_store16(ret + 4, b);
    vhdx_store16(ret + 6, c);
    for (uint32_t i = 0; i < 8; i++)
        ret[8 + i] = (uint8_t)d[i];
    return true;
}

/* ---- making ---------------------------------------------------------------------------------- */

static int32_t path_add(uint8_t *to, uint32_t *used, const char *name, struct image_error *error) {
    if (name[0] != '.')
        *used = ascii_add(to, *used, ".\\");
    while (*name != '\0') {
        uint32_t value = utf8_next(&name);
        if (value == 0 || value == '\\' || value == ':') {
            image_error_set(error, "a VHDX names its parent by a relative path of UTF-8 with '/', "
                                   "without ':' and '\\'");
            return SLUICE_INVALID;
        }
        *used = utf16_add(to, *used, value == '/' ? '\\' : value);
    }
    return SLUICE_OK;
}

static void pair_set(uint8_t *page, uint32_t index, uint32_t key, uint32_t value, uint32_t end) {
    uint8_t *pair = page + VHDX_LOCATOR_ENTRIES + (size_t)index * VHDX_PAIR_BYTES;
    vhdx_store32(pair + VHDX_PAIR_KEY_OFFSET, key);
    vhdx_store32(pair + VHDX_PAIR_VALUE_OFFSET, value);
    vhdx_store16(pair + VHDX_PAIR_KEY_LENGTH, value - key);
    vhdx_store16(pair + VHDX_PAIR_VALUE_LENGTH, end - value);
}

int32_t vhdx_locator_make(const char *name, const struct image *parent,
                          uint8_t ret_page[VHDX_PAGE_BYTES], uint32_t *ret_length,
                          struct image_error *error) {
    if (parent == NULL || parent->ops != &image_vhdx_ops) {
        image_error_set(error,
                        "a VHDX has a VHDX as parent, which has to be open to say who it is");
        return SLUICE_INVALID;
    }
    if (name[0] == '/') {
        image_error_set(error, "a VHDX names its parent by a relative path");
        return SLUICE_INVALID;
    }
    uint8_t page[VHDX_PAGE_BYTES] = {0};
    char linkage[VHDX_LINKAGE_CHARACTERS + 1];
    guid_print(vhdx_of_const(parent)->header.data_write, linkage);
    memcpy(page + VHDX_LOCATOR_TYPE, locator_type, VHDX_GUID_BYTES);
    vhdx_store16(page + VHDX_LOCATOR_COUNT, 2);
    uint32_t key = VHDX_LOCATOR_ENTRIES + 2 * VHDX_PAIR_BYTES;
    uint32_t value = ascii_add(page, key, "parent_linkage");
    uint32_t end = ascii_add(page, value, linkage);
    pair_set(page, 0, key, value, end);
    key = end;
    value = ascii_add(page, key, "relative_path");
    end = value;
    int32_t status = path_add(page, &end, name, error);
    if (status != SLUICE_OK)
        return status;
    pair_set(page, 1, key, value, end);
    memcpy(ret_page, page, sizeof page);
    *ret_length = end;
    return SLUICE_OK;
}

_Static_assert(VHDX_LOCATOR_ENTRIES + 2 * VHDX_PAIR_BYTES + 2 * (14 + 38 + 13 + 2) +
                       2 * IMAGE_NAME_MAX <=
                   VHDX_PAGE_BYTES,
               "the longest name fits into a page");

/* ---- parsing --------------------------------------------------------------------------------- */

struct paths {
    char relative[IMAGE_NAME_MAX];
    char volume[IMAGE_NAME_MAX];
    char absolute[IMAGE_NAME_MAX];
};

/* One pair; false: it makes no sense. Keys that are not known are passed over. */
static bool pair_take(struct vhdx *v, const char *key, const uint8_t *value, uint32_t length,
                      struct paths *paths) {
    char text[VHDX_LINKAGE_CHARACTERS + 1];
    if (strcmp(key, "parent_linkage") == 0)
        return utf16_to_utf8(value, length, text, sizeof text) && guid_parse(text, v->linkage[0]);
    if (strcmp(key, "parent_linkage2") == 0)
        return utf16_to_utf8(value, length, text, sizeof text) && guid_parse(text, v->linkage[1]);
    char *path = strcmp(key, "relative_path") == 0         ? paths->relative
                 : strcmp(key, "volume_path") == 0         ? paths->volume
                 : strcmp(key, "absolute_win32_path") == 0 ? paths->absolute
                                                           : NULL;
    return path == NULL || utf16_to_utf8(value, length, path, IMAGE_NAME_MAX);
}

static int32_t damaged(struct image_error *error) {
    image_error_set(error, "what the VHDX says about its parent is damaged or too long");
    return SLUICE_CORRUPT;
}

int32_t vhdx_locator_parse(struct vhdx *v, const uint8_t *item, uint32_t length,
                           struct image_error *error) {
    if (length < VHDX_LOCATOR_ENTRIES)
        return damaged(error);
    if (memcmp(item + VHDX_LOCATOR_TYPE, locator_type, VHDX_GUID_BYTES) != 0) {
        image_error_set(error, "the parent of the VHDX is no VHDX: that is not known here");
        return SLUICE_UNSUPPORTED;
    }
    struct paths paths = {.relative = ""};
    uint32_t count = vhdx_load16(item + VHDX_LOCATOR_COUNT);
    if (count > (length - VHDX_LOCATOR_ENTRIES) / VHDX_PAIR_BYTES)
        return damaged(error);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *pair = item + VHDX_LOCATOR_ENTRIES + (size_t)i * VHDX_PAIR_BYTES;
        uint32_t key_at = vhdx_load32(pair + VHDX_PAIR_KEY_OFFSET);
        uint32_t value_at = vhdx_load32(pair + VHDX_PAIR_VALUE_OFFSET);
        uint32_t key_length = vhdx_load16(pair + VHDX_PAIR_KEY_LENGTH);
        uint32_t value_length = vhdx_load16(pair + VHDX_PAIR_VALUE_LENGTH);
        char key[64];
        if (key_at > length || key_length > length - key_at || value_at > length ||
            value_length > length - value_at)
            return damaged(error);
        /* What has a longer name is none that is known. */
        if (!utf16_to_utf8(item + key_at, key_length, key, sizeof key))
            continue;
        if (!pair_take(v, key, item + value_at, value_length, &paths))
            return damaged(error);
    }
    char *path = paths.relative[0] != '\0' ? paths.relative
                 : paths.volume[0] != '\0' ? paths.volume
                                           : paths.absolute;
    if (path[0] == '\0' || memcmp(v->linkage[0], vhdx_guid_zero, VHDX_GUID_BYTES) == 0)
        return damaged(error);
    for (char *at = path; *at != '\0'; at++)
        if (*at == '\\')
            *at = '/';
    if (strncmp(path, "./", 2) == 0 && path[2] != '\0')
        path += 2;
    snprintf(v->image.parent_name, sizeof v->image.parent_name, "%s", path);
    v->image.parent_format = IMAGE_FORMAT_VHDX;
    return SLUICE_OK;
}

int32_t vhdx_attach(struct image *image, struct image *parent, struct image_error *error) {
    const struct vhdx *v = vhdx_of_const(image);
    if (parent->ops != &image_vhdx_ops) {
        image_error_set(error, "the parent of the VHDX is no VHDX: it was replaced");
        return SLUICE_CORRUPT;
    }
    const struct vhdx *below = vhdx_of_const(parent);
    if (below->sector_bytes != v->sector_bytes) {
        image_error_set(error, "the parent has sectors of %u bytes, and the VHDX of %u",
                        below->sector_bytes, v->sector_bytes);
        return SLUICE_CORRUPT;
    }
    for (uint32_t i = 0; i < 2; i++)
        if (memcmp(v->linkage[i], vhdx_guid_zero, VHDX_GUID_BYTES) != 0 &&
            memcmp(v->linkage[i], below->header.data_write, VHDX_GUID_BYTES) == 0)
            return SLUICE_OK;
    char said[VHDX_LINKAGE_CHARACTERS + 1];
    char found[VHDX_LINKAGE_CHARACTERS + 1];
    guid_print(v->linkage[0], said);
    guid_print(below->header.data_write, found);
    image_error_set(error,
                    "the VHDX wants the parent %s, and %s is there: it was swapped, or written "
                    "after this overlay was made; put back the right file",
                    said, found);
    return SLUICE_CORRUPT;
}
