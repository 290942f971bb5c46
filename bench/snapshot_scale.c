/* SPDX-License-Identifier: Apache-2.0
 *
 * snapshot_scale: what a snapshot costs, in microseconds at the median.
 *
 *     snapshot_scale DRIVER GIB snapshot|clone|write p50
 *
 *   DRIVER    its name; it keeps volumes below the property `path`
 *   GIB       the volume's size; 100,000 extents of 4 KiB lie anywhere in it
 *   snapshot  taking one; clone: a volume of it; write: opening the volume and the first 4 KiB
 * anywhere
 */
#include <dlfcn.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "measure.h"
#include <sluice/driver.h>

#define EXTENTS 100000
#define BLOCK 4096
#define ROUNDS 30 /* a chain that is not flattened meanwhile */
#define CHAIN_MAX 64

static const struct sluice_storage *table;
static void *pool;
static uint64_t size_bytes;
static uint64_t random_state = 88172645463325252;
static char block[BLOCK] = "bytes";
static int completed;

static void say(const struct sluice_services *services, uint32_t level, const char *text) {
    (void)services;
    if (level <= SLUICE_LOG_WARNING)
        fprintf(stderr, "%s\n", text);
}

static int32_t fail_call(const struct sluice_services *services, struct sluice_call *call,
                         int32_t status, const char *text) {
    (void)services;
    (void)call;
    fprintf(stderr, "%s\n", text);
    return status;
}

static void progress(const struct sluice_services *services, struct sluice_call *call,
                     uint64_t done, uint64_t total) {
    (void)services;
    (void)call;
    (void)done;
    (void)total;
}

static void complete(const struct sluice_services *services, struct sluice_io *io, int32_t status,
                     uint64_t token) {
    (void)services;
    (void)io;
    (void)token;
    __atomic_store_n(&completed, status == SLUICE_OK ? 1 : -1, __ATOMIC_RELEASE);
}

static void done(int32_t status, const char *what) {
    if (status != SLUICE_OK)
        measure_fail("%s: %d", what, status);
}

static void write_block(void *handle) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    struct sluice_io io = {.size = sizeof io,
                           .offset = random_state % (size_bytes / BLOCK) * BLOCK,
                           .length = BLOCK,
                           .buffer = block};
    int seen = 0;
    __atomic_store_n(&completed, 0, __ATOMIC_RELEASE);
    table->data_write(handle, &io);
    while ((seen = __atomic_load_n(&completed, __ATOMIC_ACQUIRE)) == 0)
        usleep(0);
    if (seen < 0)
        measure_fail("a write failed");
}

static void *open_volume(const struct sluice_uuid *volume) {
    static uint64_t epoch;
    const struct sluice_data_open args = {.size = sizeof args, .volume = *volume, .epoch = ++epoch};
    struct sluice_data_opened opened = {.size = sizeof opened};
    done(table->data_open(pool, NULL, &args, &opened), "data_open");
    return opened.handle;
}

static void create(const struct sluice_uuid *id, const struct sluice_uuid *of,
                   const struct sluice_uuid *snapshot) {
    struct sluice_volume told = {.size = sizeof told};
    struct sluice_volume_create args = {
        .size = sizeof args, .volume = *id, .size_bytes = size_bytes, .name = "v", .format = "raw"};
    if (snapshot != NULL) {
        args.source_kind = SLUICE_SOURCE_SNAPSHOT;
        args.source = *snapshot;
        args.source_volume = *of;
        args.format = "";
    }
    done(table->volume_create(pool, NULL, &args, &told), "volume_create");
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t one_round(const struct sluice_uuid *volume, uint8_t round, const char *what) {
    const struct sluice_uuid snapshot = {{2, round}};
    const struct sluice_uuid clone = {{3, round}};
    struct sluice_snapshot taken = {.size = sizeof taken};
    uint64_t begin = clock_mono_ns();
    done(table->snapshot_create(pool, NULL, volume, &snapshot, "s", &taken), "snapshot_create");
    uint64_t snapped = clock_mono_ns();
    create(&clone, volume, &snapshot);
    uint64_t cloned = clock_mono_ns();
    void *handle = open_volume(volume);
    write_block(handle);
    uint64_t written = clock_mono_ns();
    table->data_close(handle);
    done(table->volume_delete(pool, NULL, &clone), "volume_delete");
    return strcmp(what, "snapshot") == 0 ? snapped - begin
           : strcmp(what, "clone") == 0  ? cloned - snapped
                                         : written - cloned;
}

static const struct sluice_driver *load(const char *name) {
    char program[512] = "";
    char library[640];
    if (readlink("/proc/self/exe", program, sizeof program - 1) <= 0)
        measure_fail("where is this program?");
    snprintf(library, sizeof library, "%s/../drivers/%s-0.1.0/driver/%s.so", dirname(program), name,
             name);
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    sluice_driver_fn *entry = NULL;
    void *symbol = handle != NULL ? dlsym(handle, SLUICE_DRIVER_SYMBOL) : NULL;
    if (symbol == NULL)
        measure_fail("%s", dlerror());
    memcpy(&entry, &symbol, sizeof entry);
    return entry();
}

int main(int argc, char **argv) {
    static const struct sluice_services services = {.size = sizeof services,
                                                    .version = SLUICE_ABI,
                                                    .log = say,
                                                    .fail = fail_call,
                                                    .progress = progress,
                                                    .complete = complete};
    if (argc != 5)
        measure_fail("snapshot_scale DRIVER GIB snapshot|clone|write p50");
    char path[512];
    snprintf(path, sizeof path, "%s/snapshots.XXXXXX", measure_directory());
    if (mkdtemp(path) == NULL)
        measure_fail("cannot make %s", path);
    char *real = realpath(path, NULL);
    const struct sluice_property bag[] = {
        {.name = "path", .text = real, .kind = SLUICE_PROPERTY_STRING},
        {.name = "overcommit_percent", .integer = 0, .kind = SLUICE_PROPERTY_NUMBER},
        {.name = "chain_max", .integer = CHAIN_MAX, .kind = SLUICE_PROPERTY_NUMBER}};
    const struct sluice_properties properties = {bag, 3};
    const struct sluice_pool_open args = {.size = sizeof args,
                                          .flags = SLUICE_POOL_CLAIM,
                                          .pool = {{9}},
                                          .name = "p",
                                          .properties = &properties};
    const struct sluice_driver *driver = load(argv[1]);
    const struct sluice_uuid volume = {{1}};
    struct sluice_pool limits = {.size = sizeof limits};
    void *state = NULL;
    uint64_t took[ROUNDS];
    table = driver->table("storage", SLUICE_STORAGE_VERSION);
    size_bytes = measure_number(argv[2]) << 30;
    done(driver->start(&services, NULL, NULL, &state), "start");
    done(table->pool_open(state, NULL, &args, &limits, &pool), "pool_open");
    create(&volume, NULL, NULL);
    void *handle = open_volume(&volume);
    for (uint32_t i = 0; i < EXTENTS; i++)
        write_block(handle);
    table->data_close(handle);
    sync(); /* what is not measured */
    for (uint8_t i = 0; i < ROUNDS; i++)
        took[i] = one_round(&volume, i, argv[3]);
    qsort(took, ROUNDS, sizeof took[0], ascending);
    printf("%.1f\n", (double)took[ROUNDS / 2] / 1000);
    fflush(stdout);
    table->pool_close(pool);
    driver->stop(state);
    execlp("rm", "rm", "-rf", real, (char *)NULL);
    return 1;
}
