/* SPDX-License-Identifier: Apache-2.0
 *
 * real_file.h: an image's file in a local file system, as simple as can be: for tests that let
 * other programs look at it.
 *
 * Threads: calls may overlap.
 */
#ifndef IMAGE_FILE_REAL_FILE_H
#define IMAGE_FILE_REAL_FILE_H

#include "image/file.h"

/* Opens for reading and writing, or makes it; NULL: it cannot be. Its close frees it. */
struct image_file *real_file_open(const char *path);

#endif
