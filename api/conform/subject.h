/* SPDX-License-Identifier: Apache-2.0
 *
 * subject.h: what is tested: a driver's library, and how its pool is opened.
 *
 * A subject is a library (x.so) or the folder of an unpacked archive. In the folder driver.yaml
 * says which library it is and what the properties of a pool are, and the values given are judged
 * by it as the gateway would. With a library alone nobody knows: a value of digits is a number,
 * true and false are booleans, all else is text.
 *
 * Life cycle: subject_load; what it points to lives until the next one. One thread.
 * Errors: a text says what is wrong with what was given.
 */
#ifndef SLUICE_CONFORM_SUBJECT_H
#define SLUICE_CONFORM_SUBJECT_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/types.h>

#define SUBJECT_PROPERTIES_MAX 128 /* as many as driver.yaml may declare */
#define SUBJECT_PATH_MAX 4096
#define SUBJECT_WHY_MAX 1024

/* A bag, with its places. */
struct subject_bag {
    struct sluice_properties bag; /* points to `at` */
    struct sluice_property at[SUBJECT_PROPERTIES_MAX];
};

struct subject {
    char library[SUBJECT_PATH_MAX];
    const char *name;    /* of driver.yaml, or NULL */
    const char *version; /* likewise */
    struct subject_bag properties;
    bool has_second;
    struct subject_bag second;
    struct subject_bag identities; /* of the host that access is granted to */
    uint64_t seed;
    uint32_t steps;
    uint32_t deadline_s; /* of one call */
    uint64_t size_bytes; /* of the volume that is copied while it is cancelled */
};

/* `given`, `second` (NULL: there is none) and `identities` are texts "name=value". */
struct subject_words {
    const char *path;
    char **given;
    uint32_t given_count;
    char **second;
    uint32_t second_count;
    char **identities;
    uint32_t identity_count;
};

/* false: ret_why (SUBJECT_WHY_MAX bytes) says why, and what to do. */
bool subject_load(struct subject *subject, const struct subject_words *words, char *ret_why);

#endif
