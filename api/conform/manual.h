/* SPDX-License-Identifier: Apache-2.0
 *
 * manual.h: docs/CONFORMANCE.md, made of the tables of the kit.
 */
#ifndef SLUICE_CONFORM_MANUAL_H
#define SLUICE_CONFORM_MANUAL_H

/* To stdout. */
void manual_print(void);

#endif
