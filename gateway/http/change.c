/* SPDX-License-Identifier: Apache-2.0
 *
 * change.c: decode, submit, wait, answer.
 */
#include "http/change.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "base/num.h"
#include "http/authenticate.h"

#define PARAMS_SIZE_MAX 512 /* the largest parameter shape has 7 fields */

static const char *const plurals[] = {
#define NOUN(NAME, letter, singular, plural) plural,
#include "core/noun.def"
#undef NOUN
};

/* ---- what the headers say -------------------------------------------------------------------- */

uint32_t change_wait_s(const char *prefer) {
    for (const char *at = prefer; at != NULL && *at != '\0';) {
        at += strspn(at, " \t,;");
        size_t length = strcspn(at, ",;");
        if (length > 5 && strncasecmp(at, "wait=", 5) == 0) {
            uint32_t seconds = 0;
            for (const char *c = at + 5; *c >= '0' && *c <= '9' && seconds <= HTTP_WAIT_MAX_S; c++)
                seconds = seconds * 10 + (uint32_t)(*c - '0');
            return seconds < HTTP_WAIT_MAX_S ? seconds : HTTP_WAIT_MAX_S;
        }
        at += length;
    }
    return 0;
}

bool change_if_match(const char *header, uint64_t *ret, struct err *err) {
    char digits[24];
    uint64_t revision = 0;
    if (header != NULL && strcmp(header, "*") != 0) {
        size_t length = strlen(header);
        bool quoted =
            length > 2 && length < sizeof digits && header[0] == '"' && header[length - 1] == '"';
        snprintf(digits, sizeof digits, "%.*s", quoted ? (int)length - 2 : 0, header + 1);
        if (!num_parse_u64(digits, &revision) || revision == 0)
            return err_set(err, ERR_PRECONDITION, "the If-Match header is not an ETag of this API");
    }
    *ret = revision;
    return true;
}

static bool judge_key(const char *key, struct err *err) {
    if (key == NULL)
        return true;
    size_t length = strnlen(key, CHANGE_KEY_MAX + 1);
    if (length == 0 || length > CHANGE_KEY_MAX)
        return err_set(err, ERR_BAD_REQUEST, "an Idempotency-Key has 1 to %d bytes",
                       CHANGE_KEY_MAX);
    for (const char *at = key; *at != '\0'; at++)
        if (*at <= ' ' || *at >= 0x7f)
            return err_set(err, ERR_BAD_REQUEST, "an Idempotency-Key is visible ASCII");
    return true;
}

static int on_dump(const char *bytes, size_t length, void *arg) {
    return crypto_hash_sha256_update(arg, (const unsigned char *)bytes, length);
}

static void hash_text(crypto_hash_sha256_state *state, const char *text) {
    /* With its NUL, so that two texts are not read as one. */
    crypto_hash_sha256_update(state, (const unsigned char *)text, strlen(text) + 1);
}

void change_hash(const char *method, const struct target *target, json_t *body,
                 unsigned char ret[32]) {
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    hash_text(&state, method);
    for (size_t i = 0; i < target->segment_count; i++)
        hash_text(&state, target->segments[i]);
    hash_text(&state, "?");
    for (size_t i = 0; i < target->query_count; i++) {
        hash_text(&state, target->query[i].name);
        hash_text(&state, target->query[i].value);
    }
    hash_text(&state, "");
    CHECK(json_dump_callback(body, on_dump, &state, JSON_COMPACT | JSON_SORT_KEYS) == 0);
    crypto_hash_sha256_final(&state, ret);
}

/* ---- answers --------------------------------------------------------------------------------- */

void change_report(const struct request *request, const char *kind) {
    const struct http_options *options = &request->http->options;
    struct http_change change = {
        .principal = request->principal.name,
        .kind = kind,
        .operation = request->answer.operation,
        .status = request->answer.status,
    };
    if (options->on_change != NULL)
        options->on_change(options->owner, &change);
}

static void answer_failure(struct request *request, const struct err *err,
                           const struct violations *violations) {
    answer_problem(request, err, violations);
    change_report(request, request->endpoint->route->operation);
}

/* The operation itself, done or not. */
static void answer_operation(struct request *request, unsigned status) {
    struct answer *answer = &request->answer;
    struct err err = ERR_INIT;
    uint64_t etag;
    if (!core_get(request->http->core, CORE_OPERATION, answer->operation, &answer->body, &etag,
                  &err)) {
        answer_failure(request, &err, NULL);
        return;
    }
    snprintf(answer->location, sizeof answer->location, "/v1/operations/%s", answer->operation);
    answer_set(request, status, ANSWER_JSON);
    change_report(request, request->endpoint->route->operation);
}

static void add_secret(struct request *request) {
    struct buf *body = &request->answer.body;
    CHECK(body->overflow || (body->length > 1 && body->at[body->length - 1] == '}'));
    body->length -= body->overflow ? 0 : 1;
    buf_printf(body, ",\"secret\":\"%s\"}", request->secret);
}

static void answer_object(struct request *request, const struct core_outcome *outcome) {
    const struct route *route = request->endpoint->route;
    struct answer *answer = &request->answer;
    char reference[256] = "";
    struct err err = ERR_INIT;
    if (!uuid_is_zero(&outcome->object))
        uuid_format(&outcome->object, reference);
    else
        text_copy(reference, sizeof reference, outcome->object_name);
    /* A scan is of no object; and what was changed may have been deleted since. */
    if (*reference == '\0' || !core_get(request->http->core, outcome->noun, reference,
                                        &answer->body, &answer->etag, &err)) {
        buf_clear(&answer->body);
        answer_operation(request, MHD_HTTP_OK);
        return;
    }
    if (route->creates) {
        char id[UUID_TEXT_SIZE]; /* all that is created has one */
        snprintf(answer->location, sizeof answer->location, "/v1/%s/%s", plurals[outcome->noun],
                 uuid_format(&outcome->object, id));
    }
    if (request->secret != NULL)
        add_secret(request);
    answer_set(request, route->creates ? MHD_HTTP_CREATED : MHD_HTTP_OK, ANSWER_JSON);
    change_report(request, route->operation);
}

/* Answers when the operation has ended; false: it has not. */
static bool answer_outcome(struct request *request) {
    struct core_outcome outcome;
    struct err err = ERR_INIT;
    if (!core_outcome(request->http->core, &request->operation, &outcome, &err)) {
        answer_failure(request, &err, NULL);
        return true;
    }
    if (!outcome.ended)
        return false;
    if (outcome.err.code != ERR_NONE) {
        answer_failure(request, &outcome.err, NULL);
    } else if (request->endpoint->route->deletes) {
        answer_set(request, MHD_HTTP_NO_CONTENT, ANSWER_EMPTY);
        change_report(request, request->endpoint->route->operation);
    } else {
        answer_object(request, &outcome);
    }
    return true;
}

/* ---- waiting for the operation --------------------------------------------------------------- */

static void drop_watch(struct request *request) {
    if (request->watch != NULL)
        core_unwatch(request->watch);
    request->watch = NULL;
}

static void on_wait_over(struct request *request) {
    drop_watch(request);
    answer_operation(request, MHD_HTTP_ACCEPTED);
    request_resume(request);
}

static void on_ended(void *arg) {
    struct request *request = arg;
    CHECK_MAGIC(request, REQUEST_MAGIC);
    request->watch = NULL;
    if (request->phase != REQUEST_WAITING)
        return;
    if (!answer_outcome(request))
        answer_operation(request, MHD_HTTP_ACCEPTED);
    request_resume(request);
}

static void watch_start(struct request *request) {
    request->on_gone = drop_watch;
    request->watch =
        core_watch_operation(request->http->core, &request->operation, on_ended, request);
    if (request->watch == NULL || request->http->closing)
        on_wait_over(request);
    else
        request_wait_until(request, request->wait_s, on_wait_over);
}

/* ---- submitting ------------------------------------------------------------------------------ */

static void on_accepted(void *arg, const struct core_accepted *accepted) {
    struct request *request = arg;
    authenticate_anew(request->http);
    if (!request_back(request))
        return;
    if (accepted->err.code != ERR_NONE) {
        struct violations violations = {.count = 0};
        for (uint32_t i = 0; i < accepted->violation_count && i < CORE_VIOLATIONS_MAX; i++)
            violations.at[violations.count++] = accepted->violations[i];
        answer_failure(request, &accepted->err, &violations);
        request_resume(request);
        return;
    }
    request->operation = accepted->operation;
    uuid_format(&request->operation, request->answer.operation);
    if (accepted->secret != NULL)
        request->secret = arena_strdup(&request->arena, accepted->secret);
    if (answer_outcome(request)) {
        request_resume(request);
    } else if (request->wait_s > 0) {
        watch_start(request);
    } else {
        answer_operation(request, MHD_HTTP_ACCEPTED);
        request_resume(request);
    }
}

static void submit_start(struct request *request, struct core_submission *submission) {
    submission->kind = request->endpoint->kind;
    submission->principal = &request->principal;
    submission->key = request->headers.idempotency_key;
    request->core_busy = true;
    request_wait(request);
    core_submit(request->http->core, submission, on_accepted, request);
}

/* Fills the parameters by the route's tables. */
static void take_params(struct request *request, json_t *body, void *params,
                        struct violations *violations) {
    const struct route *route = request->endpoint->route;
    const struct shape *shape = core_kind_params(request->endpoint->kind);
    struct value values[DECODE_FIELDS_MAX];
    memset(params, 0, PARAMS_SIZE_MAX);
    CHECK(shape->size <= PARAMS_SIZE_MAX);
    decode_defaults(shape, params);
    if (route->target != NULL) {
        struct value target = {.given = true, .text = request->parameter};
        struct route_field field = {.name = "target", .kind = ROUTE_TEXT};
        if (strlen(request->parameter) > route->target->max)
            violations_add(violations, route->target->name, "must have at most %llu bytes",
                           (unsigned long long)route->target->max);
        decode_store(shape, &field, 1, &target, params);
    }
    decode_query(route->query, route->query_count, &request->target, &request->arena, violations,
                 values);
    decode_store(shape, route->query, route->query_count, values, params);
    decode_body(route->body, route->body_count, body, &request->arena, violations, values);
    decode_store(shape, route->body, route->body_count, values, params);
}

void change_submit(struct request *request) {
    const struct headers *headers = &request->headers;
    struct core_submission submission = {.key = NULL};
    struct err err = ERR_INIT;
    struct violations violations = {.count = 0};
    json_t *body = NULL;
    _Alignas(16) unsigned char params[PARAMS_SIZE_MAX];
    if (!judge_key(headers->idempotency_key, &err) ||
        !change_if_match(headers->if_match, &submission.if_match, &err) ||
        !decode_json(request->body.at, request->body.length, &body, &err)) {
        answer_failure(request, &err, NULL);
        return;
    }
    take_params(request, body, params, &violations);
    request->wait_s = change_wait_s(headers->prefer);
    change_hash(request->endpoint->route->method, &request->target, body, submission.request_hash);
    json_decref(body);
    if (violations.count > 0) {
        err_set(&err, ERR_VALIDATION, "%s: %s", violations.at[0].field, violations.at[0].text);
        answer_failure(request, &err, &violations);
        return;
    }
    submission.params = params;
    submit_start(request, &submission);
}
