/* SPDX-License-Identifier: Apache-2.0
 *
 * events.c: the parser of the stream, and reconnecting.
 */
#include "cli/events.h"

#include <string.h>

#include <jansson.h>

#include "base/num.h"
#include "cli/arguments.h"
#include "cli/render.h"

#define STREAM_PATH "/v1/events"

void event_stream_init(struct event_stream *stream,
                       void (*on_event)(void *arg, const char *id, const char *json), void *arg) {
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
    stream->after_cr = false;
}

/* An empty line: the event is whole. One that was too long is left out, with its number kept. */
static void end_event(struct event_stream *stream) {
    text_copy(stream->id, sizeof stream->id, stream->next_id);
    if (stream->value.length > 0 && !stream->value.overflow) {
        stream->events++;
        stream->on_event(stream->arg, stream->id, buf_text(&stream->value));
    }
    buf_clear(&stream->value);
}

static void end_line(struct event_stream *stream) {
    const char *line = buf_text(&stream->line);
    const char *colon = strchr(line, ':');
    size_t name = colon != NULL ? (size_t)(colon - line) : strlen(line);
    const char *value = colon != NULL ? colon + 1 : "";
    if (*value == ' ')
        value++;
    if (line[0] == '\0') {
        end_event(stream);
    } else if (name == 4 && memcmp(line, "data", 4) == 0) {
        if (stream->value.length > 0)
            buf_put(&stream->value, "\n", 1);
        buf_put(&stream->value, value, strlen(value));
    } else if (name == 2 && memcmp(line, "id", 2) == 0) {
        text_copy(stream->next_id, sizeof stream->next_id, value);
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

static void print_event(void *arg, const char *id, const char *text) {
    struct printer *printer = arg;
    uint64_t number;
    json_t *event = json_loads(text, 0, NULL);
    if (!json_is_object(event)) {
        json_decref(event);
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

enum cli_exit events_follow(struct client *client, const char *after, bool json, FILE *out,
                            FILE *messages) {
    struct printer printer = {.out = out, .json = json};
    struct event_stream stream;
    enum cli_exit number = CLI_OK;
    bool going = true;
    event_stream_init(&stream, print_event, &printer);
    text_copy(stream.id, sizeof stream.id, after);
    text_copy(stream.next_id, sizeof stream.next_id, after);
    uint32_t pause_ms = CLIENT_BACKOFF_MS;
    for (int tries = 1; going; tries++) {
        struct client_answer answer;
        struct err err = ERR_INIT;
        size_t before = stream.events;
        enum client_result result =
            client_follow(client, STREAM_PATH, stream.id, take, &stream, &answer, &err);
        event_stream_reset(&stream);
        if (stream.events > before) {
            tries = 0;
            pause_ms = CLIENT_BACKOFF_MS;
        }
        if (result == CLIENT_INTERRUPTED) {
            going = false; /* that is how following ends */
        } else if (result == CLIENT_ANSWERED) {
            number = problem_print(messages, &answer);
            going = false;
        } else if (tries >= CLIENT_TRIES_MAX) {
            if (err.code == ERR_NONE)
                err_set(&err, ERR_UNREACHABLE, "the gateway keeps ending the stream");
            problem_say(messages, &err);
            number = CLI_UNREACHABLE;
            going = false;
        } else {
            client_pause(pause_ms);
            pause_ms = pause_ms < 5000 ? pause_ms * 2 : pause_ms;
        }
        client_answer_release(&answer);
    }
    event_stream_release(&stream);
    return number;
}
