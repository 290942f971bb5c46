/* SPDX-License-Identifier: Apache-2.0
 *
 * options.h: the command line of sluice-conform (option.def), parsed.
 *
 * Points into main's arguments, which are cut at their '='. One thread. Wrong use is said on
 * stderr.
 */
#ifndef SLUICE_CONFORM_OPTIONS_H
#define SLUICE_CONFORM_OPTIONS_H

#include "conform/subject.h"

#define OPTIONS_ONLY_MAX 64

struct options {
    struct subject_words words;
    char *second[SUBJECT_PROPERTIES_MAX];
    char *identities[SUBJECT_PROPERTIES_MAX];
    const char *only[OPTIONS_ONLY_MAX];
    uint32_t only_count;
    const char *junit; /* a file, or NULL */
    bool list;
    bool keep;
    uint64_t seed;
    uint32_t steps;
    uint32_t deadline_s;
    uint64_t size_bytes;
};

/* -1: go on. Otherwise the status to end with: 0 after --help and its like, 2 after wrong use. */
int options_parse(int count, char **arguments, struct options *ret);

#endif
