/* SPDX-License-Identifier: Apache-2.0
 *
 * driver_host.c: see driver_host.h.
 */
#include "driver_host.h"

void host_start(struct host *host, const char *library) {
    host_begin(host, library, NULL, HOST_DEADLINE_S);
}

void host_stop(struct host *host) {
    host_end(host);
}

int32_t host_open(struct host_pool *pool, struct host *host, const struct sluice_uuid *id,
                  uint32_t flags, const struct host_property *bag) {
    struct sluice_property properties[HOST_PROPERTIES_MAX];
    struct sluice_properties all = {properties, 0};
    for (; bag != NULL && bag->name != NULL && all.count < HOST_PROPERTIES_MAX; bag++) {
        properties[all.count++] = (struct sluice_property){
            .name = bag->name,
            .text = bag->text,
            .integer = bag->number,
            .kind = bag->text != NULL ? SLUICE_PROPERTY_STRING : SLUICE_PROPERTY_NUMBER,
        };
    }
    return host_open_pool(pool, host, id, flags, &all);
}
