/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_call: what the boundary costs a data call: 4 KiB reads of the RAM driver by a real runner.
 *
 *     ring_call ring|asleep|nothing|memcpy IN_FLIGHT rate|p50|p99
 *
 * ring: through the ring, with what arrives copied out of its pages once. asleep: the same while
 * neither side looks before it sleeps, so that each call has two wake-ups. nothing: the same number
 * of NOTHING calls over the runner's socket, which carry no payload and reach no driver. memcpy: a
 * copy of 4 KiB within this process, the least that a read costs.
 */
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "measure.h"
#include "ring_client.h"
#include <sluice/driver.h>

#define BYTES 4096
#define VOLUME_BYTES (UINT64_C(16) << 20)
#define IN_FLIGHT_MAX 128
#define FIRST_WRITE (1 << 20)

static struct ring_client client;
static uint64_t began[IN_FLIGHT_MAX];

/* The folder two above this program: BUILD/bench/ring_call. */
static const char *build(void) {
    static char path[1024];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0)
        measure_fail("where is this program?");
    return dirname(dirname(path));
}

static void start(void) {
    ring_client_start(&client, build(), "ram", NULL);
    ring_client_pool(&client, NULL, NULL);
}

static void submit(uint32_t handle, uint64_t slot, uint64_t turn) {
    began[slot] = clock_mono_ns();
    ring_submit(&client.ring, &(struct ring_submission){
                                  .tag = slot,
                                  .verb = RING_READ,
                                  .handle = handle,
                                  .offset = turn * BYTES % VOLUME_BYTES,
                                  .length = BYTES,
                                  .page = (uint32_t)slot,
                              });
}

static void measure_ring(struct measure *measure, uint64_t in_flight, bool looks) {
    static uint8_t bytes[BYTES];
    struct wire_data_opened opened;
    start();
    client.sleeps = !looks;
    ring_client_attach(&client);
    if (ring_client_create(&client, 1, VOLUME_BYTES) != SLUICE_OK ||
        ring_client_open(&client, 1, 1, &opened) != SLUICE_OK)
        measure_fail("no volume");
    static uint8_t written[FIRST_WRITE];
    memset(written, 7, sizeof written);
    for (uint64_t at = 0; at < VOLUME_BYTES; at += sizeof written)
        if (ring_client_io(&client, RING_WRITE, 0, opened.handle, at, written, sizeof written)
                .status != SLUICE_OK)
            measure_fail("a write failed");
    uint64_t turn = 0;
    for (uint64_t slot = 0; slot < in_flight; slot++)
        submit(opened.handle, slot, turn++);
    ring_publish(&client.ring);
    while (!measure_over(measure)) {
        struct ring_completion completion = ring_client_wait(&client);
        do {
            if (completion.status != SLUICE_OK || completion.tag >= in_flight)
                measure_fail("a read failed");
            memcpy(bytes, ring_payload(&client.ring, (uint32_t)completion.tag, BYTES), BYTES);
            __asm__ volatile("" ::"r"(bytes) : "memory");
            measure_one(measure, began[completion.tag]);
            submit(opened.handle, completion.tag, turn++);
        } while (ring_next_completion(&client.ring, &completion));
        ring_publish(&client.ring);
    }
    ring_client_kill(&client);
}

static void measure_nothing(struct measure *measure, uint64_t in_flight) {
    static uint8_t packet[WIRE_PACKET_MAX];
    const struct wire_nothing nothing = {0};
    start();
    for (uint64_t slot = 0; slot < in_flight; slot++) {
        began[slot] = clock_mono_ns();
        ring_client_send(&client, WIRE_NOTHING, &nothing, NULL, 0);
    }
    for (uint64_t oldest = 0; !measure_over(measure); oldest = (oldest + 1) % in_flight) {
        if (recv(client.socket, packet, sizeof packet, 0) <= 0)
            measure_fail("the runner is gone");
        measure_one(measure, began[oldest]);
        began[oldest] = clock_mono_ns();
        ring_client_send(&client, WIRE_NOTHING, &nothing, NULL, 0);
    }
    ring_client_kill(&client);
}

static void measure_memcpy(struct measure *measure) {
    static uint8_t from[64][BYTES];
    static uint8_t to[BYTES];
    for (uint64_t turn = 0; !measure_over(measure); turn++) {
        uint64_t began_ns = clock_mono_ns();
        memcpy(to, from[turn % 64], BYTES);
        __asm__ volatile("" ::"r"(to) : "memory");
        measure_one(measure, began_ns);
    }
}

int main(int argc, char **argv) {
    if (argc != 4)
        measure_fail("usage: ring_call ring|asleep|nothing|memcpy IN_FLIGHT rate|p50|p99");
    uint64_t in_flight = measure_number(argv[2]);
    if (in_flight == 0 || in_flight > IN_FLIGHT_MAX)
        measure_fail("1 to %d in flight", IN_FLIGHT_MAX);
    struct measure measure;
    measure_begin(&measure, argv[3]);
    if (strcmp(argv[1], "ring") == 0)
        measure_ring(&measure, in_flight, true);
    else if (strcmp(argv[1], "asleep") == 0)
        measure_ring(&measure, in_flight, false);
    else if (strcmp(argv[1], "nothing") == 0)
        measure_nothing(&measure, in_flight);
    else if (strcmp(argv[1], "memcpy") == 0)
        measure_memcpy(&measure);
    else
        measure_fail("ring, asleep, nothing or memcpy");
    measure_print(&measure);
    return 0;
}
