/* SPDX-License-Identifier: Apache-2.0
 *
 * other.c: plan, descriptors, capacity, comparison, cancel and abandon, the gateway itself, health
 * and metrics.
 */
#include "http/other.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "http/change.h"
#include "http/events.h"
#include "http/read.h"
#include "http/request.h"

static void answer_read(struct request *request, bool worked, const struct err *err) {
    if (worked)
        answer_set(request, MHD_HTTP_OK, ANSWER_JSON);
    else
        answer_problem(request, err, NULL);
}

/* Parameters that there are not: the answer is set. */
static bool query_refused(struct request *request) {
    struct value values[DECODE_FIELDS_MAX];
    return !read_query(request, values);
}

/* ---- drivers --------------------------------------------------------------------------------- */

static void plan_drivers(struct request *request) {
    struct err err = ERR_INIT;
    if (!query_refused(request))
        answer_read(request, core_plan(request->http->core, &request->answer.body, &err), &err);
}

static void list_driver_properties(struct request *request) {
    struct value values[DECODE_FIELDS_MAX];
    struct err err = ERR_INIT;
    if (!read_query(request, values))
        return;
    const struct route *route = request->endpoint->route;
    const struct value *language = decode_find(route->query, route->query_count, values, "lang");
    bool given = language != NULL && language->text != NULL && *language->text != '\0';
    answer_read(request,
                core_descriptors(request->http->core, request->parameter,
                                 given ? language->text : "en", &request->answer.body, &err),
                &err);
}

/* ---- what the driver is asked for ------------------------------------------------------------ */

static void on_json(void *arg, struct buf *json, const struct err *err) {
    struct request *request = arg;
    if (!request_back(request))
        return;
    if (err != NULL && err->code != ERR_NONE) {
        answer_problem(request, err, NULL);
    } else {
        buf_put(&request->answer.body, json->at, json->length);
        answer_set(request, MHD_HTTP_OK, ANSWER_JSON);
    }
    request_resume(request);
}

static void get_pool_capacity(struct request *request) {
    if (query_refused(request))
        return;
    request->core_busy = true;
    request_wait(request);
    core_capacity(request->http->core, request->parameter, on_json, request);
}

static void compare_pool(struct request *request) {
    if (query_refused(request))
        return;
    request->core_busy = true;
    request_wait(request);
    core_compare(request->http->core, request->parameter, on_json, request);
}

/* ---- operations ------------------------------------------------------------------------------ */

typedef bool turn_fn(struct core *core, const char *operation,
                     const struct core_principal *principal, struct err *err);

static void turn_operation(struct request *request, turn_fn *turn, const char *name) {
    struct answer *answer = &request->answer;
    struct err err = ERR_INIT;
    uint64_t etag;
    if (query_refused(request))
        return;
    if (turn(request->http->core, request->parameter, &request->principal, &err) &&
        core_get(request->http->core, CORE_OPERATION, request->parameter, &answer->body, &etag,
                 &err)) {
        text_copy(answer->operation, sizeof answer->operation, request->parameter);
        snprintf(answer->location, sizeof answer->location, "/v1/operations/%s", answer->operation);
        answer_set(request, MHD_HTTP_ACCEPTED, ANSWER_JSON);
    } else {
        answer_problem(request, &err, NULL);
    }
    change_report(request, name);
}

static void cancel_operation(struct request *request) {
    turn_operation(request, core_cancel, "operation.cancel");
}

static void abandon_operation(struct request *request) {
    turn_operation(request, core_abandon, "operation.abandon");
}

/* ---- the gateway ----------------------------------------------------------------------------- */

static void get_gateway(struct request *request) {
    if (query_refused(request))
        return;
    core_gateway_json(request->http->core, &request->answer.body);
    answer_set(request, MHD_HTTP_OK, ANSWER_JSON);
}

static void get_health(struct request *request) {
    buf_put(&request->answer.body, "ok\n", 3);
    answer_set(request, MHD_HTTP_OK, ANSWER_TEXT);
}

static void get_readiness(struct request *request) {
    struct err err = ERR_INIT;
    if (core_ready(request->http->core)) {
        get_health(request);
        return;
    }
    err_set(&err, ERR_STOPPING, "the gateway is starting or stopping");
    answer_problem(request, &err, NULL);
}

static void get_metrics(struct request *request) {
    const struct http *http = request->http;
    struct buf *body = &request->answer.body;
    if (query_refused(request))
        return;
    core_metrics(http->core, body);
    buf_printf(body,
               "# TYPE sluice_http_connections gauge\n"
               "# HELP sluice_http_connections Connections of clients.\n"
               "sluice_http_connections %" PRIu32 "\n"
               "# TYPE sluice_http_streams gauge\n"
               "# HELP sluice_http_streams Readers that follow events.\n"
               "sluice_http_streams %" PRIu32 "\n"
               "# TYPE sluice_http_expired counter\n"
               "# HELP sluice_http_expired Connections closed because the client was too slow.\n"
               "sluice_http_expired_total %" PRIu64 "\n"
               "# TYPE sluice_http_requests counter\n"
               "# HELP sluice_http_requests Answered requests by class of status.\n",
               http->connection_count, http->stream_count, http->figures.expired);
    for (int class = 1; class < 6; class ++)
        buf_printf(body, "sluice_http_requests_total{status=\"%dxx\"} %" PRIu64 "\n", class,
                   http->figures.requests[class]);
    buf_put(body, "# EOF\n", 6);
    answer_set(request, MHD_HTTP_OK, ANSWER_METRICS);
}

static const struct {
    const char *id;
    endpoint_fn *run;
} others[] = {
    {"planDrivers", plan_drivers},
    {"listDriverProperties", list_driver_properties},
    {"getPoolCapacity", get_pool_capacity},
    {"comparePool", compare_pool},
    {"cancelOperation", cancel_operation},
    {"abandonOperation", abandon_operation},
    {"listEvents", events_read},
    {"getGateway", get_gateway},
    {"getMetrics", get_metrics},
    {"getHealth", get_health},
    {"getReadiness", get_readiness},
};

endpoint_fn *other_find(const struct route *route) {
    switch (route->action) {
    case ROUTE_LIST:
        return read_list;
    case ROUTE_GET:
        return read_get;
    case ROUTE_SUBMIT:
        return change_submit;
    case ROUTE_OTHER:
        break;
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(others[i].id, route->id) == 0)
            return others[i].run;
    return NULL;
}
