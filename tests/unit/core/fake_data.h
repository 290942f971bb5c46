/* SPDX-License-Identifier: Apache-2.0
 *
 * fake_data.h: runners/data_process.h without a process: a test sees what is said and says what
 * comes. With `obliging` it does what a sluice-data would do, in the next turn of the loop.
 */
#ifndef SLUICE_TESTS_FAKE_DATA_H
#define SLUICE_TESTS_FAKE_DATA_H

#include "runners/data_process.h"

void fake_data_reset(bool obliging, bool held); /* before data_process_open */
uint32_t fake_data_said(enum data_number number);
/* The address of the last LISTEN; "": none. */
const char *fake_data_listens(void);
/* The last ring that was wanted, and the last volume that was said to be open. */
uint64_t fake_data_generation(void);
const struct data_volume_open *fake_data_opened(void);
bool fake_data_wanted(void);
void fake_data_begin(bool held);
void fake_data_say(enum data_number number, const void *body);
/* A message that brings one descriptor, which stays the caller's. */
void fake_data_say_with(enum data_number number, const void *body, int fd);
void fake_data_end(void);

#endif
