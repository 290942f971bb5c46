/* SPDX-License-Identifier: Apache-2.0
 *
 * options.c: see options.h.
 */
#include "conform/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sluice/driver.h>

#include "conform/manual.h"

#define STEPS_DEFAULT 400
#define STEPS_MAX 1000000
#define DEADLINE_DEFAULT_S 30
#define DEADLINE_MAX_S 3600
#define SIZE_DEFAULT (UINT64_C(64) << 20)
#define SIZE_MAX_BYTES (UINT64_C(1) << 40)

static const struct option long_options[] = {
#define OPTION(letter, name, argument, sentence) \
    {name, (argument) != NULL ? required_argument : no_argument, NULL, letter},
#include "conform/option.def"
#undef OPTION
    {NULL, 0, NULL, 0},
};

static const struct {
    const char *name;
    const char *argument;
    const char *sentence;
} shown[] = {
#define OPTION(letter, name, argument, sentence) {name, argument, sentence},
#include "conform/option.def"
#undef OPTION
};

static void print_help(void) {
    printf(
        "sluice-conform: does a storage driver keep the contract of <sluice/driver.h>?\n\n"
        "    sluice-conform [OPTION]... DRIVER NAME=VALUE...\n\n"
        "DRIVER is a library (x.so) or the folder of an unpacked archive, whose driver.yaml then\n"
        "judges the properties. NAME=VALUE are the properties of a pool. Its place must be empty:\n"
        "the kit claims it, deletes all that it made, and gives it back. It needs no gateway and\n"
        "no root. Each test runs in a process of its own, so a driver that crashes or hangs fails\n"
        "one test. What a driver cannot do by its capabilities is skipped, with the reason.\n\n");
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        printf("  --%s%s%s\n        %s\n", shown[i].name, shown[i].argument != NULL ? " " : "",
               shown[i].argument != NULL ? shown[i].argument : "", shown[i].sentence);
    }
    printf(
        "\nThe report says for each failure what the contract demands, where that stands, and\n"
        "what was seen. Status: 0 nothing failed, 1 something did, 2 the kit could not begin.\n\n"
        "    sluice-conform build/drivers/posix-0.1.0 path=/srv/scratch\n"
        "    sluice-conform --only data --only crash.kills --seed 7 my.so "
        "directory=/srv/scratch\n");
}

static bool number(const char *name, const char *text, uint64_t least, uint64_t most,
                   uint64_t *ret) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || value < least ||
        value > most) {
        fprintf(stderr, "sluice-conform: --%s wants a number from %llu to %llu\n", name,
                (unsigned long long)least, (unsigned long long)most);
        return false;
    }
    *ret = value;
    return true;
}

static bool add(char **list, uint32_t *count, char *word) {
    if (*count == SUBJECT_PROPERTIES_MAX) {
        fprintf(stderr, "sluice-conform: more than %d properties\n", SUBJECT_PROPERTIES_MAX);
        return false;
    }
    list[(*count)++] = word;
    return true;
}

/* false: wrong use. */
static bool take(int letter, struct options *options) {
    uint64_t value = 0;
    bool good = true;
    switch (letter) {
    case 's':
        return add(options->second, &options->words.second_count, optarg);
    case 'i':
        return add(options->identities, &options->words.identity_count, optarg);
    case 'o':
        if (options->only_count == OPTIONS_ONLY_MAX) {
            fprintf(stderr, "sluice-conform: more than %d --only\n", OPTIONS_ONLY_MAX);
            return false;
        }
        options->only[options->only_count++] = optarg;
        return true;
    case 'l':
        options->list = true;
        return true;
    case 'n':
        return number("seed", optarg, 0, UINT64_MAX, &options->seed);
    case 't':
        good = number("steps", optarg, 1, STEPS_MAX, &value);
        options->steps = (uint32_t)value;
        return good;
    case 'd':
        good = number("deadline", optarg, 1, DEADLINE_MAX_S, &value);
        options->deadline_s = (uint32_t)value;
        return good;
    case 'z':
        return number("size", optarg, 1, SIZE_MAX_BYTES, &options->size_bytes);
    case 'p':
        return true;
    case 'j':
        options->junit = optarg;
        return true;
    case 'k':
        options->keep = true;
        return true;
    default:
        return false; /* getopt_long has said it */
    }
}

/* Enough that a driver finds the one that it looks for. */
static void default_identities(struct options *options) {
    static char uid[] = "uid=65534";
    static char user[] = "user=nobody";
    static char iqn[] = "iqn=iqn.2026-01.example:conform";
    if (options->words.identity_count == 0) {
        options->identities[0] = uid;
        options->identities[1] = user;
        options->identities[2] = iqn;
        options->words.identity_count = 3;
    }
}

int options_parse(int count, char **arguments, struct options *ret) {
    struct timespec now;
    int letter;
    clock_gettime(CLOCK_REALTIME, &now);
    *ret = (struct options){
        .seed = (uint64_t)now.tv_nsec % 1000000,
        .steps = STEPS_DEFAULT,
        .deadline_s = DEADLINE_DEFAULT_S,
        .size_bytes = SIZE_DEFAULT,
    };
    while ((letter = getopt_long(count, arguments, "h", long_options, NULL)) != -1) {
        if (letter == 'h') {
            print_help();
            return 0;
        }
        if (letter == 'm') {
            manual_print();
            return 0;
        }
        if (letter == 'V') {
            printf("sluice-conform %s, driver contract %d.%d\n", SLUICE_VERSION, SLUICE_ABI_MAJOR,
                   SLUICE_ABI_MINOR);
            return 0;
        }
        if (!take(letter, ret)) {
            fprintf(stderr, "sluice-conform --help tells how it is used\n");
            return 2;
        }
    }
    default_identities(ret);
    ret->words.second = ret->second;
    ret->words.identities = ret->identities;
    if (ret->list) {
        return -1;
    }
    if (optind == count) {
        fprintf(stderr, "sluice-conform: which driver? --help tells how it is used\n");
        return 2;
    }
    ret->words.path = arguments[optind];
    ret->words.given = &arguments[optind + 1];
    ret->words.given_count = (uint32_t)(count - optind - 1);
    return -1;
}
