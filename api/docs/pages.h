/* SPDX-License-Identifier: Apache-2.0
 *
 * pages.h: the reference pages in docs/ that are written from tables.
 */
#ifndef SLUICE_DOCS_PAGES_H
#define SLUICE_DOCS_PAGES_H

#include <stdio.h>

void page_api(FILE *out);
void page_cli(FILE *out);
void page_errors(FILE *out);
void page_permissions(FILE *out);
void page_operations(FILE *out);

/* A cell of a table: '|' would end it. */
void put_cell(FILE *out, const char *text);

#endif
