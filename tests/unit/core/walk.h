/* SPDX-License-Identifier: Apache-2.0
 *
 * walk.h: does a whole catalogue agree with itself?
 *
 * Opens the catalogue of a core that was closed and asserts, over every key there is:
 *   - each name, index, label and token hash points to an object that has it, and each object has
 *     all of its own;
 *   - counts of attachments and snapshots are what is there;
 *   - objects belong to pools (volumes, hosts) that are there;
 *   - what has not ended is listed as such and nothing else is;
 *   - an object in a state of passage has an operation that brings it out;
 *   - each idempotency key names an operation that is there.
 */
#ifndef SLUICE_TESTS_WALK_H
#define SLUICE_TESTS_WALK_H

void walk_catalogue(const char *directory);

#endif
