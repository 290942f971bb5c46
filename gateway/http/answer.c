/* SPDX-License-Identifier: Apache-2.0
 *
 * answer.c: problem details, and the way to libmicrohttpd.
 */
#include "http/answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/shape.h"
#include "http/request.h"

static const char *const types[] = {
    [ANSWER_EMPTY] = NULL,
    [ANSWER_JSON] = "application/json",
    [ANSWER_PROBLEM] = "application/problem+json",
    [ANSWER_TEXT] = "text/plain; charset=utf-8",
    [ANSWER_METRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

void answer_clear(struct answer *answer) {
    struct buf body = answer->body;
    buf_clear(&body);
    *answer = (struct answer){.body = body};
}

void answer_set(struct request *request, unsigned status, enum answer_type type) {
    request->answer.status = status;
    request->answer.type = type;
}

static void put(struct buf *buf, const char *text) {
    buf_put(buf, text, strlen(text));
}

void answer_problem_json(struct buf *buf, const struct err *err, const char *operation,
                         const struct violations *violations) {
    const char *slug = err_slug(err->code);
    put(buf, "{\"type\":\"/problems/");
    put(buf, slug);
    put(buf, "\",\"title\":");
    json_text(buf, err_title(err->code));
    buf_printf(buf, ",\"status\":%d,\"detail\":", err_http(err->code));
    json_text(buf, err->text);
    buf_printf(buf, ",\"code\":\"%s\",\"advice\":\"%s\"", slug,
               err_advice_name(err_advice(err->code)));
    if (operation != NULL && *operation != '\0')
        buf_printf(buf, ",\"operation\":\"%s\"", operation);
    if (violations != NULL && violations->count > 0) {
        put(buf, ",\"violations\":[");
        for (uint32_t i = 0; i < violations->count; i++) {
            put(buf, i > 0 ? ",{\"field\":" : "{\"field\":");
            json_text(buf, violations->at[i].field);
            put(buf, ",\"text\":");
            json_text(buf, violations->at[i].text);
            put(buf, "}");
        }
        put(buf, "]");
    }
    put(buf, "}");
}

void answer_problem(struct request *request, const struct err *err,
                    const struct violations *violations) {
    struct answer *answer = &request->answer;
    CHECK(err->code != ERR_NONE);
    buf_clear(&answer->body);
    answer->etag = 0;
    answer->location[0] = '\0';
    answer->authenticate = err->code == ERR_UNAUTHENTICATED;
    answer_set(request, (unsigned)err_http(err->code), ANSWER_PROBLEM);
    answer_problem_json(&answer->body, err, answer->operation, violations);
}

static bool add(struct MHD_Response *response, const char *name, const char *value) {
    return MHD_add_response_header(response, name, value) == MHD_YES;
}

bool answer_add_common(struct MHD_Response *response) {
    return add(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") &&
           add(response, "X-Content-Type-Options", "nosniff");
}

static bool add_etag(struct MHD_Response *response, uint64_t revision) {
    char text[24]; /* 20 digits, quotes, NUL */
    char *at = text + sizeof text - 1;
    *at = '\0';
    *--at = '"';
    for (; revision > 0; revision /= 10)
        *--at = (char)('0' + revision % 10);
    *--at = '"';
    return add(response, MHD_HTTP_HEADER_ETAG, at);
}

static bool add_headers(const struct answer *answer, struct MHD_Response *response) {
    return answer_add_common(response) &&
           (types[answer->type] == NULL ||
            add(response, MHD_HTTP_HEADER_CONTENT_TYPE, types[answer->type])) &&
           (answer->etag == 0 || add_etag(response, answer->etag)) &&
           (answer->location[0] == '\0' ||
            add(response, MHD_HTTP_HEADER_LOCATION, answer->location)) &&
           (answer->operation[0] == '\0' || add(response, "Sluice-Operation", answer->operation)) &&
           (answer->allow == NULL || add(response, MHD_HTTP_HEADER_ALLOW, answer->allow)) &&
           (!answer->authenticate ||
            add(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer realm=\"sluice\"")) &&
           (!answer->close || add(response, MHD_HTTP_HEADER_CONNECTION, "close"));
}

bool answer_queue(struct request *request) {
    struct answer *answer = &request->answer;
    CHECK(answer->status != 0);
    if (answer->body.overflow) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_NO_MEMORY, "the answer is larger than %d bytes or there is no memory",
                HTTP_ANSWER_MAX);
        answer_problem(request, &err, NULL);
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(
        answer->body.length, answer->body.at, MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return false;
    bool queued = add_headers(answer, response) &&
                  MHD_queue_response(request->mhd, answer->status, response) == MHD_YES;
    MHD_destroy_response(response);
    return queued;
}

void answer_raw(int fd, const struct err *err) {
    struct buf problem, whole;
    buf_init(&problem, ANSWER_RAW_MAX);
    buf_init(&whole, ANSWER_RAW_MAX);
    answer_problem_json(&problem, err, NULL, NULL);
    buf_printf(&whole,
               "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\n"
               "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
               "Connection: close\r\nContent-Length: %zu\r\n\r\n",
               err_http(err->code), MHD_get_reason_phrase_for((unsigned)err_http(err->code)),
               problem.length);
    buf_put(&whole, problem.at, problem.length);
    /* One try: whoever does not take two kilobytes is not waiting for an answer. */
    if (!whole.overflow)
        (void)!send(fd, whole.at, whole.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    buf_release(&problem);
    buf_release(&whole);
}
