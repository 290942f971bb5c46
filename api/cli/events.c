/* SPDX-License-Identifier: Apache-2.0
 *
 * events.c: the parser of the stream, and reconnecting.
 */
#include "cli/events.h"

#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/num.h"
#include "cli/arguments.h"
#include "cli/render.h"

#define STREAM_PATH "/v1/events"
#define CONNECTION_LIVED_MS 5000

void event_stream_init(struct event_stream *stream,
                       void (*on_event)(void *arg, const char *id, const char *type,
                                        const char *json),
                       void *arg) {
    *stream = (struct event_stream){.on_event = on_event, .arg = arg};
    buf_init(&stream->line, EVENT_MAX);
    buf_init(&stream->value, EVENT_MAX);
}

void event_stream_release(struct event_stream *stream) {
    buf_release(&stream->line);
    buf_release(&stream->value);
}

void event_stream_reset(struct event_stream *stream) {
    buf_clear(&stream->line);
    buf_clear(&stream->value);
    text_copy(stream->next_id, sizeof stream->next_id, stream->id);
    stream->type[0] = '\0';
    stream->after_cr = false;
}

/* An empty line: the event is whole. One that was too long is left out, with its number kept. */
static void end_event(struct event_stream *stream) {
    text_copy(stream->id, sizeof stream->id, stream->next_id);
    if (stream->value.length > 0 && !stream->value.overflow) {
        stream->events++;
        stream->on_event(stream->arg, stream->id, stream->type, buf_text(&stream->value));
    }
    buf_clear(&stream->value);
    stream->type[0] = '\0';
}

static void end_line(struct event_stream *stream) {
    const char *line = buf_text(&stream->line);
    const char *colon = strchr(line, ':');
    size_t name = colon != NULL ? (size_t)(colon - line) : strlen(line);
    const char *value = colon != NULL ? colon + 1 : "";
    if (*value == ' ')
        value++;
    stream->value.overflow |= stream->line.overflow;
    if (line[0] == '\0') {
        end_event(stream);
    } else if (name == 4 && memcmp(line, "data", 4) == 0) {
        if (stream->value.length > 0)
            buf_put(&stream->value, "\n", 1);
        buf_put(&stream->value, value, strlen(value));
    } else if (name == 2 && memcmp(line, "id", 2) == 0) {
        text_copy(stream->next_id, sizeof stream->next_id, value);
    } else if (name == 5 && memcmp(line, "event", 5) == 0) {
        text_copy(stream->type, sizeof stream->type, value);
    }
    buf_clear(&stream->line);
}

void event_stream_take(struct event_stream *stream, const char *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) {
        bool pair = stream->after_cr && bytes[i] == '\n';
        stream->after_cr = bytes[i] == '\r';
        if (pair)
            continue;
        if (bytes[i] == '\n' || bytes[i] == '\r')
            end_line(stream);
        else
            buf_put(&stream->line, &bytes[i], 1);
    }
}

/* ---- printing ------------------------------------------------------------------------------- */

struct printer {
    FILE *out;
    bool json;
    json_t *problem; /* why the gateway ended the stream, or NULL */
};

/* Columns of a stream cannot be as wide as their widest cell: that one may still come. */
static const struct {
    const char *member;
    int width;
} columns[] = {{"number", 8},       {"at", 19},        {"type", 22},
               {"object_name", 24}, {"principal", 14}, {"text", 0}};

static void print_columns(FILE *out, const json_t *event) {
    const struct route_schema *schema = render_schema("Event");
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        struct buf raw;
        struct buf clean;
        const struct route_field *field = NULL;
        buf_init(&raw, RENDER_CELL_MAX);
        buf_init(&clean, 16 * RENDER_CELL_MAX);
        for (size_t j = 0; schema != NULL && j < schema->count; j++)
            if (strcmp(schema->fields[j].name, columns[i].member) == 0)
                field = &schema->fields[j];
        render_value(&raw, field, json_object_get(event, columns[i].member));
        int width = (int)render_clean(&clean, buf_text(&raw));
        int pad = width < columns[i].width ? columns[i].width - width : 0;
        fprintf(out, "%s%*s%s", buf_text(&clean), pad, "", columns[i].width > 0 ? "  " : "\n");
        buf_release(&raw);
        buf_release(&clean);
    }
}

static void print_event(void *arg, const char *id, const char *type, const char *text) {
    struct printer *printer = arg;
    uint64_t number;
    json_t *event = json_loads(text, 0, NULL);
    if (!json_is_object(event)) {
        json_decref(event);
        return;
    }
    if (strcmp(type, "problem") == 0) {
        json_decref(printer->problem);
        printer->problem = event;
        return;
    }
    if (json_object_get(event, "number") == NULL && num_parse_u64(id, &number) &&
        number <= INT64_MAX)
        json_object_set_new(event, "number", json_integer((json_int_t)number));
    if (printer->json) {
        json_dumpf(event, printer->out, JSON_COMPACT | JSON_ENSURE_ASCII);
        fputc('\n', printer->out);
    } else {
        print_columns(printer->out, event);
    }
    fflush(printer->out);
    json_decref(event);
}

static void take(void *arg, const char *bytes, size_t length) {
    event_stream_take(arg, bytes, length);
}

/* What the end of one connection means. true: connect again; else *number is how it ends. */
static bool goes_on(enum client_result result, const struct client_answer *answer,
                    const struct printer *printer, FILE *messages, enum cli_exit *number) {
    *number = CLI_OK; /* an interrupt is how following ends */
    if (result == CLIENT_ANSWERED)
        *number = problem_print(messages, answer);
    else if (result == CLIENT_UNREACHABLE && printer->problem != NULL)
        *number = problem_print_json(
            messages, (int)json_integer_value(json_object_get(printer->problem, "status")),
            printer->problem);
    return result == CLIENT_UNREACHABLE && printer->problem == NULL;
}

static enum cli_exit follow(struct client *client, struct event_stream *stream,
                            const struct printer *printer, FILE *messages) {
    uint32_t pause_ms = CLIENT_BACKOFF_MS;
    struct err err = ERR_INIT;
    for (int tries = 0; tries < CLIENT_TRIES_MAX; tries++) {
        struct client_answer answer;
        enum cli_exit number;
        size_t before = stream->events;
        uint64_t began_ms = clock_mono_ms();
        err = ERR_INIT;
        enum client_result result =
            client_follow(client, STREAM_PATH, stream->id, take, stream, &answer, &err);
        event_stream_reset(stream);
        bool again = goes_on(result, &answer, printer, messages, &number);
        client_answer_release(&answer);
        if (!again)
            return number;
        /* One that lived is no try in a row, though nothing may have happened meanwhile. */
        if (stream->events > before || clock_mono_ms() - began_ms > CONNECTION_LIVED_MS) {
            tries = 0;
            pause_ms = CLIENT_BACKOFF_MS;
        }
        client_pause(pause_ms);
        pause_ms *= 2;
    }
    err_set(&err, ERR_UNREACHABLE, "the gateway keeps ending the stream");
    problem_say(messages, &err);
    return CLI_UNREACHABLE;
}

enum cli_exit events_follow(struct client *client, const char *after, bool json, FILE *out,
                            FILE *messages) {
    struct printer printer = {.out = out, .json = json};
    struct event_stream stream;
    event_stream_init(&stream, print_event, &printer);
    text_copy(stream.id, sizeof stream.id, after);
    text_copy(stream.next_id, sizeof stream.next_id, after);
    enum cli_exit number = follow(client, &stream, &printer, messages);
    event_stream_release(&stream);
    json_decref(printer.problem);
    return number;
}
