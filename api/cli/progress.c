/* SPDX-License-Identifier: Apache-2.0
 *
 * progress.c: the loop and the bar.
 */
#include "cli/progress.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "cli/arguments.h"
#include "cli/render.h"

#define HOLD_S 1u         /* how long the gateway holds one GET, and so the rate of redrawing */
#define ROUND_MS_MIN 250u /* between two GETs, also when the gateway does not hold them */
#define BAR_COLUMNS 12
#define COLUMNS_DEFAULT 80

static const char *text_of(const json_t *operation, const char *name) {
    const char *text = json_string_value(json_object_get(operation, name));
    return text != NULL ? text : "";
}

static uint64_t number_of(const json_t *operation, const char *name) {
    json_int_t number = json_integer_value(json_object_get(operation, name));
    return number > 0 ? (uint64_t)number : 0;
}

bool progress_has_ended(const json_t *operation) {
    const char *state = text_of(operation, "state");
    return strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 ||
           strcmp(state, "cancelled") == 0;
}

static void put_bar(struct buf *buf, uint64_t done, uint64_t total) {
    if (done > total)
        done = total;
    double part = (double)done / (double)total;
    int full = (int)(part * BAR_COLUMNS);
    buf_printf(buf, " [");
    for (int i = 0; i < BAR_COLUMNS; i++)
        buf_printf(buf, "%c", i < full ? '#' : '-');
    buf_printf(buf, "] %3d%%", (int)(part * 100));
}

static void put_bytes(struct buf *buf, const json_t *operation) {
    char text[32];
    uint64_t done = number_of(operation, "done_bytes");
    uint64_t total = number_of(operation, "total_bytes");
    uint64_t rate = number_of(operation, "rate_bytes_s");
    if (total > 0)
        put_bar(buf, done, total);
    if (done > 0) {
        num_format_size(done, text, sizeof text);
        buf_printf(buf, "  %s", text);
    }
    if (total > 0) {
        num_format_size(total, text, sizeof text);
        buf_printf(buf, " of %s", text);
    }
    if (rate > 0) {
        num_format_size(rate, text, sizeof text);
        buf_printf(buf, "  %s/s", text);
    }
    if (total > 0 && json_is_integer(json_object_get(operation, "eta_s"))) {
        uint64_t eta = number_of(operation, "eta_s");
        if (eta >= 3600)
            buf_printf(buf, "  ETA %llu h %llu min", (unsigned long long)(eta / 3600),
                       (unsigned long long)(eta % 3600 / 60));
        else if (eta >= 60)
            buf_printf(buf, "  ETA %llu min %llu s", (unsigned long long)(eta / 60),
                       (unsigned long long)(eta % 60));
        else
            buf_printf(buf, "  ETA %llu s", (unsigned long long)eta);
    }
}

void progress_line(struct buf *line, const json_t *operation, size_t columns) {
    struct buf raw;
    buf_init(&raw, RENDER_CELL_MAX);
    buf_printf(&raw, "%s %s", text_of(operation, "kind"), text_of(operation, "object_name"));
    if (strcmp(text_of(operation, "state"), "running") != 0)
        buf_printf(&raw, " (%s)", text_of(operation, "state"));
    put_bytes(&raw, operation);
    if (text_of(operation, "waiting_for")[0] != '\0')
        buf_printf(&raw, "  waiting: %s", text_of(operation, "waiting_for"));
    else if (text_of(operation, "step")[0] != '\0' && number_of(operation, "total_bytes") == 0)
        buf_printf(&raw, "  %s", text_of(operation, "step"));
    struct buf clean;
    buf_init(&clean, 16 * RENDER_CELL_MAX);
    render_clean(&clean, buf_text(&raw));
    const char *text = buf_text(&clean);
    size_t left = clean.length;
    /* A line that is longer than the terminal could not be drawn over. */
    for (size_t length; columns > 0 && (length = text_character(text, left)) > 0; columns--) {
        buf_put(line, text, length);
        text += length;
        left -= length;
    }
    buf_release(&clean);
    buf_release(&raw);
}

static size_t terminal_columns(FILE *out) {
    struct winsize size;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 1)
        return size.ws_col - 1u;
    return COLUMNS_DEFAULT - 1;
}

static void draw(const struct progress_options *options, const json_t *operation) {
    struct buf line;
    if (!options->draw)
        return;
    buf_init(&line, 16 * RENDER_CELL_MAX);
    if (operation != NULL)
        progress_line(&line, operation, terminal_columns(options->out));
    /* ECMA-48: erase to the end of the line. */
    fprintf(options->out, "\r%s\033[K", buf_text(&line));
    fflush(options->out);
    buf_release(&line);
}

static void say_how_to_go_on(const struct progress_options *options, const char *why) {
    draw(options, NULL);
    fprintf(options->out,
            "sluice: %s; operation %s goes on\n"
            "  sluice operation wait %s\n"
            "  sluice operation cancel %s\n",
            why, options->operation, options->operation, options->operation);
}

/* One GET. CLI_OK: *ret is the operation. */
static enum cli_exit ask_once(struct client *client, const struct progress_options *options,
                              const char *path, uint32_t hold_s, json_t **ret) {
    struct client_request request = {.method = "GET", .path = path, .wait_s = hold_s};
    struct client_answer answer;
    struct err err = ERR_INIT;
    enum cli_exit number = CLI_OK;
    switch (client_ask(client, &request, &answer, &err)) {
    case CLIENT_INTERRUPTED:
        say_how_to_go_on(options, "interrupted");
        number = CLI_INTERRUPTED;
        break;
    case CLIENT_UNREACHABLE:
        draw(options, NULL);
        problem_say(options->out, &err);
        say_how_to_go_on(options, "the gateway is lost");
        number = CLI_UNREACHABLE;
        break;
    case CLIENT_ANSWERED:
        *ret = answer.status == 200 ? client_answer_json(&answer) : NULL;
        if (*ret == NULL) {
            draw(options, NULL);
            number = problem_print(options->out, &answer);
        }
        break;
    }
    client_answer_release(&answer);
    return number;
}

enum cli_exit progress_wait(struct client *client, const struct progress_options *options,
                            json_t **ret) {
    char path[128];
    uint64_t began_ms = clock_mono_ms();
    snprintf(path, sizeof path, "/v1/operations/%s", options->operation);
    for (;;) {
        uint64_t round_ms = clock_mono_ms();
        uint64_t waited_ms = round_ms - began_ms;
        bool last = options->wait_s != WAIT_FOR_EVER && waited_ms / 1000 >= options->wait_s;
        json_t *operation = NULL;
        enum cli_exit number = ask_once(client, options, path, last ? 0 : HOLD_S, &operation);
        if (number != CLI_OK)
            return number;
        if (progress_has_ended(operation)) {
            draw(options, NULL);
            *ret = operation;
            return CLI_OK;
        }
        draw(options, operation);
        json_decref(operation);
        if (last) {
            say_how_to_go_on(options, "the time is over");
            return CLI_TIMEOUT;
        }
        uint64_t took_ms = clock_mono_ms() - round_ms;
        if (took_ms < ROUND_MS_MIN)
            client_pause((uint32_t)(ROUND_MS_MIN - took_ms));
    }
}
