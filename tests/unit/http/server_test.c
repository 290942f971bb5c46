/* SPDX-License-Identifier: Apache-2.0
 *
 * The server with a core that does as it is told: answers, waits, disconnects, streams, slow
 * senders, and the end. Client and server share the loop: a client's socket does not block, and the
 * loop is run until what is waited for is there or a deadline is over.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "fake_core.h"
#include "http/server.h"

#define DEADLINE_MS 10000
#define TEXT_MAX 524288

static uv_loop_t loop;
static uv_timer_t tick; /* so that the loop does not sleep longer than a test waits */
static struct core core;
static struct http *http;
static char folder[64], path[96];
static bool closed;
static uint32_t changes;
static char change_operation[64];
static unsigned change_status;

struct client {
    int fd;
    char text[TEXT_MAX];
    size_t length;
    bool ended;
};
static struct client one, two;

/* ---- the loop -------------------------------------------------------------------------------- */

static void on_tick(uv_timer_t *timer) {
    (void)timer;
}

#define RUN_UNTIL(condition)                            \
    do {                                                \
        uint64_t until = clock_mono_ms() + DEADLINE_MS; \
        while (!(condition)) {                          \
            assert_true(clock_mono_ms() < until);       \
            uv_run(&loop, UV_RUN_ONCE);                 \
        }                                               \
    } while (0)

static void on_change(void *owner, const struct http_change *change) {
    (void)owner;
    changes++;
    change_status = change->status;
    snprintf(change_operation, sizeof change_operation, "%s", change->operation);
}

static void open_server(uint32_t deadline_ms) {
    struct err err = ERR_INIT;
    struct http_options options = {
        .socket_path = path,
        .socket_role = ROLE_VIEWER,
        .listen = "127.0.0.1:0",
        .request_deadline_ms = deadline_ms,
        .on_change = on_change,
    };
    if (!http_open(&loop, &core, &options, &http, &err))
        fail_msg("%s", err.text);
}

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/sluice-http.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s", folder);
    assert_int_equal(uv_loop_init(&loop), 0);
    uv_timer_init(&loop, &tick);
    uv_timer_start(&tick, on_tick, 5, 5);
    core = (struct core){.ready = true};
    closed = false;
    changes = 0;
    open_server(0);
    return 0;
}

static void on_closed(void *owner) {
    (void)owner;
    closed = true;
}

static void close_server(void) {
    http_close(http, on_closed, NULL);
    RUN_UNTIL(closed);
    http = NULL;
}

static void client_close(struct client *client) {
    if (client->fd > 0)
        close(client->fd);
    client->fd = 0;
    client->length = 0;
    client->ended = false;
}

static int tear_down(void **state) {
    (void)state;
    client_close(&one);
    client_close(&two);
    if (http != NULL)
        close_server();
    uv_close((uv_handle_t *)&tick, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(core.subscription_count, 0);
    assert_int_equal(core.watch_count, 0);
    assert_int_equal(rmdir(folder), 0); /* the socket is gone */
    return 0;
}

/* ---- a client -------------------------------------------------------------------------------- */

static void connect_local(struct client *client) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    client_close(client);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client->fd, (struct sockaddr *)&address, sizeof address), 0);
}

static void connect_port(struct client *client) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    client_close(client);
    address.sin_port = htons((uint16_t)strtoul(strrchr(http_address(http), ':') + 1, NULL, 10));
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(fcntl(client->fd, F_SETFL, O_NONBLOCK), 0);
}

static bool pump(struct client *client) {
    while (!client->ended && client->length < TEXT_MAX - 1) {
        ssize_t got =
            recv(client->fd, client->text + client->length, TEXT_MAX - 1 - client->length, 0);
        if (got < 0 && errno == EAGAIN)
            break;
        if (got <= 0)
            client->ended = true;
        else
            client->length += (size_t)got;
    }
    client->text[client->length] = '\0';
    return true;
}

static void put_bytes(struct client *client, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(client->fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0) {
            assert_int_equal(errno, EAGAIN);
            uv_run(&loop, UV_RUN_ONCE);
            continue;
        }
        bytes += sent;
        length -= (size_t)sent;
    }
}

static void put(struct client *client, const char *text) {
    put_bytes(client, text, strlen(text));
}

static bool has(struct client *client, const char *text) {
    pump(client);
    return strstr(client->text, text) != NULL;
}

/* A whole answer with Content-Length, or 204, is there. */
static bool answered(struct client *client) {
    pump(client);
    const char *end = strstr(client->text, "\r\n\r\n");
    if (end == NULL)
        return false;
    const char *length = strstr(client->text, "Content-Length: ");
    return length == NULL || length > end ||
           client->length >=
               (size_t)(end + 4 - client->text) + (size_t)strtoul(length + 16, NULL, 10);
}

static int status_of(const struct client *client) {
    return client->length > 12 ? (int)strtol(client->text + 9, NULL, 10) : 0;
}

static void forget(struct client *client) {
    client->length = 0;
    client->text[0] = '\0';
}

/* Sends one request and waits for its answer. */
static int ask(struct client *client, const char *text) {
    forget(client);
    put(client, text);
    RUN_UNTIL(answered(client));
    return status_of(client);
}

static void accept_one(struct err err, const char *secret) {
    struct core_accepted accepted = {.err = err, .secret = secret};
    RUN_UNTIL(core.submitted_count > 0);
    if (err.code == ERR_NONE)
        assert_true(uuid_parse(FAKE_ID, &accepted.operation));
    fake_accept(&core, &accepted);
}

#define POST_VOLUME(headers, body_length, body)                                                  \
    "POST /v1/volumes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" headers \
    "Content-Length: " body_length "\r\n\r\n" body
#define BODY "{\"name\":\"a\"}"

static const char create[] = POST_VOLUME("", "12", BODY);
static const char create_waiting[] = POST_VOLUME("Prefer: wait=30\r\n", "12", BODY);

/* ---- reads ----------------------------------------------------------------------------------- */

static void test_get(void **state) {
    (void)state;
    connect_local(&one);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(&one, "GET /v1/volumes/x HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
        assert_true(has(&one, "\r\nETag: \"7\"\r\n"));
        assert_true(has(&one, "\r\nContent-Type: application/json\r\n"));
        assert_true(has(&one, "\r\nCache-Control: no-store\r\n"));
        assert_true(has(&one, "\r\nX-Content-Type-Options: nosniff\r\n"));
        assert_true(has(&one, "\r\n\r\n" FAKE_OBJECT));
    }
    forget(&one);
    put(&one, "HEAD /v1/volumes/x HTTP/1.1\r\nHost: a\r\n\r\n");
    RUN_UNTIL(has(&one, "\r\n\r\n"));
    assert_int_equal(status_of(&one), 200);
    assert_null(strstr(one.text, "disk1"));
    assert_int_equal(ask(&one, "GET /v1/volumes/missing HTTP/1.1\r\nHost: a\r\n\r\n"), 404);
    assert_true(has(&one, "application/problem+json"));
    assert_true(has(&one, "\"type\":\"/problems/not-found\""));
    assert_true(has(&one, "\"code\":\"not-found\",\"advice\":\"fix\""));
}

static void test_pipelined(void **state) {
    (void)state;
    connect_local(&one);
    put(&one, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"
              "GET /v1/gateway HTTP/1.1\r\nHost: a\r\n\r\n");
    RUN_UNTIL(has(&one, "{\"version\":\"0\"}"));
    assert_true(has(&one, "ok\n"));
    assert_true(has(&one, "no-route"));
}

static void test_list(void **state) {
    (void)state;
    connect_local(&one);
    assert_int_equal(
        ask(&one, "GET /v1/volumes?label=a%3D1&label=b=2&limit=3 HTTP/1.1\r\nHost: a\r\n\r\n"),
        200);
    assert_true(has(&one, "{\"items\":[{\"limit\":3,\"labels\":2}],\"next\":\"more\"}"));
    assert_int_equal(ask(&one, "GET /v1/volumes?limit=x&foo=1 HTTP/1.1\r\nHost: a\r\n\r\n"), 422);
    assert_true(has(&one, "{\"field\":\"limit\",\"text\":\"must be an integer\"}"));
    assert_true(has(&one, "{\"field\":\"foo\""));
    assert_int_equal(ask(&one, "GET /v1/volumes?pool=missing HTTP/1.1\r\nHost: a\r\n\r\n"), 404);
    core.list_bytes = HTTP_ANSWER_MAX;
    assert_int_equal(ask(&one, "GET /v1/volumes HTTP/1.1\r\nHost: a\r\n\r\n"), 503);
    core.list_bytes = 0;
    assert_int_equal(ask(&one, "GET /v1/volumes HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
}

static void test_others(void **state) {
    (void)state;
    connect_local(&one);
    assert_int_equal(ask(&one, "GET /v1/drivers/plan HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
    assert_true(has(&one, "{\"steps\":[]}"));
    assert_int_equal(
        ask(&one, "GET /v1/drivers/ram@1/properties?lang=de HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
    assert_true(has(&one, "[\"ram@1\",\"de\"]"));
    assert_int_equal(ask(&one, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
    assert_true(has(&one, "fake 1\n"));
    assert_true(has(&one, "sluice_http_connections 1\n"));
    assert_string_equal(one.text + one.length - 6, "# EOF\n");
    core.ready = false;
    assert_int_equal(ask(&one, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"), 503);
    assert_int_equal(ask(&one, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void test_refusals(void **state) {
    static const struct {
        const char *text;
        int status;
        const char *said;
    } rows[] = {
        {"GET /v1/nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404, "no-route"},
        {"PUT /v1/volumes HTTP/1.1\r\nHost: a\r\n\r\n", 405,
         "\r\nAllow: GET, HEAD, POST, OPTIONS\r\n"},
        {"get /v1/volumes HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method-not-allowed"},
        {"OPTIONS /v1/volumes HTTP/1.1\r\nHost: a\r\n\r\n", 204, "Allow: GET, HEAD, POST, OPTIONS"},
        {"GET /v1/vol umes HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad-request"},
        {"GET /v1/%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not UTF-8"},
        {"GET /healthz HTTP/1.1\r\n\r\n", 400, "no Host"},
        {"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "Host is there twice"},
        {"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", 400, "has no body"},
        {"POST /v1/volumes HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", 415, "media-type"},
        {"POST /v1/volumes HTTP/1.1\r\nHost: a\r\nContent-Type: text/json\r\nContent-Length: "
         "2\r\n\r\n{}",
         415, "media-type"},
        {POST_VOLUME("Content-Encoding: gzip\r\n", "2", "{}"), 415, "compressed"},
        {POST_VOLUME("", "2", "{}"), 422, "\"violations\":[{\"field\":\"name\""},
        {POST_VOLUME("", "2", "[]"), 400, "not a JSON object"},
        {POST_VOLUME("If-Match: \"x\"\r\n", "12", BODY), 412, "precondition-failed"},
        {POST_VOLUME("Idempotency-Key: a b\r\n", "12", BODY), 400, "visible ASCII"},
        {POST_VOLUME("Transfer-Encoding: chunked\r\n", "12", BODY), 400, "both"},
        {POST_VOLUME("Content-Length: 13\r\n", "12", BODY), 400, "Content-Length is there twice"},
        {POST_VOLUME("", "262145", ""), 413, "too-large"},
        {"POST /v1/volumes HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400,
         "not chunked"},
        {"POST /v1/volumes HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: "
         "9\r\n\r\n",
         415, "media-type"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        connect_local(&one);
        int status = ask(&one, rows[i].text);
        if (status != rows[i].status || !has(&one, rows[i].said))
            fail_msg("row %zu: %s", i, one.text);
        if (status != 204)
            assert_true(has(&one, "Content-Type: application/problem+json"));
    }
    assert_int_equal(core.submissions, 0);
}

static void test_refused_with_its_body_the_connection_goes_on(void **state) {
    (void)state;
    connect_local(&one);
    assert_int_equal(
        ask(&one, "POST /v1/nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /"), 404);
    assert_int_equal(ask(&one, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
}

static void test_a_chunked_body_that_never_ends(void **state) {
    static char chunk[4096 + 8];
    (void)state;
    connect_port(&one);
    put(&one, "POST /v1/volumes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
              "Authorization: Bearer tenant\r\nTransfer-Encoding: chunked\r\n\r\n");
    memset(chunk, ' ', sizeof chunk);
    memcpy(chunk, "1000\r\n", 6);
    memcpy(chunk + sizeof chunk - 2, "\r\n", 2);
    for (int i = 0; i < 80; i++)
        put_bytes(&one, chunk, sizeof chunk);
    RUN_UNTIL(answered(&one));
    assert_int_equal(status_of(&one), 413);
    assert_true(has(&one, "application/problem+json"));
    put(&one, "0\r\n\r\n");
    RUN_UNTIL(has(&one, "") && one.ended);
}

/* ---- who asks -------------------------------------------------------------------------------- */

static void test_tokens_and_roles(void **state) {
    static const struct {
        const char *text;
        int status;
    } rows[] = {
        {"GET /v1/volumes/x HTTP/1.1\r\nHost: localhost\r\n\r\n", 401},
        {"GET /v1/volumes/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer nobody\r\n\r\n",
         401},
        {"GET /v1/volumes/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic eDp5\r\n\r\n", 401},
        {"GET /v1/volumes/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: bearer viewer\r\n\r\n",
         200},
        {"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200},
        {"DELETE /v1/volumes/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer viewer\r\n\r\n",
         403},
        {"GET /v1/tokens HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer operator\r\n\r\n",
         403},
        {"GET /v1/tokens HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer admin\r\n\r\n", 200},
        {"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403},
        {"GET /healthz HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", 403},
        {"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 403},
        {"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n", 200},
        {"GET /healthz HTTP/1.1\r\nHost: [::1]:99\r\n\r\n", 200},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        connect_port(&one);
        if (ask(&one, rows[i].text) != rows[i].status)
            fail_msg("row %zu: %s", i, one.text);
        if (rows[i].status == 401)
            assert_true(has(&one, "\r\nWWW-Authenticate: Bearer realm=\"sluice\"\r\n"));
    }
    /* On the Unix socket this uid is admin, and a token takes its place. */
    connect_local(&one);
    assert_int_equal(ask(&one, "GET /v1/tokens HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_int_equal(
        ask(&one, "GET /v1/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer viewer\r\n\r\n"),
        403);
}

static void test_the_socket_is_ours(void **state) {
    struct stat st;
    struct err err = ERR_INIT;
    struct http *other;
    const struct http_options again = {.socket_path = path};
    const struct http_options outside = {.listen = "0.0.0.0:0"};
    (void)state;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    assert_false(http_open(&loop, &core, &again, &other, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    err = ERR_INIT;
    assert_false(http_open(&loop, &core, &outside, &other, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_int_equal(stat(path, &st), 0);
}

/* ---- changes --------------------------------------------------------------------------------- */

static void test_a_change_without_waiting(void **state) {
    (void)state;
    connect_local(&one);
    put(&one, POST_VOLUME("Idempotency-Key: k-1\r\nIf-Match: \"9\"\r\n", "12", BODY));
    accept_one(ERR_INIT, NULL);
    RUN_UNTIL(answered(&one));
    assert_int_equal(status_of(&one), 202);
    assert_true(has(&one, "\r\nLocation: /v1/operations/" FAKE_ID "\r\n"));
    assert_true(has(&one, "\r\nSluice-Operation: " FAKE_ID "\r\n"));
    assert_true(has(&one, "\"state\":\"running\""));
    assert_string_equal(core.key, "k-1");
    assert_int_equal(core.if_match, 9);
    assert_true(strncmp(core.principal, "uid:", 4) == 0);
    assert_int_equal(changes, 1);
    assert_int_equal(change_status, 202);
    assert_string_equal(change_operation, FAKE_ID);
}

static void test_a_change_that_is_waited_for(void **state) {
    (void)state;
    connect_local(&one);
    put(&one, create_waiting);
    accept_one(ERR_INIT, NULL);
    assert_int_equal(core.watch_count, 1);
    fake_end_operation(&core);
    RUN_UNTIL(answered(&one));
    assert_int_equal(status_of(&one), 201);
    assert_true(has(&one, "\r\nLocation: /v1/volumes/" FAKE_ID "\r\n"));
    assert_true(has(&one, "\r\nETag: \"7\"\r\n"));
    assert_true(has(&one, FAKE_OBJECT));

    core.outcome_err.code = ERR_NO_SPACE;
    assert_int_equal(core.watch_count, 0);
    forget(&one);
    put(&one, create_waiting);
    accept_one(ERR_INIT, NULL);
    RUN_UNTIL(answered(&one));
    assert_int_equal(status_of(&one), 507);
    assert_true(has(&one, "\"operation\":\"" FAKE_ID "\""));

    core.outcome_err.code = ERR_NONE;
    forget(&one);
    put(&one, "DELETE /v1/volumes/x HTTP/1.1\r\nHost: a\r\nPrefer: wait=3\r\n\r\n");
    accept_one(ERR_INIT, NULL);
    RUN_UNTIL(answered(&one));
    assert_int_equal(status_of(&one), 204);
}

static void test_a_wait_that_is_over(void **state) {
    (void)state;
    connect_local(&one);
    put(&one, POST_VOLUME("Prefer: wait=1\r\n", "12", BODY));
    accept_one(ERR_INIT, NULL);
    RUN_UNTIL(answered(&one));
    assert_int_equal(status_of(&one), 202);
    assert_int_equal(core.watch_count, 0);
    forget(&one);
    put(&one, "GET /v1/operations/" FAKE_ID " HTTP/1.1\r\nHost: a\r\nPrefer: wait=30\r\n\r\n");
    RUN_UNTIL(core.watch_count == 1);
    fake_end_operation(&core);
    RUN_UNTIL(answered(&one));
    assert_int_equal(status_of(&one), 200);
    assert_true(has(&one, "\"state\":\"done\""));
}

static void test_a_refused_change(void **state) {
    static const struct core_violation violations[] = {{"properties.path", "must be absolute"}};
    struct core_accepted accepted = {.violation_count = 1, .violations = violations};
    (void)state;
    err_set(&accepted.err, ERR_VALIDATION, "properties.path must be absolute");
    connect_local(&one);
    put(&one, create);
    RUN_UNTIL(core.submitted_count > 0);
    fake_accept(&core, &accepted);
    RUN_UNTIL(answered(&one));
    assert_int_equal(status_of(&one), 422);
    assert_true(has(
        &one, "\"violations\":[{\"field\":\"properties.path\",\"text\":\"must be absolute\"}]"));
    assert_int_equal(change_status, 422);
    assert_string_equal(change_operation, "");
}

static void test_a_token_is_shown_once(void **state) {
    (void)state;
    core.ended = true;
    connect_local(&one);
    put(&one, "POST /v1/tokens HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
              "Content-Length: 30\r\n\r\n{\"name\":\"ci\",\"role\":\"viewer\"} ");
    accept_one(ERR_INIT, "s3cret");
    RUN_UNTIL(answered(&one));
    assert_int_equal(status_of(&one), 201);
    assert_true(has(&one, "\"name\":\"disk1\",\"secret\":\"s3cret\"}"));
}

static void test_clients_that_leave(void **state) {
    (void)state;
    /* While the change becomes durable, while the operation runs, while the driver is asked. */
    connect_local(&one);
    put(&one, create_waiting);
    RUN_UNTIL(core.submitted_count == 1);
    connect_local(&two);
    put(&two, create_waiting);
    RUN_UNTIL(core.submitted_count == 2);
    client_close(&one);
    accept_one(ERR_INIT, NULL);
    accept_one(ERR_INIT, NULL);
    assert_int_equal(core.watch_count, 2);
    client_close(&two);
    fake_end_operation(&core);
    connect_local(&one);
    put(&one, "GET /v1/pools/p/capacity HTTP/1.1\r\nHost: a\r\n\r\n");
    RUN_UNTIL(core.json_done != NULL);
    client_close(&one);
    struct buf json;
    buf_init(&json, 100);
    buf_put(&json, "{}", 2);
    core.json_done(core.json_arg, &json, NULL);
    buf_release(&json);
    connect_local(&one);
    assert_int_equal(ask(&one, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
}

static void test_cancel(void **state) {
    (void)state;
    connect_local(&one);
    assert_int_equal(
        ask(&one, "POST /v1/operations/" FAKE_ID "/cancel HTTP/1.1\r\nHost: a\r\n\r\n"), 202);
    assert_int_equal(
        ask(&one, "POST /v1/operations/" FAKE_ID "/abandon HTTP/1.1\r\nHost: a\r\n\r\n"), 202);
    core.ended = true;
    assert_int_equal(
        ask(&one, "POST /v1/operations/" FAKE_ID "/cancel HTTP/1.1\r\nHost: a\r\n\r\n"), 409);
}

/* ---- events ---------------------------------------------------------------------------------- */

#define STREAM(headers) \
    "GET /v1/events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n" headers "\r\n"

static void test_a_page_of_events(void **state) {
    (void)state;
    core.events = 10;
    connect_local(&one);
    assert_int_equal(ask(&one, "GET /v1/events?after=5&limit=2 HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
    assert_true(has(
        &one, "{\"items\":[{\"number\":6,\"x\":\"\"},{\"number\":7,\"x\":\"\"}],\"next\":\"7\"}"));
    assert_int_equal(ask(&one, "GET /v1/events?after=10 HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
    assert_true(has(&one, "{\"items\":[],\"next\":\"10\"}"));
    assert_int_equal(ask(&one, "GET /v1/events?after=3 HTTP/1.1\r\nHost: a\r\n\r\n"), 410);
}

static void test_a_stream(void **state) {
    (void)state;
    core.events = 10;
    connect_local(&one);
    put(&one, STREAM(""));
    RUN_UNTIL(has(&one, ":\n\n")); /* from now on: nothing yet */
    assert_true(has(&one, "Content-Type: text/event-stream"));
    fake_event(&core);
    RUN_UNTIL(has(&one, "id: 11\nevent: volume.created\ndata: {\"number\":11,\"x\":\"\"}\n\n"));
    assert_false(has(&one, "id: 10\n"));
    connect_local(&two);
    put(&two, STREAM("Last-Event-ID: 8\r\n"));
    RUN_UNTIL(has(&two, "id: 11\n"));
    assert_true(has(&two, "id: 9\n"));
    assert_false(has(&two, "id: 8\n"));
    fake_event(&core);
    RUN_UNTIL(has(&one, "id: 12\n") && has(&two, "id: 12\n"));
    client_close(&two);
    fake_event(&core); /* into a closed connection */
    RUN_UNTIL(has(&one, "id: 13\n"));
    RUN_UNTIL(core.subscription_count == 1);
    connect_local(&two);
    assert_int_equal(ask(&two, STREAM("Last-Event-ID: 3\r\n")), 410);
    assert_int_equal(ask(&two, STREAM("Last-Event-ID: x\r\n")), 400);
}

static void test_a_slow_reader_costs_one_buffer(void **state) {
    (void)state;
    core.event_bytes = 6000;
    connect_local(&one);
    put(&one, STREAM(""));
    RUN_UNTIL(has(&one, ":\n\n"));
    for (int i = 0; i < 2000; i++)
        fake_event(&core); /* 12 MB that nobody takes */
    for (int i = 0; i < 100; i++)
        uv_run(&loop, UV_RUN_ONCE);
    forget(&one);
    uint64_t wanted = 1;
    uint64_t until = clock_mono_ms() + DEADLINE_MS;
    while (wanted <= 2000) { /* it takes them late, and misses none */
        char mark[32];
        snprintf(mark, sizeof mark, "id: %u\n", (unsigned)wanted);
        if (has(&one, mark)) {
            wanted++;
        } else {
            assert_true(clock_mono_ms() < until && !one.ended);
            if (one.length > TEXT_MAX / 2) {
                size_t keep = 8192;
                memmove(one.text, one.text + one.length - keep, keep + 1);
                one.length = keep;
            }
            uv_run(&loop, UV_RUN_ONCE);
        }
    }
}

static void test_streams_have_a_limit(void **state) {
    static const char *const streams[] = {
        STREAM("Authorization: Bearer viewer\r\n"), STREAM("Authorization: Bearer tenant\r\n"),
        STREAM("Authorization: Bearer operator\r\n"), STREAM("Authorization: Bearer admin\r\n")};
    static int fds[HTTP_STREAMS_MAX];
    (void)state;
    for (int i = 0; i < HTTP_STREAMS_MAX; i++) {
        connect_local(&one);
        if (i % HTTP_STREAMS_EACH_MAX == 0 && i > 0) { /* one client does not take them all */
            RUN_UNTIL(core.subscription_count == (uint32_t)i);
            assert_int_equal(ask(&one, streams[i / HTTP_STREAMS_EACH_MAX - 1]), 429);
            assert_true(has(&one, "follows events 64 times already"));
            close(one.fd);
            connect_local(&one);
        }
        put(&one, streams[i / HTTP_STREAMS_EACH_MAX]);
        fds[i] = one.fd;
        one.fd = 0;
    }
    RUN_UNTIL(core.subscription_count == HTTP_STREAMS_MAX);
    connect_local(&one);
    assert_int_equal(ask(&one, STREAM("")), 429);
    assert_true(has(&one, "readers follow events already"));
    for (int i = 0; i < HTTP_STREAMS_MAX; i++)
        close(fds[i]);
    fake_event(&core);
    RUN_UNTIL(core.subscription_count == 0);
}

/* ---- slow senders ---------------------------------------------------------------------------- */

static void test_slow_senders(void **state) {
    static const char *const begun[] = {
        "",
        "GET /he",
        "GET /healthz HTTP/1.1\r\nHost: ",
        "POST /v1/volumes HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{",
    };
    (void)state;
    close_server();
    closed = false;
    open_server(1000);
    for (size_t i = 0; i < sizeof begun / sizeof begun[0]; i++) {
        connect_local(&one);
        put(&one, begun[i]);
        uint64_t from = clock_mono_ms();
        uint64_t fed = from;
        while (has(&one, "") && !one.ended) { /* a byte now and then does not help */
            uint64_t now = clock_mono_ms();
            assert_true(now < from + DEADLINE_MS);
            if (i == 2 && now > fed + 100) {
                (void)!send(one.fd, "x", 1, MSG_NOSIGNAL);
                fed = now;
            }
            uv_run(&loop, UV_RUN_ONCE);
        }
        assert_true(clock_mono_ms() < from + 5000);
        assert_int_equal(status_of(&one), 408);
        assert_true(has(&one, "application/problem+json"));
    }
    /* One that was only kept open hears nothing. */
    connect_local(&one);
    assert_int_equal(ask(&one, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
    forget(&one);
    RUN_UNTIL(has(&one, "") && one.ended);
    assert_int_equal(one.length, 0);
    /* A wait is longer than that. */
    connect_local(&one);
    put(&one, POST_VOLUME("Prefer: wait=3\r\n", "12", BODY));
    accept_one(ERR_INIT, NULL);
    RUN_UNTIL(answered(&one));
    assert_int_equal(status_of(&one), 202);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void test_close_answers_what_waits(void **state) {
    struct core_accepted accepted = {.err = ERR_INIT};
    (void)state;
    connect_local(&one);
    put(&one, create_waiting);
    accept_one(ERR_INIT, NULL);
    assert_int_equal(core.watch_count, 1);
    connect_local(&two);
    put(&two, create);
    RUN_UNTIL(core.submitted_count == 1);
    http_close(http, on_closed, NULL);
    RUN_UNTIL(answered(&one));
    assert_int_equal(status_of(&one), 202);
    assert_true(has(&one, "Connection: close"));
    assert_false(closed); /* the other one becomes durable first */
    assert_true(uuid_parse(FAKE_ID, &accepted.operation));
    fake_accept(&core, &accepted);
    RUN_UNTIL(answered(&two));
    assert_int_equal(status_of(&two), 202);
    RUN_UNTIL(closed);
    http = NULL;
}

static void test_close_does_not_wait_for_ever(void **state) {
    struct core_accepted accepted = {.err = ERR_INIT};
    (void)state;
    connect_local(&one);
    put(&one, create);
    RUN_UNTIL(core.submitted_count == 1);
    connect_local(&two);
    put(&two, STREAM(""));
    RUN_UNTIL(has(&two, ":\n\n"));
    http_close(http, on_closed, NULL);
    RUN_UNTIL(closed);
    http = NULL;
    RUN_UNTIL(answered(&one));
    assert_int_equal(status_of(&one), 503);
    RUN_UNTIL(has(&two, "") && two.ended);
    /* The core calls back when there is nobody left, and the memory goes. */
    fake_accept(&core, &accepted);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_get, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pipelined, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused_with_its_body_the_connection_goes_on, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_chunked_body_that_never_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tokens_and_roles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_socket_is_ours, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_change_without_waiting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_change_that_is_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_wait_that_is_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_refused_change, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_token_is_shown_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clients_that_leave, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cancel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_page_of_events, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_stream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_slow_reader_costs_one_buffer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_streams_have_a_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_slow_senders, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_close_answers_what_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_close_does_not_wait_for_ever, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
