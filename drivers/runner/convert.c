/* SPDX-License-Identifier: Apache-2.0
 *
 * convert.c: member by member.
 */
#include "runner/convert.h"

#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/uuid.h"

#define ENTRIES_MAX 57344 /* of wire_page.entries */
/* version, count; three 8 or 16 byte members and one more; name; format; the entry's own length */
#define ENTRY_MAX (4 + 16 + 16 + 8 + 8 + 4 + (SLUICE_NAME_MAX - 1) + 4 + 15 + 4)
_Static_assert(WIRE_PAGE_ENTRIES *ENTRY_MAX <= ENTRIES_MAX, "a full page fits");

/* ---- towards the driver --------------------------------------------------------------------- */

static bool property_value(const char *value, struct sluice_property *ret) {
    char kind = value[0];
    if (kind == '\0' || value[1] != ':')
        return false;
    const char *text = value + 2;
    switch (kind) {
    case 's':
        ret->kind = SLUICE_PROPERTY_STRING;
        ret->text = text;
        return true;
    case 'n':
        ret->kind = SLUICE_PROPERTY_NUMBER;
        return num_parse_i64(text, &ret->integer);
    case 'b':
        ret->kind = SLUICE_PROPERTY_BOOLEAN;
        return num_parse_i64(text, &ret->integer) && (ret->integer == 0 || ret->integer == 1);
    case 'd':
        ret->kind = SLUICE_PROPERTY_DATE;
        ret->text = text;
        return clock_parse(text, &ret->integer);
    default:
        return false;
    }
}

bool convert_properties(const struct text_pairs *pairs, struct arena *arena,
                        struct sluice_properties *ret, struct err *err) {
    struct sluice_property *at = arena_array(arena, pairs->count, sizeof *at);
    if (at == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for the properties");
    for (uint32_t i = 0; i < pairs->count; i++) {
        at[i].name = pairs->at[i].name;
        if (!property_value(pairs->at[i].value, &at[i]))
            return err_set(err, ERR_INVALID, "the property %s came without a value of its kind",
                           pairs->at[i].name);
    }
    *ret = (struct sluice_properties){.at = at, .count = pairs->count};
    return true;
}

/* ---- from the driver ------------------------------------------------------------------------ */

bool convert_text(const char *text, size_t size, const char *what, struct err *err) {
    size_t length = strnlen(text, size);
    if (length == size)
        return err_set(err, ERR_INTERNAL, "returned a %s that does not end", what);
    if (!text_is_utf8(text, length))
        return err_set(err, ERR_INTERNAL, "returned a %s that is not UTF-8", what);
    return true;
}

bool convert_health(const struct sluice_health_report *from, struct wire_health *ret,
                    struct err *err) {
    if (from->health < SLUICE_HEALTH_OK || from->health > SLUICE_HEALTH_DOWN)
        return err_set(err, ERR_INTERNAL, "returned a health of %u", from->health);
    if (!convert_text(from->text, sizeof from->text, "health text", err))
        return false;
    *ret = (struct wire_health){.health = from->health, .text = from->text};
    return true;
}

static uint64_t known_caps(void) {
    uint64_t known = 0;
#define SLUICE_CAP(name, bit, sentence) known |= SLUICE_CAP_MASK(name);
#include <sluice/caps.def>
#undef SLUICE_CAP
    return known;
}

bool convert_pool(const struct sluice_pool *from, struct wire_pool *ret, struct err *err) {
    if (from->volume_size_max > INT64_MAX ||
        (from->volume_size_max != 0 && from->volume_size_min > from->volume_size_max))
        return err_set(err, ERR_INTERNAL, "states volume sizes of %llu to %llu bytes",
                       (unsigned long long)from->volume_size_min,
                       (unsigned long long)from->volume_size_max);
    if (from->name_max >= SLUICE_NAME_MAX)
        return err_set(err, ERR_INTERNAL, "states names of %u bytes", from->name_max);
    if (!convert_text(from->formats, sizeof from->formats, "list of formats", err) ||
        !convert_text(from->protocols, sizeof from->protocols, "list of protocols", err))
        return false;
    *ret = (struct wire_pool){
        .caps = from->caps & known_caps(),
        .volume_size_min = from->volume_size_min,
        .volume_size_max = from->volume_size_max,
        .volume_size_step = from->volume_size_step,
        .volumes_max = from->volumes_max,
        .snapshots_max = from->snapshots_max,
        .name_max = from->name_max,
        .chain_max = from->chain_max,
        .io_align = from->io_align,
        .io_max = from->io_max,
        .in_flight_max = from->in_flight_max,
        .lanes_max = from->lanes_max,
        .formats = from->formats,
        .protocols = from->protocols,
    };
    return true;
}

void convert_capacity(const struct sluice_capacity *from, struct wire_capacity *ret) {
    *ret = (struct wire_capacity){
        .total = from->total,
        .used = from->used,
        .provisioned = from->provisioned,
    };
}

static bool size_is_possible(uint64_t size_bytes, uint64_t size_max, struct err *err) {
    uint64_t max = size_max != 0 ? size_max : INT64_MAX;
    return size_bytes <= max ||
           err_set(err, ERR_INTERNAL, "returned a size of %llu bytes; its pool's largest is %llu",
                   (unsigned long long)size_bytes, (unsigned long long)max);
}

static bool is_asked(const struct sluice_uuid *got, const struct sluice_uuid *asked,
                     const char *what, struct err *err) {
    return uuid_equal(got, asked) ||
           err_set(err, ERR_INTERNAL, "returned another %s than the one asked for", what);
}

static bool volume_is_sound(const struct sluice_volume *from, uint64_t size_max, struct err *err) {
    return size_is_possible(from->size_bytes, size_max, err) &&
           convert_text(from->name, sizeof from->name, "name", err) &&
           convert_text(from->format, sizeof from->format, "format", err);
}

static struct wire_volume volume_to_wire(const struct sluice_volume *from) {
    return (struct wire_volume){
        .volume = from->volume,
        .size_bytes = from->size_bytes,
        .used_bytes = from->used_bytes,
        .name = from->name,
        .format = from->format,
    };
}

bool convert_volume(const struct sluice_volume *from, uint64_t size_max,
                    const struct sluice_uuid *asked, struct wire_volume *ret, struct err *err) {
    if (!is_asked(&from->volume, asked, "volume", err) || !volume_is_sound(from, size_max, err))
        return false;
    *ret = volume_to_wire(from);
    return true;
}

static bool snapshot_is_sound(const struct sluice_snapshot *from, uint64_t size_max,
                              struct err *err) {
    return size_is_possible(from->size_bytes, size_max, err) &&
           convert_text(from->name, sizeof from->name, "name", err);
}

static struct wire_snapshot snapshot_to_wire(const struct sluice_snapshot *from) {
    return (struct wire_snapshot){
        .snapshot = from->snapshot,
        .volume = from->volume,
        .size_bytes = from->size_bytes,
        .used_bytes = from->used_bytes,
        .name = from->name,
    };
}

bool convert_snapshot(const struct sluice_snapshot *from, uint64_t size_max,
                      const struct sluice_uuid *asked, const struct sluice_uuid *volume,
                      struct wire_snapshot *ret, struct err *err) {
    if (!is_asked(&from->snapshot, asked, "snapshot", err) ||
        !is_asked(&from->volume, volume, "volume of a snapshot", err) ||
        !snapshot_is_sound(from, size_max, err))
        return false;
    *ret = snapshot_to_wire(from);
    return true;
}

bool convert_connection(const struct sluice_connection *from, struct wire_connection *ret,
                        struct err *err) {
    if (!convert_text(from->protocol, sizeof from->protocol, "protocol", err) ||
        !convert_text(from->lines, sizeof from->lines, "connection", err) ||
        !convert_text(from->note, sizeof from->note, "note", err))
        return false;
    *ret = (struct wire_connection){
        .protocol = from->protocol,
        .lines = from->lines,
        .note = from->note,
    };
    return true;
}

/* ---- pages ---------------------------------------------------------------------------------- */

static bool count_is_possible(const struct sluice_list *list, struct err *err) {
    return list->count <= list->capacity ||
           err_set(err, ERR_INTERNAL, "listed %u where %u were asked for", list->count,
                   list->capacity);
}

static bool ascends(const struct sluice_uuid *before, const struct sluice_uuid *id,
                    struct err *err) {
    return uuid_compare(before, id) < 0 ||
           err_set(err, ERR_INTERNAL, "listed ids that do not ascend");
}

static void put_entry(const struct shape *shape, const void *entry, struct buf *entries) {
    size_t at = entries->length;
    buf_put_u32(entries, 0);
    shape_encode(shape, entry, entries);
    if (entries->overflow)
        return;
    size_t length = entries->length - at - 4;
    for (size_t i = 0; i < 4; i++)
        entries->at[at + i] = (uint8_t)(length >> (8 * i));
}

static bool page_end(uint32_t count, const struct buf *entries, struct wire_page *ret,
                     struct err *err) {
    if (entries->overflow)
        return err_set(err, ERR_NO_MEMORY, "had no memory left for a page");
    *ret = (struct wire_page){
        .count = count,
        .entries = {.at = entries->at, .length = (uint32_t)entries->length},
    };
    return true;
}

bool convert_volumes(const struct sluice_list *list, uint64_t size_max, struct buf *entries,
                     struct wire_page *ret, struct err *err) {
    if (!count_is_possible(list, err))
        return false;
    const struct sluice_volume *at = list->entries;
    const struct sluice_uuid *before = &list->after;
    for (uint32_t i = 0; i < list->count; before = &at[i].volume, i++) {
        if (!ascends(before, &at[i].volume, err) || !volume_is_sound(&at[i], size_max, err))
            return false;
        struct wire_volume entry = volume_to_wire(&at[i]);
        put_entry(&wire_volume_shape, &entry, entries);
    }
    return page_end(list->count, entries, ret, err);
}

bool convert_snapshots(const struct sluice_list *list, uint64_t size_max, struct buf *entries,
                       struct wire_page *ret, struct err *err) {
    if (!count_is_possible(list, err))
        return false;
    const struct sluice_snapshot *at = list->entries;
    const struct sluice_uuid *before = &list->after;
    for (uint32_t i = 0; i < list->count; before = &at[i].snapshot, i++) {
        if (!ascends(before, &at[i].snapshot, err) || !snapshot_is_sound(&at[i], size_max, err) ||
            (!uuid_is_zero(&list->volume) &&
             !is_asked(&at[i].volume, &list->volume, "volume's snapshot", err)))
            return false;
        struct wire_snapshot entry = snapshot_to_wire(&at[i]);
        put_entry(&wire_snapshot_shape, &entry, entries);
    }
    return page_end(list->count, entries, ret, err);
}
