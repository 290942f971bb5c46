/* SPDX-License-Identifier: Apache-2.0
 *
 * data_table.h: what the gateway has opened for data calls, by the handles that submissions name.
 *
 * A handle is an index and a count of how often the place was used, so that one that was closed
 * stays unknown. Volumes are kept apart from opens: several opens of one volume share what says
 * which calls may overlap. No lock of its own: the caller's (data.h).
 */
#ifndef SLUICE_RUNNER_DATA_TABLE_H
#define SLUICE_RUNNER_DATA_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/message.h"

#define DATA_OPENS_MAX 4096 /* an open is a file or a session of the backend's; twelve bits */

/* A volume with at least one open. */
struct data_volume {
    struct sluice_uuid volume;
    uint32_t opens;   /* 0: the place is free */
    uint32_t running; /* data calls inside the driver */
    uint32_t holds;   /* control calls that no data call may overlap */
};

struct data_open {
    bool used;
    bool closing;        /* takes no call any more */
    uint32_t generation; /* of the place */
    struct data_volume *volume;
    struct sluice_uuid snapshot;
    bool read_only;
    uint64_t epoch;
    uint64_t size_bytes;
    uint32_t io_align;
    uint64_t token;  /* as it was when opened */
    uint32_t taken;  /* calls under way or waiting */
    void *of_driver; /* its handle */
};

struct data_table {
    struct data_open opens[DATA_OPENS_MAX];
    struct data_volume volumes[DATA_OPENS_MAX];
    uint32_t end; /* no open is used from here on */
};

/* A used open that is not closing, or NULL. */
struct data_open *data_table_find(struct data_table *table, uint32_t handle);
/* A place for an open of that volume; used, all else zero. NULL: the table is full. */
struct data_open *data_table_add(struct data_table *table, const struct sluice_uuid *volume);
void data_table_remove(struct data_open *open);
uint32_t data_table_handle(const struct data_table *table, const struct data_open *open);
/* NULL: not open. */
struct data_volume *data_table_volume(struct data_table *table, const struct sluice_uuid *volume);

#endif
