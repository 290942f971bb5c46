/* SPDX-License-Identifier: Apache-2.0
 *
 * subject.c: see subject.h.
 */
#include "conform/subject.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lifecycle/bag.h"
#include "lifecycle/manifest.h"

/* Memory of the manifest and the bags, until another archive is loaded. */
static struct arena arena;

static bool refuse(char *ret_why, const char *what, const char *why) {
    snprintf(ret_why, SUBJECT_WHY_MAX, "%s: %s", what, why);
    return false;
}

/* ---- values without a driver.yaml --------------------------------------------------------- */

static bool is_number(const char *text) {
    const char *digits = text + (text[0] == '-');
    size_t length = strlen(digits);
    return length > 0 && length <= 18 && strspn(digits, "0123456789") == length;
}

static void guess(struct sluice_property *property) {
    const char *text = property->text;
    property->kind = SLUICE_PROPERTY_STRING;
    if (is_number(text)) {
        property->kind = SLUICE_PROPERTY_NUMBER;
        property->integer = strtoll(text, NULL, 10);
    } else if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
        property->kind = SLUICE_PROPERTY_BOOLEAN;
        property->integer = strcmp(text, "true") == 0;
    }
}

/* Cuts "name=value" in two, in place, as main's arguments may be. */
static bool split(char **words, uint32_t count, struct subject_bag *bag, char *ret_why) {
    if (count > SUBJECT_PROPERTIES_MAX) {
        return refuse(ret_why, "properties", "more than 128 are given");
    }
    for (uint32_t i = 0; i < count; i++) {
        char *equals = strchr(words[i], '=');
        if (equals == NULL || equals == words[i]) {
            return refuse(ret_why, words[i], "a property is written name=value");
        }
        *equals = '\0';
        bag->at[i] = (struct sluice_property){.name = words[i], .text = equals + 1};
        guess(&bag->at[i]);
    }
    bag->bag = (struct sluice_properties){bag->at, count};
    return true;
}

/* ---- values by driver.yaml ---------------------------------------------------------------- */

static int64_t date_seconds(const char *text) {
    struct tm day = {0};
    return strptime(text, "%Y-%m-%d", &day) != NULL ? (int64_t)timegm(&day) : 0;
}

/* Typed pairs ("n:42", bag.h) as the driver gets them. */
static void take_typed(const struct text_pairs *typed, struct subject_bag *bag) {
    uint32_t count = typed->count < SUBJECT_PROPERTIES_MAX ? typed->count : SUBJECT_PROPERTIES_MAX;
    for (uint32_t i = 0; i < count; i++) {
        const char *text = bag_text(typed->at[i].value);
        struct sluice_property *property = &bag->at[i];
        *property = (struct sluice_property){.name = typed->at[i].name, .text = text};
        switch (typed->at[i].value[0]) {
        case 'n':
            property->kind = SLUICE_PROPERTY_NUMBER;
            property->integer = strtoll(text, NULL, 10);
            break;
        case 'b':
            property->kind = SLUICE_PROPERTY_BOOLEAN;
            property->integer = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
            break;
        case 'd':
            property->kind = SLUICE_PROPERTY_DATE;
            property->integer = date_seconds(text);
            break;
        default:
            property->kind = SLUICE_PROPERTY_STRING;
        }
    }
    bag->bag = (struct sluice_properties){bag->at, count};
}

/* Replaces what was guessed by what driver.yaml makes of it, defaults included. */
static bool judge(const struct descriptors *descriptors, struct subject_bag *bag, char *ret_why) {
    struct bag_value values[SUBJECT_PROPERTIES_MAX];
    struct bag_violations violations;
    struct text_pairs joined;
    struct bag judged;
    struct err err = ERR_INIT;
    uint32_t count = (uint32_t)bag->bag.count;
    for (uint32_t i = 0; i < count; i++) {
        values[i] = (struct bag_value){bag->at[i].name, bag->at[i].text, BAG_TEXT};
    }
    if (!bag_validate(descriptors, values, count, &arena, &judged, &violations, &err)) {
        size_t length = (size_t)snprintf(ret_why, SUBJECT_WHY_MAX, "driver.yaml refuses");
        for (uint32_t i = 0; i < violations.count && length < SUBJECT_WHY_MAX; i++) {
            length +=
                (size_t)snprintf(ret_why + length, SUBJECT_WHY_MAX - length, "%s %s: %s",
                                 i > 0 ? ";" : "", violations.at[i].field, violations.at[i].text);
        }
        return violations.count > 0 ? false : refuse(ret_why, "driver.yaml", err.text);
    }
    if (!bag_join(&judged, &arena, &joined)) {
        return refuse(ret_why, "driver.yaml", "there is no memory for its properties");
    }
    take_typed(&joined, bag);
    return true;
}

static bool load_archive(struct subject *subject, const char *path, char *ret_why) {
    static struct manifest manifest;
    char directory[PATH_MAX];
    struct err err = ERR_INIT;
    if (realpath(path, directory) == NULL) {
        return refuse(ret_why, path, strerror(errno));
    }
    arena_release(&arena); /* of an archive that was loaded before */
    arena_init(&arena, MANIFEST_ARENA_MAX);
    if (!manifest_load(directory, &arena, &manifest, &err) ||
        !manifest_verify(&manifest, directory, &err)) {
        return refuse(ret_why, path, err.text);
    }
    int length = snprintf(subject->library, sizeof subject->library, "%s/driver/%s", directory,
                          manifest.library);
    if (length < 0 || (size_t)length >= sizeof subject->library) {
        return refuse(ret_why, path, "the path is too long");
    }
    subject->name = manifest.name;
    subject->version = manifest.version_text;
    return judge(&manifest.properties, &subject->properties, ret_why) &&
           (!subject->has_second || judge(&manifest.properties, &subject->second, ret_why));
}

bool subject_load(struct subject *subject, const struct subject_words *words, char *ret_why) {
    struct stat seen;
    char library[PATH_MAX];
    subject->has_second = words->second_count > 0;
    if (!split(words->given, words->given_count, &subject->properties, ret_why) ||
        !split(words->second, words->second_count, &subject->second, ret_why) ||
        !split(words->identities, words->identity_count, &subject->identities, ret_why)) {
        return false;
    }
    /* Identities are text whatever they look like. */
    for (uint32_t i = 0; i < words->identity_count; i++) {
        subject->identities.at[i].kind = SLUICE_PROPERTY_STRING;
    }
    if (stat(words->path, &seen) != 0) {
        return refuse(ret_why, words->path, strerror(errno));
    }
    if (S_ISDIR(seen.st_mode)) {
        return load_archive(subject, words->path, ret_why);
    }
    /* With a slash in it, or dlopen would look for it elsewhere. */
    if (realpath(words->path, library) == NULL || strlen(library) >= sizeof subject->library) {
        return refuse(ret_why, words->path, "the library cannot be found");
    }
    memcpy(subject->library, library, strlen(library) + 1);
    return true;
}
