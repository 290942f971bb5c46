/* SPDX-License-Identifier: Apache-2.0
 *
 * kit.c: see kit.h.
 */
#include "conform/kit.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE_ENTRIES 32
#define POOL_OWN 1
#define POOL_SECOND 2
#define AWAIT_MS 2

void kit_load(struct kit *kit) {
    host_begin(&kit->host, kit->subject->library, &kit->shared->watch, kit->subject->deadline_s);
}

void kit_unload(struct kit *kit) {
    host_end(&kit->host);
}

int32_t kit_try(struct kit *kit, uint32_t id, uint32_t flags) {
    const struct sluice_uuid pool = host_id(id);
    int32_t status =
        host_open_pool(&kit->pool, &kit->host, &pool, flags, &kit->subject->properties.bag);
    kit->open = status == SLUICE_OK;
    return status;
}

void kit_open(struct kit *kit) {
    kit_load(kit);
    WANT(OPEN, &kit->pool, kit_try(kit, POOL_OWN, SLUICE_POOL_CLAIM), SLUICE_OK);
}

int32_t kit_try_second(struct kit *kit, uint32_t flags) {
    const struct sluice_uuid pool = host_id(POOL_SECOND);
    int32_t status =
        host_open_pool(&kit->pool, &kit->host, &pool, flags, &kit->subject->second.bag);
    kit->open = status == SLUICE_OK;
    return status;
}

void kit_close(struct kit *kit) {
    host_close(&kit->pool);
    kit->open = false;
    kit_unload(kit);
}

bool kit_has(const struct kit *kit, enum sluice_cap cap) {
    return (kit->shared->look.limits.caps >> cap & 1) != 0;
}

struct sluice_uuid kit_id(struct kit *kit) {
    return host_id(kit->next_id++);
}

uint64_t kit_epoch(struct kit *kit) {
    return atomic_fetch_add(&kit->shared->epoch, 1) + 1;
}

uint64_t kit_round(const struct kit *kit, uint64_t bytes) {
    const struct sluice_pool *limits = &kit->shared->look.limits;
    uint64_t step = limits->volume_size_step > 0 ? limits->volume_size_step : 1;
    uint64_t least = bytes > limits->volume_size_min ? bytes : limits->volume_size_min;
    return (least + step - 1) / step * step;
}

_Noreturn void kit_skip(struct kit *kit, const char *why) {
    if (atomic_exchange(&kit->shared->claimed, 1) == 0) {
        snprintf(kit->shared->text, sizeof kit->shared->text, "%s", why);
        kit->shared->verdict = VERDICT_SKIPPED;
    }
    _exit(0);
}

void kit_note(struct kit *kit, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(kit->shared->note, sizeof kit->shared->note, format, args);
    va_end(args);
}

/* ---- processes ---------------------------------------------------------------------------- */

int kit_spawn(struct kit *kit, uint32_t lane, kit_fn *what) {
    pid_t process = fork();
    EXPECT(START, process >= 0, "the kit cannot fork: %s", strerror(errno));
    if (process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        watch_lane(lane);
        what(kit);
        _exit(0);
    }
    return process;
}

void kit_join(struct kit *kit, int process, int signal) {
    int status;
    while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    if (kit->shared->verdict != VERDICT_NONE) {
        _exit(kit->shared->verdict == VERDICT_FAILED ? 1 : 0);
    }
    if (WIFSIGNALED(status)) {
        uint64_t running_ms;
        const char *call = watch_last(&kit->shared->watch, &running_ms);
        EXPECT(STAYS, WTERMSIG(status) == signal, "signal %d (%s) in %s", WTERMSIG(status),
               strsignal(WTERMSIG(status)), call);
        watch_forget(&kit->shared->watch);
        return;
    }
    EXPECT(STAYS, WEXITSTATUS(status) == 0, "the process ended itself with %d",
           WEXITSTATUS(status));
}

void kit_run(struct kit *kit, kit_fn *what) {
    kit_join(kit, kit_spawn(kit, 0, what), 0);
}

void kit_reach(struct kit *kit, uint32_t phase) {
    atomic_store(&kit->shared->phase, phase);
}

void kit_await(struct kit *kit, uint32_t phase) {
    uint64_t begun_ms = watch_now_ms();
    while (atomic_load(&kit->shared->phase) < phase) {
        if (kit->shared->verdict != VERDICT_NONE) {
            _exit(1);
        }
        EXPECT(RETURNS, watch_now_ms() - begun_ms < UINT64_C(3000) * kit->subject->deadline_s,
               "another process of the test did not get to phase %u", phase);
        usleep(1000 * AWAIT_MS);
    }
}

/* ---- short words -------------------------------------------------------------------------- */

void kit_want(enum rule rule, const struct host_pool *pool, int32_t status, int32_t wanted) {
    if (status != wanted) {
        expect_failed(rule, "%s answered %s%s%s%s, wanted is %s", pool->asked, status_name(status),
                      pool->call.text[0] != '\0' ? " (\"" : "", pool->call.text,
                      pool->call.text[0] != '\0' ? "\")" : "", status_name(wanted));
    }
}

void kit_want_io(enum rule rule, int32_t status, int32_t wanted, const char *what) {
    if (status != wanted) {
        expect_failed(rule, "%s was completed with %s, wanted is %s", what, status_name(status),
                      status_name(wanted));
    }
}

struct sluice_uuid kit_volume(struct kit *kit, uint64_t size) {
    struct sluice_uuid id = kit_id(kit);
    struct sluice_volume told;
    WANT(CREATE, &kit->pool, host_create(&kit->pool, &id, "a volume", size, &told), SLUICE_OK);
    EXPECT(RESULT, told.size_bytes == size, "volume_create of %llu bytes tells %llu",
           (unsigned long long)size, (unsigned long long)told.size_bytes);
    return id;
}

struct sluice_uuid kit_snapshot(struct kit *kit, const struct sluice_uuid *volume) {
    struct sluice_uuid id = kit_id(kit);
    struct sluice_snapshot told;
    WANT(SNAPSHOT, &kit->pool, host_snapshot(&kit->pool, volume, &id, "a snapshot", &told),
         SLUICE_OK);
    return id;
}

void kit_data_open(struct kit *kit, struct host_data *data, const struct sluice_uuid *volume,
                   const struct sluice_uuid *snapshot, bool read_only) {
    int32_t status =
        host_data_open_patiently(data, &kit->pool, volume, snapshot, kit_epoch(kit), read_only);
    WANT(EPOCH, &kit->pool, status, SLUICE_OK);
}

/* The largest piece that one data call may have. */
static uint64_t piece(const struct host_data *data, uint64_t length) {
    uint64_t most = data->pool->limits.io_max > 0 ? data->pool->limits.io_max : length;
    return length < most ? length : most;
}

static uint8_t *take_buffer(uint64_t length) {
    uint8_t *bytes = calloc(1, length > 0 ? length : 1);
    EXPECT(BYTES, bytes != NULL, "there is no memory for the kit itself");
    return bytes;
}

void kit_write(struct host_data *data, uint64_t pattern, uint64_t offset, uint64_t length,
               bool flush) {
    uint8_t *bytes = take_buffer(piece(data, length));
    for (uint64_t at = 0; at < length;) {
        uint64_t here = piece(data, length - at);
        if (pattern != 0) {
            pattern_fill(pattern, offset + at, bytes, here);
        }
        WANT_IO(BYTES, host_write(data, offset + at, bytes, here, 0), SLUICE_OK, "a write");
        at += here;
    }
    if (flush) {
        WANT_IO(FLUSH, host_flush(data), SLUICE_OK, "a flush");
    }
    free(bytes);
}

void kit_read(enum rule rule, struct host_data *data, uint64_t pattern, uint64_t offset,
              uint64_t length, const char *what) {
    uint8_t *bytes = take_buffer(piece(data, length));
    for (uint64_t at = 0; at < length;) {
        uint64_t here = piece(data, length - at);
        WANT_IO(BYTES, host_read(data, offset + at, bytes, here), SLUICE_OK, "a read");
        for (uint64_t i = 0; i < here; i++) {
            uint64_t place = offset + at + i;
            uint8_t wanted = pattern != 0 ? pattern_byte(pattern, place) : 0;
            if (bytes[i] != wanted) {
                expect_failed(rule, "%s: at %llu stands %02x, wanted is %02x", what,
                              (unsigned long long)place, bytes[i], wanted);
            }
        }
        at += here;
    }
    free(bytes);
}

void kit_put(struct kit *kit, const struct sluice_uuid *volume, uint64_t pattern, uint64_t offset,
             uint64_t length) {
    struct host_data data;
    kit_data_open(kit, &data, volume, NULL, false);
    kit_write(&data, pattern, offset, length, true);
    host_data_close(&data);
}

void kit_expect(struct kit *kit, enum rule rule, const struct sluice_uuid *volume,
                const struct sluice_uuid *snapshot, uint64_t pattern, uint64_t offset,
                uint64_t length, const char *what) {
    struct host_data data;
    kit_data_open(kit, &data, volume, snapshot, true);
    EXPECT(RESULT, data.opened.size_bytes >= offset + length,
           "%s: data_open tells %llu bytes, wanted are at least %llu", what,
           (unsigned long long)data.opened.size_bytes, (unsigned long long)(offset + length));
    kit_read(rule, &data, pattern, offset, length, what);
    host_data_close(&data);
}

bool kit_is_listed(struct kit *kit, const struct sluice_uuid *volume) {
    struct sluice_volume page[PAGE_ENTRIES];
    struct sluice_list list = {.size = sizeof list, .capacity = PAGE_ENTRIES, .entries = page};
    do {
        memset(page, 0, sizeof page);
        for (uint32_t i = 0; i < PAGE_ENTRIES; i++) {
            page[i].size = sizeof page[i];
        }
        WANT(LIST, &kit->pool, host_list(&kit->pool, &list), SLUICE_OK);
        for (uint32_t i = 0; i < list.count; i++) {
            if (memcmp(&page[i].volume, volume, sizeof *volume) == 0) {
                return true;
            }
            list.after = page[i].volume;
        }
    } while (list.count == list.capacity);
    return false;
}
