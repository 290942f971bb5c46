/* SPDX-License-Identifier: Apache-2.0
 *
 * render.c: tables whose columns and units come from routes.h.
 */
#include "cli/render.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/num.h"
#include "cli/arguments.h"

#define COLUMNS_MAX 16 /* of a table; the widest has nine */

/* ---- text that cannot do harm --------------------------------------------------------------- */

static uint32_t code_point(const unsigned char *at, size_t length) {
    static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t point = at[0] & masks[length];
    for (size_t i = 1; i < length; i++)
        point = point << 6 | (at[i] & 0x3f);
    return point;
}

/* C0 and C1, line separators, and the marks that change the direction of what follows. */
static bool is_harmful(uint32_t point) {
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x61c ||
           (point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2060 && point <= 0x206f) || point == 0xfeff;
}

size_t render_clean(struct buf *buf, const char *text) {
    size_t columns = 0;
    size_t left = strlen(text);
    char escape[16];
    while (left > 0) {
        size_t length = text_character(text, left);
        uint32_t point = length > 0 ? code_point((const unsigned char *)text, length) : 0;
        if (length == 0 || is_harmful(point)) {
            bool byte = length <= 1;
            int size = snprintf(escape, sizeof escape, byte ? "\\x%02x" : "\\u{%x}",
                                byte ? (unsigned)(unsigned char)*text : (unsigned)point);
            buf_put(buf, escape, (size_t)size);
            columns += (size_t)size;
            length = length > 0 ? length : 1;
        } else {
            buf_put(buf, text, length);
            columns++;
        }
        text += length;
        left -= length;
    }
    return columns;
}

void render_text(FILE *out, const char *text) {
    struct buf buf;
    buf_init(&buf, 16 * strlen(text) + 1);
    render_clean(&buf, text);
    fwrite(buf.at, 1, buf.length, out);
    buf_release(&buf);
}

void render_json(FILE *out, const json_t *value) {
    json_dumpf(value, out, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
    fputc('\n', out);
}

/* ---- values --------------------------------------------------------------------------------- */

const struct route_schema *render_schema(const char *name) {
    for (size_t i = 0; i < route_schema_count; i++)
        if (strcmp(route_schemas[i].name, name) == 0)
            return &route_schemas[i];
    return NULL;
}

static const struct route_field *find_field(const struct route_schema *schema, const char *name) {
    for (size_t i = 0; schema != NULL && i < schema->count; i++)
        if (strcmp(schema->fields[i].name, name) == 0)
            return &schema->fields[i];
    return NULL;
}

static bool put_local_time(struct buf *buf, const char *text) {
    int64_t seconds;
    struct tm local;
    char formatted[40];
    if (!clock_parse(text, &seconds))
        return false;
    time_t when = (time_t)seconds;
    if (localtime_r(&when, &local) == NULL ||
        strftime(formatted, sizeof formatted, "%Y-%m-%d %H:%M:%S", &local) == 0)
        return false;
    buf_put(buf, formatted, strlen(formatted));
    return true;
}

static void put_map(struct buf *buf, const json_t *map) {
    const char *key;
    json_t *value;
    bool first = true;
    json_object_foreach((json_t *)map, key, value) {
        buf_printf(buf, "%s%s=", first ? "" : ",", key);
        render_value(buf, NULL, value);
        first = false;
    }
}

/* Whole numbers come as reals where one of the answer is beyond 63 bits (client_answer_json). */
static void put_real(struct buf *buf, const struct route_field *field, double real) {
    char size[32];
    if (field != NULL && field->kind == ROUTE_SIZE && real >= 0 && real < 9.2e18) {
        num_format_size((uint64_t)real, size, sizeof size);
        buf_printf(buf, "%s", size);
    } else {
        buf_printf(buf, "%.15g", real);
    }
}

/* The bytes are not clean yet: who prints them cleans them. */
void render_value(struct buf *buf, const struct route_field *field, const json_t *value) {
    char size[32];
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        if (field == NULL || strcmp(field->format, "date-time") != 0 || !put_local_time(buf, text))
            buf_put(buf, text, strlen(text));
    } else if (json_is_integer(value)) {
        json_int_t number = json_integer_value(value);
        if (field != NULL && field->kind == ROUTE_SIZE && number >= 0) {
            num_format_size((uint64_t)number, size, sizeof size);
            buf_printf(buf, "%s", size);
        } else {
            buf_printf(buf, "%" PRId64, (int64_t)number);
        }
    } else if (json_is_real(value)) {
        put_real(buf, field, json_real_value(value));
    } else if (json_is_boolean(value)) {
        buf_printf(buf, "%s", json_is_true(value) ? "yes" : "no");
    } else if (json_is_object(value)) {
        put_map(buf, value);
    } else if (json_is_array(value)) {
        buf_printf(buf, "%zu", json_array_size(value));
    }
}

/* ---- tables --------------------------------------------------------------------------------- */

struct cell {
    char *text;
    size_t columns;
};

struct table {
    const struct route_schema *schema;
    char names[COLUMNS_MAX][OPTION_NAME_MAX];
    const struct route_field *fields[COLUMNS_MAX];
    size_t columns;
    size_t widths[COLUMNS_MAX];
    struct cell *cells; /* rows + 1 times columns; the first row is the head */
    size_t rows;
};

static struct cell make_cell(const struct route_field *field, const json_t *value) {
    struct buf raw;
    struct buf clean;
    struct cell cell = {0};
    buf_init(&raw, RENDER_CELL_MAX);
    buf_init(&clean, 16 * RENDER_CELL_MAX);
    render_value(&raw, field, value);
    cell.columns = render_clean(&clean, buf_text(&raw));
    cell.text = strdup(buf_text(&clean));
    buf_release(&raw);
    buf_release(&clean);
    return cell;
}

static struct cell make_head(const char *name) {
    char text[OPTION_NAME_MAX];
    size_t length = strlen(name);
    /* The unit is in the cell already. */
    if (length > 6 && strcmp(name + length - 6, "_bytes") == 0)
        length -= 6;
    snprintf(text, sizeof text, "%.*s", (int)length, name);
    for (char *at = text; *at != '\0'; at++)
        *at = *at == '_' ? ' ' : *at >= 'a' && *at <= 'z' ? (char)(*at - 32) : *at;
    return (struct cell){.text = strdup(text), .columns = strlen(text)};
}

static bool is_number(const struct route_field *field) {
    return field != NULL && (field->kind == ROUTE_SIZE || field->kind == ROUTE_NUMBER);
}

static void print_cell(FILE *out, const struct table *table, size_t row, size_t column) {
    const struct cell *cell = &table->cells[row * table->columns + column];
    const char *text = cell->text != NULL ? cell->text : "";
    size_t pad = table->widths[column] - cell->columns;
    bool last = column + 1 == table->columns;
    if (is_number(table->fields[column]))
        fprintf(out, "%*s%s%s", (int)pad, "", text, last ? "" : "  ");
    else
        fprintf(out, "%s%*s", text, last ? 0 : (int)pad + 2, "");
}

static void fill_table(struct table *table, const json_t *rows) {
    for (size_t column = 0; column < table->columns; column++)
        table->cells[column] = make_head(table->names[column]);
    for (size_t row = 0; row < table->rows; row++)
        for (size_t column = 0; column < table->columns; column++)
            table->cells[(row + 1) * table->columns + column] =
                make_cell(table->fields[column],
                          json_object_get(json_array_get(rows, row), table->names[column]));
    for (size_t i = 0; i < (table->rows + 1) * table->columns; i++)
        if (table->cells[i].columns > table->widths[i % table->columns])
            table->widths[i % table->columns] = table->cells[i].columns;
}

static void render_table(FILE *out, const struct route_schema *schema, const char *columns,
                         const json_t *rows) {
    struct table table = {.schema = schema, .rows = json_array_size(rows)};
    while (table.columns < COLUMNS_MAX &&
           word_at(columns, table.columns, table.names[table.columns], OPTION_NAME_MAX)) {
        table.fields[table.columns] = find_field(schema, table.names[table.columns]);
        table.columns++;
    }
    size_t cells = (table.rows + 1) * table.columns;
    table.cells = calloc(cells + 1, sizeof table.cells[0]);
    if (table.cells == NULL)
        return;
    fill_table(&table, rows);
    for (size_t row = 0; row <= table.rows; row++) {
        for (size_t column = 0; column < table.columns; column++)
            print_cell(out, &table, row, column);
        fputc('\n', out);
    }
    for (size_t i = 0; i < cells; i++)
        free(table.cells[i].text);
    free(table.cells);
}

/* ---- one object ----------------------------------------------------------------------------- */

static void print_line(FILE *out, const char *name, const struct route_field *field,
                       const json_t *value) {
    struct cell cell = make_cell(field, value);
    struct buf clean;
    buf_init(&clean, 16 * RENDER_CELL_MAX);
    size_t columns = render_clean(&clean, name);
    fprintf(out, "%s%*s%s\n", buf_text(&clean), columns < 20 ? (int)(22 - columns) : 2, "",
            cell.text != NULL ? cell.text : "");
    buf_release(&clean);
    free(cell.text);
}

/* A line for each value, "runner.pid" for what is inside another object. */
static void render_lines(FILE *out, const struct route_schema *schema, const char *prefix,
                         const json_t *value, int depth);

static void render_member(FILE *out, const struct route_schema *schema, const char *name,
                          const json_t *value, int depth) {
    char prefix[512];
    if (json_is_object(value) || json_is_array(value)) {
        snprintf(prefix, sizeof prefix, "%s.", name);
        render_lines(out, NULL, prefix, value, depth + 1);
    } else {
        print_line(out, name, find_field(schema, name), value);
    }
}

static void render_lines(FILE *out, const struct route_schema *schema, const char *prefix,
                         const json_t *value, int depth) {
    char name[256];
    const char *key;
    json_t *inner;
    size_t index;
    if (depth == RENDER_DEPTH_MAX)
        return;
    json_array_foreach(value, index, inner) {
        snprintf(name, sizeof name, "%s%zu", prefix, index + 1);
        render_member(out, schema, name, inner, depth);
    }
    json_object_foreach((json_t *)value, key, inner) {
        snprintf(name, sizeof name, "%s%s", prefix, key);
        render_member(out, schema, name, inner, depth);
    }
}

/* ---- answers -------------------------------------------------------------------------------- */

/* The array of rows in a page, and what they are; NULL: the answer is one object. */
static const json_t *find_rows(const struct route_schema **schema, const json_t *answer) {
    for (size_t i = 0; *schema != NULL && i < (*schema)->count; i++) {
        const struct route_field *field = &(*schema)->fields[i];
        const json_t *rows = json_object_get(answer, field->name);
        if (field->kind != ROUTE_ARRAY || field->items[0] == '\0' || !json_is_array(rows))
            continue;
        *schema = render_schema(field->items);
        return rows;
    }
    return NULL;
}

/* The id; for what has none, name@version; else the name. */
static void print_reference(FILE *out, const json_t *object) {
    const char *id = json_string_value(json_object_get(object, "id"));
    const char *name = json_string_value(json_object_get(object, "name"));
    const char *version = json_string_value(json_object_get(object, "version"));
    if (id != NULL) {
        render_text(out, id);
    } else if (name != NULL) {
        render_text(out, name);
        if (version != NULL) {
            fputc('@', out);
            render_text(out, version);
        }
    } else {
        return;
    }
    fputc('\n', out);
}

void render_answer(FILE *out, const struct route_schema *schema, const char *columns,
                   const json_t *answer, bool quiet) {
    size_t index;
    json_t *row;
    const json_t *found = find_rows(&schema, answer);
    json_t *rows = found != NULL ? json_incref((json_t *)found) : json_pack("[O]", answer);
    if (quiet) {
        json_array_foreach(rows, index, row) {
            print_reference(out, row);
        }
    } else if (columns[0] != '\0') {
        render_table(out, schema, columns, rows);
    } else {
        render_lines(out, schema, "", answer, 0);
    }
    json_decref(rows);
}
