/* SPDX-License-Identifier: Apache-2.0
 *
 * ring_client.h: the gateway and sluice-data in one, against one real sluice-runner process.
 *
 * Every wait has a deadline. What should not happen ends the program with a text on stderr; what a
 * test may want to happen is returned. Of `build`: where bin/ and drivers/ are. One thread.
 */
#ifndef TESTS_RING_CLIENT_H
#define TESTS_RING_CLIENT_H

#include <sys/types.h>

#include "ring/ring.h"
#include "wire/message.h"

struct ring_client {
    pid_t child;
    int socket;
    uint32_t calls;
    uint64_t generation;
    bool attached;
    bool sleeps; /* set before ring_client_attach: neither side looks before it sleeps */
    struct ring ring;
    struct ring_pages pages;
    struct arena arena; /* of the last packet */
    struct wire_packet packet;
    uint8_t bytes[WIRE_PACKET_MAX];
};

/* Starts the runner and has it load drivers/NAME-0.1.0. `path`: what it may reach, "rw:/...", or
 * NULL. */
void ring_client_start(struct ring_client *client, const char *build, const char *name,
                       const char *path);
/* Opens the pool with one property, or none (NULL). */
void ring_client_pool(struct ring_client *client, const char *property, const char *value);
/* The status; with OK *ret_result (may be NULL) is decoded. PENDING is asked again. */
uint32_t ring_client_call(struct ring_client *client, uint16_t number, const void *args,
                          void *ret_result);
/* Sends a call with descriptors and takes no answer. */
void ring_client_send(struct ring_client *client, uint16_t number, const void *args,
                      const int *descriptors, uint32_t count);
uint32_t ring_client_create(struct ring_client *client, uint8_t volume, uint64_t size_bytes);
/* Attaches a new ring; the one before is let go of. */
void ring_client_attach(struct ring_client *client);
uint32_t ring_client_open(struct ring_client *client, uint8_t volume, uint64_t epoch,
                          struct wire_data_opened *ret);
struct wire_pong ring_client_ping(struct ring_client *client);

/* Writes and shows a submission. */
void ring_client_submit(struct ring_client *client, const struct ring_submission *submission);
/* The next completion: spins, then sleeps. */
struct ring_completion ring_client_wait(struct ring_client *client);
/* One call with everything around it: pages are taken, filled, read and given back. */
struct ring_completion ring_client_io(struct ring_client *client, uint16_t verb, uint16_t flags,
                                      uint32_t handle, uint64_t offset, void *bytes,
                                      uint64_t length);

/* STOP and the exit status; also -1 when it does not end. */
int ring_client_stop(struct ring_client *client);
void ring_client_kill(struct ring_client *client);

#endif
