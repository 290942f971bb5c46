/* SPDX-License-Identifier: Apache-2.0
 *
 * properties.h: reads the descriptors of a bag out of driver.yaml (descriptor.h says what they
 * are). Part of manifest.c's work; nobody else includes it.
 */
#ifndef SLUICE_LIFECYCLE_PROPERTIES_H
#define SLUICE_LIFECYCLE_PROPERTIES_H

#include "lifecycle/descriptor.h"
#include "lifecycle/fields.h"

/* struct descriptors: a list of at most DESCRIPTORS_MAX maps with different names. Their limits fit
 * together, and a default is a value that its own descriptor takes. */
field_fn field_descriptors;

#endif
