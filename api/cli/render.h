/* SPDX-License-Identifier: Apache-2.0
 *
 * render.h: answers for people and for programs.
 *
 * What is printed came from a gateway, and names in it from whoever chose them: everything that
 * could move a terminal's cursor or turn its text round is shown as an escape.
 */
#ifndef SLUICE_CLI_RENDER_H
#define SLUICE_CLI_RENDER_H

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

#include "base/buf.h"
#include "routes/routes.h"

#define RENDER_CELL_MAX 4096 /* bytes of one cell; what is longer is cut */
#define RENDER_DEPTH_MAX 8   /* of an answer's objects in objects */

/* Appends text with control characters, bad UTF-8 and what reorders text as \xNN or \u{NNNN};
 * returns how many columns it takes. */
size_t render_clean(struct buf *buf, const char *text);
void render_text(FILE *out, const char *text);

/* Indented JSON in ASCII. */
void render_json(FILE *out, const json_t *value);

/* A table of `columns` when the answer has rows or columns are named; else a line each. `quiet`:
 * ids only. */
void render_answer(FILE *out, const struct route_schema *schema, const char *columns,
                   const json_t *answer, bool quiet);
/* The schema of that name, or NULL. */
const struct route_schema *render_schema(const char *name);
/* A value as a cell: sizes with units, times in the local zone, maps as a=b,c=d. */
void render_value(struct buf *buf, const struct route_field *field, const json_t *value);

#endif
