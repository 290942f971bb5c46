/* SPDX-License-Identifier: Apache-2.0
 *
 * read.c: the hot path of the API is read_get.
 */
#include "http/read.h"

#include <string.h>

#include "base/check.h"
#include "http/change.h"

#define LIST_DEFAULT 100

/* ---- queries --------------------------------------------------------------------------------- */

bool read_query(struct request *request, struct value values[DECODE_FIELDS_MAX]) {
    const struct route *route = request->endpoint->route;
    struct violations violations = {.count = 0};
    decode_query(route->query, route->query_count, &request->target, &request->arena, &violations,
                 values);
    if (violations.count == 0)
        return true;
    struct err err = ERR_INIT;
    err_set(&err, ERR_VALIDATION, "%s: %s", violations.at[0].field, violations.at[0].text);
    answer_problem(request, &err, &violations);
    return false;
}

static const struct value *find(const struct request *request, const struct value *values,
                                const char *name) {
    const struct route *route = request->endpoint->route;
    return decode_find(route->query, route->query_count, values, name);
}

uint64_t read_number(const struct request *request, const struct value *values, const char *name,
                     uint64_t otherwise) {
    const struct value *value = find(request, values, name);
    return value != NULL && value->given ? value->number : otherwise;
}

static const char *text_of(const struct request *request, const struct value *values,
                           const char *name) {
    const struct value *value = find(request, values, name);
    return value != NULL ? value->text : NULL;
}

/* ---- one object ------------------------------------------------------------------------------ */

static void answer_object(struct request *request) {
    struct answer *answer = &request->answer;
    struct err err = ERR_INIT;
    if (core_get(request->http->core, request->endpoint->noun, request->parameter, &answer->body,
                 &answer->etag, &err))
        answer_set(request, MHD_HTTP_OK, ANSWER_JSON);
    else
        answer_problem(request, &err, NULL);
}

static void drop_watch(struct request *request) {
    if (request->watch != NULL)
        core_unwatch(request->watch);
    request->watch = NULL;
}

static void on_wait_over(struct request *request) {
    drop_watch(request);
    answer_object(request);
    request_resume(request);
}

static void on_ended(void *arg) {
    struct request *request = arg;
    CHECK_MAGIC(request, REQUEST_MAGIC);
    request->watch = NULL;
    if (request->phase == REQUEST_WAITING)
        on_wait_over(request);
}

/* false: there is nothing to wait for. */
static bool wait_start(struct request *request) {
    struct core_outcome outcome;
    struct err err = ERR_INIT;
    request->wait_s = change_wait_s(request->headers.prefer);
    if (request->wait_s == 0 || !uuid_parse(request->parameter, &request->operation) ||
        !core_outcome(request->http->core, &request->operation, &outcome, &err) || outcome.ended)
        return false;
    request->watch =
        core_watch_operation(request->http->core, &request->operation, on_ended, request);
    if (request->watch == NULL)
        return false;
    request->on_gone = drop_watch;
    request_wait_until(request, request->wait_s, on_wait_over);
    return true;
}

void read_get(struct request *request) {
    struct value values[DECODE_FIELDS_MAX];
    if (request->target.query_count > 0 && !read_query(request, values))
        return;
    if (request->endpoint->noun == CORE_OPERATION && request->headers.prefer != NULL &&
        wait_start(request))
        return;
    answer_object(request);
}

/* ---- pages ----------------------------------------------------------------------------------- */

void read_list(struct request *request) {
    struct value values[DECODE_FIELDS_MAX];
    struct buf *body = &request->answer.body;
    char next[CORE_TOKEN_MAX] = "";
    struct err err = ERR_INIT;
    if (!read_query(request, values))
        return;
    const struct value *labels = find(request, values, "label");
    struct core_query query = {
        .pool = text_of(request, values, "pool"),
        .volume = text_of(request, values, "volume"),
        .host = text_of(request, values, "host"),
        .name = text_of(request, values, "name"),
        .state = text_of(request, values, "state"),
        .kind = text_of(request, values, "kind"),
        .labels = labels != NULL && labels->given ? &labels->pairs : NULL,
        .after = text_of(request, values, "after"),
        .limit = (uint32_t)read_number(request, values, "limit", LIST_DEFAULT),
    };
    buf_put(body, "{\"items\":[", 10);
    if (!core_list(request->http->core, request->endpoint->noun, &query, body, next, &err)) {
        answer_problem(request, &err, NULL);
        return;
    }
    buf_put(body, "],\"next\":", 9);
    json_text(body, next);
    buf_put(body, "}", 1);
    answer_set(request, MHD_HTTP_OK, ANSWER_JSON);
}
