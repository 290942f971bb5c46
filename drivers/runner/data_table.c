/* SPDX-License-Identifier: Apache-2.0
 *
 * data_table.c: see data_table.h.
 */
#include "runner/data_table.h"

#include "base/check.h"
#include "base/uuid.h"

#define INDEX_BITS 12
#define INDEX_MASK ((1u << INDEX_BITS) - 1)

_Static_assert(DATA_OPENS_MAX == 1 << INDEX_BITS, "a handle holds an index");

struct data_open *data_table_find(struct data_table *table, uint32_t handle) {
    struct data_open *open = &table->opens[handle & INDEX_MASK];
    bool good = open->used && !open->closing && data_table_handle(table, open) == handle;
    return good ? open : NULL;
}

uint32_t data_table_handle(const struct data_table *table, const struct data_open *open) {
    return (uint32_t)(open - table->opens) | open->generation << INDEX_BITS;
}

struct data_volume *data_table_volume(struct data_table *table, const struct sluice_uuid *volume) {
    for (uint32_t i = 0; i < table->end; i++)
        if (table->volumes[i].opens > 0 && uuid_equal(&table->volumes[i].volume, volume))
            return &table->volumes[i];
    return NULL;
}

static struct data_volume *volume_take(struct data_table *table, const struct sluice_uuid *id) {
    struct data_volume *volume = data_table_volume(table, id);
    for (uint32_t i = 0; volume == NULL && i < table->end; i++)
        if (table->volumes[i].opens == 0) {
            volume = &table->volumes[i];
            *volume = (struct data_volume){.volume = *id};
        }
    CHECK(volume != NULL); /* as many places as opens */
    volume->opens++;
    return volume;
}

struct data_open *data_table_add(struct data_table *table, const struct sluice_uuid *volume) {
    uint32_t index = 0;
    while (index < DATA_OPENS_MAX && table->opens[index].used)
        index++;
    if (index == DATA_OPENS_MAX)
        return NULL;
    if (index >= table->end)
        table->end = index + 1;
    struct data_open *open = &table->opens[index];
    *open = (struct data_open){.used = true, .generation = open->generation + 1};
    open->volume = volume_take(table, volume);
    return open;
}

void data_table_remove(struct data_open *open) {
    CHECK(open->used && open->taken == 0);
    open->used = false;
    open->volume->opens--;
}
