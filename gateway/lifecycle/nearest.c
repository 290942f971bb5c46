/* SPDX-License-Identifier: Apache-2.0
 *
 * nearest.c: edit distance (insert, delete, replace, each 1), a row at a time.
 */
#include "lifecycle/nearest.h"

#include <string.h>

/* Words that differ in more than a third of their letters are not meant. */
#define NEAREST_PART 3

static size_t length_of(const char *word) {
    return strnlen(word, NEAREST_WORD_MAX);
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t distance(const char *a, const char *b) {
    size_t row[NEAREST_WORD_MAX + 1];
    size_t a_length = length_of(a);
    size_t b_length = length_of(b);
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t above = row[j];
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            row[j] = least(least(above, row[j - 1]) + 1, replaced);
            diagonal = above;
        }
    }
    return row[b_length];
}

void nearest_start(struct nearest *nearest, const char *word) {
    *nearest = (struct nearest){.word = word, .distance = length_of(word) / NEAREST_PART + 1};
}

void nearest_offer(struct nearest *nearest, const char *name) {
    size_t away = distance(nearest->word, name);
    if (away > nearest->distance || (nearest->best != NULL && away == nearest->distance))
        return;
    nearest->best = name;
    nearest->distance = away;
}
