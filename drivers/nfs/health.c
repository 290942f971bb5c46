/* SPDX-License-Identifier: Apache-2.0
 *
 * health.c: see health.h.
 */
#include "health.h"

void health_init(struct health *health, const struct sluice_services *services) {
    *health = (struct health){.services = services};
    pthread_mutex_init(&health->lock, NULL);
}

void health_release(struct health *health) {
    pthread_mutex_destroy(&health->lock);
}

/* The lock is held while it is told, so that two tellings do not pass each other. */
void health_trouble(struct health *health, const char *text) {
    pthread_mutex_lock(&health->lock);
    if (health->troubled++ == 0) {
        health->services->event(health->services, SLUICE_EVENT_HEALTH, NULL, SLUICE_HEALTH_DEGRADED,
                                text);
    }
    pthread_mutex_unlock(&health->lock);
}

void health_better(struct health *health) {
    pthread_mutex_lock(&health->lock);
    if (--health->troubled == 0) {
        health->services->event(health->services, SLUICE_EVENT_HEALTH, NULL, SLUICE_HEALTH_OK,
                                "the NFS server answers again");
    }
    pthread_mutex_unlock(&health->lock);
}
