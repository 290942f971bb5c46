/* SPDX-License-Identifier: Apache-2.0
 *
 * tree.h: directories of tests, and what lies in them.
 *
 * Tests work in a directory of their own below $SLUICE_TEST_DIR (a file system that somebody
 * mounted for them), or else below the build folder.
 */
#ifndef TESTS_TREE_H
#define TESTS_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conform/rng.h"

#define TREE_PATH 512
#define TREE_LIST 65536

/* Makes a directory that was not there (TREE_PATH bytes); fails the test when it cannot. */
void tree_make(char *ret_path);
void tree_make_in(const char *parent, char *ret_path);

/* Removes it with all that is in it. */
void tree_remove(const char *path);

/* The names of everything below, sorted, one a line, directories with a slash (TREE_LIST bytes). */
void tree_list(const char *path, char *ret_text);

/* Writes a file of `length` bytes that `fill` gives. */
void tree_write(const char *directory, const char *name, const void *bytes, size_t length);
bool tree_exists(const char *directory, const char *name);

struct rng rng_of_environment(void); /* SLUICE_SEED, else of the clock; prints it */

#endif
