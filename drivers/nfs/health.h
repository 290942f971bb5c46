/* SPDX-License-Identifier: Apache-2.0
 *
 * health.h: what the pool tells of its server on its own: one event when the first of its parties
 * has trouble, one when the last of them is well again. Threads: any.
 */
#ifndef NFS_HEALTH_H
#define NFS_HEALTH_H

#include <pthread.h>
#include <stdbool.h>

#include <sluice/driver.h>

struct health {
    const struct sluice_services *services;
    pthread_mutex_t lock;
    uint32_t troubled;
};

void health_init(struct health *health, const struct sluice_services *services);
void health_release(struct health *health);
void health_trouble(struct health *health, const char *text);
void health_better(struct health *health);

#endif
