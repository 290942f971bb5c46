/* SPDX-License-Identifier: Apache-2.0
 *
 * poison.c: the RAM driver, with one block that ends whoever touches it: at POISON_OFFSET a read or
 * a write kills the process. It takes the place of the RAM driver's io.c.
 */
#define ram_add_data_calls ram_add_good_data_calls
#include "io.c"
#undef ram_add_data_calls

#include <signal.h>

#define POISON_OFFSET (UINT64_C(48) << 20)

void ram_add_data_calls(struct sluice_storage *table);

static void die_of(const struct sluice_io *io) {
    if (io->offset <= POISON_OFFSET && POISON_OFFSET - io->offset < io->length)
        raise(SIGKILL);
}

static void poisoned_read(void *handle, struct sluice_io *io) {
    die_of(io);
    data_read(handle, io);
}

static void poisoned_write(void *handle, struct sluice_io *io) {
    die_of(io);
    data_write(handle, io);
}

void ram_add_data_calls(struct sluice_storage *table) {
    ram_add_good_data_calls(table);
    table->data_read = poisoned_read;
    table->data_write = poisoned_write;
}
