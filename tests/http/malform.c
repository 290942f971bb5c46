/* SPDX-License-Identifier: Apache-2.0
 *
 * malform.c: requests that are wrong in ways that are known, so that the right answer is known too.
 *
 *     http_malform SOCKET ADDRESS PID COUNT SEED SLOW DEADLINE_MS
 *
 *   SOCKET ADDRESS  of the gateway: its Unix socket, and its port as 127.0.0.1:PORT
 *   PID             of sluiced, whose memory is watched
 *   COUNT SEED      requests, and what decides them: the same seed, the same requests
 *   SLOW            clients at once that send too slowly; the gateway gives a request DEADLINE_MS
 *
 * Each row of the table below makes one kind of request and says which statuses are right. Where
 * libmicrohttpd answers before the gateway sees the request (server.h), the row says LIBRARY and
 * only the status is judged; a first line that is not HTTP at all, and a body whose sender is gone,
 * are CLOSED without an answer. All other answers must be problem details that say what they are.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "client.h"

#define REQUEST_MAX 700000         /* the largest: a chunked body of twice what is taken */
#define PROBE_EVERY 250            /* requests between looks at the server's health */
#define PROBE_MS_MAX 1000          /* for a GET of /healthz between malformed requests */
#define MEMORY_GROWTH_MAX_KB 65536 /* HTTP_BODIES_MAX and as much for everything else */
#define SLOW_MAX 900               /* below the server's limit of connections */
#define SLOW_LATE_MS 3000          /* after the deadline: the gateway looks once a second */
#define STATUSES_MAX 3

enum answered { BY_GATEWAY, BY_LIBRARY, CLOSED };

static const char *socket_path, *address;
static uint64_t random_state;
static char request[REQUEST_MAX];
static size_t request_length;
static bool on_port;

/* ---- the random choices (splitmix64) --------------------------------------------------------- */

static uint64_t random_number(void) {
    uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static size_t below(size_t limit) {
    return (size_t)(random_number() % limit);
}

static size_t between(size_t low, size_t high) {
    return low + below(high - low + 1);
}

#define PICK(list) (list)[below(sizeof(list) / sizeof(list)[0])]

/* ---- putting a request together -------------------------------------------------------------- */

static void add_bytes(const void *bytes, size_t length) {
    if (length > sizeof request - request_length)
        client_die("a request of more than %d bytes", REQUEST_MAX);
    memcpy(request + request_length, bytes, length);
    request_length += length;
}

static void add(const char *text) {
    add_bytes(text, strlen(text));
}

static void add_repeated(char c, size_t count) {
    for (size_t i = 0; i < count; i++)
        add_bytes(&c, 1);
}

static void add_word(size_t low, size_t high) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    for (size_t i = between(low, high); i > 0; i--)
        add_bytes(&letters[below(26)], 1);
}

static void head(const char *first) {
    add(first);
    add(" HTTP/1.1\r\nHost: localhost\r\n");
}

static void post_body(const char *path, const void *body, size_t length) {
    char line[96];
    add("POST ");
    head(path);
    snprintf(line, sizeof line, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
             length);
    add(line);
    add_bytes(body, length);
}

static void post(const char *path, const char *body) {
    post_body(path, body, strlen(body));
}

/* ---- the kinds ------------------------------------------------------------------------------- */

static void wrong_method(void) {
    static const char *const methods[] = {"PUT",  "TRACE",    "CONNECT", "get",
                                          "Post", "PROPFIND", "HELO"};
    static const char *const paths[] = {" /v1/volumes", " /v1/pools/p/drain", " /healthz"};
    if (below(2) == 0)
        add(PICK(methods));
    else
        add_word(1, 40);
    head(PICK(paths));
}

static void method_not_taken(void) {
    static const char *const lines[] = {"DELETE /v1/volumes", "PATCH /v1/tokens/x", "POST /metrics",
                                        "GET /v1/volumes/x/resize", "DELETE /v1/operations/x"};
    head(PICK(lines));
    add("\r\n");
}

static void path_unknown(void) {
    add("GET /");
    for (size_t i = between(1, 10); i > 0; i--) {
        add_word(0, 12);
        add("x/");
    }
    head("");
    add("\r\n");
}

static void path_badly_encoded(void) {
    static const char *const parts[] = {
        "%",      "%2",        "%zz",          "%g0",    "%00", "%0a",  "%7f",     "%ff",
        "%c0%80", "%ed%a0%80", "%f5%80%80%80", "%e2%82", "#x",  "\x01", "\xc3\xa4"};
    add(below(2) == 0 ? "GET /v1/volumes/" : "GET /v1/volumes?name=");
    add_word(0, 8);
    add(PICK(parts));
    add("~"); /* no hex digit, and no byte of a longer character */
    head("");
    add("\r\n");
}

static void path_with_spaces(void) {
    add("GET /v1/");
    add_word(1, 5);
    add(" ");
    add_word(1, 5);
    head("");
    add("\r\n");
}

static void path_long(void) {
    add("GET /v1/volumes/");
    add_repeated('a', between(4096, 12000));
    head("");
    add("\r\n");
}

static void path_very_long(void) {
    add("GET /");
    add_repeated('a', between(33000, 60000));
    head("");
    add("\r\n");
}

static void no_path(void) {
    static const char *const lines[] = {"GET *", "GET v1/volumes", "GET https://localhost/v1",
                                        "GET ?x=1"};
    head(PICK(lines));
    add("\r\n");
}

static void json_cut(void) {
    static const char whole[] =
        "{\"pool\":\"p\",\"name\":\"v\",\"size_bytes\":1048576,\"labels\":{\"a\":\"b\\u00e4\"}}";
    post_body("/v1/volumes", whole, between(1, sizeof whole - 2));
}

static void json_wrong(void) {
    static const char *const bodies[] = {"[]",
                                         "1",
                                         "null",
                                         "\"x\"",
                                         "{'a':1}",
                                         "{\"a\":01}",
                                         "{\"a\":.5}",
                                         "{\"a\":+1}",
                                         "{\"a\":NaN}",
                                         "{\"a\":1e999}",
                                         "{\"a\":18446744073709551616}",
                                         "{\"name\":\"a\",\"name\":\"b\"}",
                                         "{} {}",
                                         "{},",
                                         "{\"a\":\"\\u0000\"}",
                                         "{\"a\":\"\\ud800\"}",
                                         "{\"a\":\"\t\"}",
                                         "{\"a\":tru}",
                                         "\xef\xbb\xbf{}"};
    post("/v1/volumes", PICK(bodies));
}

static void json_not_utf8(void) {
    static const char *const bytes[] = {"\xff",     "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                        "\xe2\x82", "\x80"};
    char body[64];
    int length = snprintf(body, sizeof body, "{\"name\":\"a%sb\"}", PICK(bytes));
    post_body("/v1/volumes", body, (size_t)length);
}

static void json_deep(void) {
    static char body[200001];
    size_t depth = between(20, 100000);
    memset(body, below(2) == 0 ? '[' : '{', depth);
    memcpy(body, "{\"a\":", 5);
    if (body[5] == '{')
        for (size_t i = 5; i + 5 <= depth; i += 5)
            memcpy(body + i, "{\"a\":", 5);
    post_body("/v1/volumes", body, depth < 200 ? 200 : depth);
}

static void json_with_zero(void) {
    static const char body[] = "{\"name\":\"a\"\0}";
    post_body("/v1/volumes", body, sizeof body - 1);
}

static void field_wrong(void) {
    static const char *const bodies[] = {"{}",
                                         "{\"name\":1}",
                                         "{\"name\":\"\"}",
                                         "{\"name\":null}",
                                         "{\"name\":\"a\",\"size_bytes\":-1}",
                                         "{\"name\":\"a\",\"size_bytes\":1.5}",
                                         "{\"name\":\"a\",\"size_bytes\":\"1\"}",
                                         "{\"name\":\"a\",\"size_bytes\":1e3}",
                                         "{\"name\":\"a\",\"format\":\"x\"}",
                                         "{\"name\":\"a\",\"labels\":[]}",
                                         "{\"name\":\"a\",\"labels\":{\"a\":1}}",
                                         "{\"name\":\"a\",\"labels\":{\"a\":{\"b\":{}}}}",
                                         "{\"name\":\"a\",\"nmae\":\"b\"}",
                                         "{\"name\":\"a/b\",\"pool\":\"p\"}",
                                         "{\"name\":\"..\",\"pool\":\"p\"}"};
    post("/v1/volumes", PICK(bodies));
}

static void field_long(void) {
    static char body[70000];
    size_t length = between(256, 60000);
    memcpy(body, "{\"name\":\"", 9);
    memset(body + 9, 'n', length);
    memcpy(body + 9 + length, "\"}", 2);
    post_body("/v1/volumes", body, length + 11);
}

static void field_many(void) {
    static char body[70000];
    size_t used = (size_t)snprintf(body, sizeof body, "{\"name\":\"a\",\"labels\":{\"x\":\"y\"");
    for (size_t i = between(33, 2000); i > 0; i--)
        used += (size_t)snprintf(body + used, sizeof body - used, ",\"l%zu\":\"\"", i);
    used += (size_t)snprintf(body + used, sizeof body - used, "}}");
    post_body("/v1/volumes", body, used);
}

static void query_wrong(void) {
    static const char *const queries[] = {
        "limit=0",    "limit=501",       "limit=-1",
        "limit=1e2",  "limit=",          "limit=18446744073709551616",
        "limit=0x10", "limit=1&limit=2", "nothing=1",
        "label=a",    "label==b",        "label=a=1&label=a=2"};
    add("GET /v1/volumes?");
    add(PICK(queries));
    head("");
    add("\r\n");
}

static void query_crowded(void) {
    add("GET /v1/volumes?a=1");
    for (size_t i = between(48, 400); i > 0; i--)
        add("&b=2");
    head("");
    add("\r\n");
}

static void token_wrong(void) {
    static const char *const afters[] = {"x", "%25", "-1", "0190a0b0",
                                         "zzzzzzzz-0000-7000-8000-000000000001"};
    add("GET /v1/volumes?after=");
    add(PICK(afters));
    head("");
    add("\r\n");
}

static void body_too_long(void) {
    char line[96];
    head("POST /v1/volumes");
    snprintf(line, sizeof line, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
             between(262145, 1000000000));
    add(line);
}

static void body_chunked_too_long(void) {
    head("POST /v1/volumes");
    add("Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t i = between(70, 160); i > 0; i--) {
        add("1000\r\n");
        add_repeated(' ', 4096);
        add("\r\n");
    }
    add("0\r\n\r\n");
}

static void media_type_wrong(void) {
    static const char *const headers[] = {
        "", "Content-Type: text/plain\r\n", "Content-Type: application/jsonx\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n"};
    head("POST /v1/volumes");
    add(PICK(headers));
    add("Content-Length: 2\r\n\r\n{}");
}

static void body_where_none_is(void) {
    head("GET /v1/volumes");
    add("Content-Length: 5\r\n\r\nhello");
}

static void framing_wrong(void) {
    static const char *const headers[] = {
        "Transfer-Encoding: gzip\r\n", "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n", "Transfer-Encoding: identity\r\n"};
    head("POST /v1/volumes");
    add("Content-Type: application/json\r\n");
    add(PICK(headers));
    add("\r\n{}");
}

static void header_wrong(void) {
    static const char *const headers[] = {
        "Idempotency-Key: a b\r\n", "Idempotency-Key: \xc3\xa4\r\n",
        "Idempotency-Key: a\r\nIdempotency-Key: b\r\n", "Host: other\r\n"};
    head("DELETE /v1/volumes/x");
    add(PICK(headers));
    add("\r\n");
}

static void key_long(void) {
    head("DELETE /v1/volumes/x");
    add("Idempotency-Key: ");
    add_repeated('k', between(256, 10000));
    add("\r\n\r\n");
}

static void etag_wrong(void) {
    static const char *const etags[] = {"7",     "\"\"",         "W/\"7\"",
                                        "\"x\"", "\"7\", \"8\"", "\"99999999999999999999\""};
    head("DELETE /v1/volumes/x");
    add("If-Match: ");
    add(PICK(etags));
    add("\r\n\r\n");
}

static void no_host(void) {
    add("GET /healthz HTTP/1.1\r\n\r\n");
}

static void head_large(void) {
    head("GET /v1/volumes");
    add("X-Filler: ");
    add_repeated('f', between(33000, 65000));
    add("\r\n\r\n");
}

static void headers_many(void) {
    head("GET /v1/volumes");
    for (size_t i = 0; i < 5000; i++)
        add("A: b\r\n");
    add("\r\n");
}

static void header_without_colon(void) {
    head("GET /healthz");
    add_word(1, 30);
    add("\r\n\r\n");
}

static void length_wrong(void) {
    static const char *const lengths[] = {"-1", "1x", "0x2", "1 2", "99999999999999999999", "+2"};
    head("POST /v1/volumes");
    add("Content-Type: application/json\r\nContent-Length: ");
    add(PICK(lengths));
    add("\r\n\r\n{}");
}

static void chunk_wrong(void) {
    static const char *const chunks[] = {"zz\r\n{}\r\n0\r\n\r\n", "-2\r\n{}\r\n",
                                         "2\r\n{}{}\r\n0\r\n\r\n", "fffffffffffffffff\r\n{}",
                                         " 2\r\n{}\r\n"};
    head("POST /v1/volumes");
    add("Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    add(PICK(chunks));
}

static void version_wrong(void) {
    static const char *const lines[] = {
        "GET /healthz HTTP/2.0", "GET /healthz HTTP/0.9",  "GET /healthz HTTP/1",
        "GET /healthz http/1.1", "GET /healthz HTTPS/1.1", "GET /healthz HTTP/1.x",
        "GET /healthz"};
    add(PICK(lines));
    add("\r\nHost: localhost\r\n\r\n");
}

static void not_http(void) {
    static const char tls[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    if (below(2) == 0) {
        add_bytes(tls, sizeof tls - 1);
        add("\r\n\r\n");
        return;
    }
    for (size_t i = between(1, 200); i > 0; i--) {
        char c = (char)between(0x21, 0xff);
        add_bytes(&c, 1);
    }
    add("\r\n\r\n");
}

/* ---- on the port ----------------------------------------------------------------------------- */

static void token_missing(void) {
    static const char *const headers[] = {
        "", "Authorization: Bearer nothing\r\n", "Authorization: Basic eDp5\r\n",
        "Authorization: Bearer \r\n", "Authorization: bearer\r\n"};
    on_port = true;
    head("GET /v1/volumes");
    add(PICK(headers));
    add("\r\n");
}

static void token_long(void) {
    on_port = true;
    head("GET /v1/volumes");
    add("Authorization: Bearer ");
    add_repeated('t', between(256, 10000));
    add("\r\n\r\n");
}

static void host_foreign(void) {
    static const char *const lines[] = {
        "GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost.evil.example:80\r\n\r\n",
        "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"};
    on_port = true;
    add(PICK(lines));
}

static void method_end(void) {
    wrong_method();
    add("\r\n");
}

static const struct kind {
    const char *name;
    void (*make)(void);
    enum answered answered;
    int statuses[STATUSES_MAX];
} kinds[] = {
    {"a method that nobody has", method_end, BY_GATEWAY, {405}},
    {"a method that the path has not", method_not_taken, BY_GATEWAY, {405}},
    {"a path that is not there", path_unknown, BY_GATEWAY, {404}},
    {"a path or query badly encoded", path_badly_encoded, BY_GATEWAY, {400}},
    {"a path with spaces", path_with_spaces, BY_GATEWAY, {400}},
    {"a path of 4 KiB and more", path_long, BY_GATEWAY, {431}},
    {"a path beyond all buffers", path_very_long, BY_LIBRARY, {414}},
    {"no path", no_path, BY_GATEWAY, {400}},
    {"JSON cut short", json_cut, BY_GATEWAY, {400}},
    {"no JSON, or no object", json_wrong, BY_GATEWAY, {400}},
    {"JSON that is not UTF-8", json_not_utf8, BY_GATEWAY, {400}},
    {"JSON too deep", json_deep, BY_GATEWAY, {400}},
    {"JSON with a NUL", json_with_zero, BY_GATEWAY, {400}},
    {"a field that is wrong", field_wrong, BY_GATEWAY, {422}},
    {"a field too long", field_long, BY_GATEWAY, {422}},
    {"too many entries", field_many, BY_GATEWAY, {422}},
    {"a query parameter that is wrong", query_wrong, BY_GATEWAY, {422}},
    {"too many query parameters", query_crowded, BY_GATEWAY, {400}},
    {"a page token that is wrong", token_wrong, BY_GATEWAY, {400}},
    {"a body too long by its length", body_too_long, BY_GATEWAY, {413}},
    {"a body too long in chunks", body_chunked_too_long, BY_GATEWAY, {413}},
    {"a body of another type", media_type_wrong, BY_GATEWAY, {415}},
    {"a body where none is taken", body_where_none_is, BY_GATEWAY, {400}},
    {"two readings of the body's end", framing_wrong, BY_GATEWAY, {400}},
    {"a header that is wrong", header_wrong, BY_GATEWAY, {400}},
    {"a key too long", key_long, BY_GATEWAY, {400}},
    {"an ETag that is wrong", etag_wrong, BY_GATEWAY, {412}},
    {"no Host", no_host, BY_GATEWAY, {400}},
    {"a header beyond all buffers", head_large, BY_LIBRARY, {431}},
    {"headers beyond all buffers", headers_many, BY_LIBRARY, {431}},
    {"a header without colon", header_without_colon, BY_LIBRARY, {400}},
    {"a Content-Length that is wrong", length_wrong, BY_LIBRARY, {400, 413}},
    {"a chunk that is wrong", chunk_wrong, BY_LIBRARY, {400, 413}},
    {"another version of HTTP", version_wrong, BY_LIBRARY, {400, 505}},
    {"bytes that are not HTTP", not_http, CLOSED, {0}},
    {"no token, or a wrong one", token_missing, BY_GATEWAY, {401}},
    {"a token too long", token_long, BY_GATEWAY, {401}},
    {"a Host that is another's", host_foreign, BY_GATEWAY, {403}},
};
#define KINDS (sizeof kinds / sizeof kinds[0])

static size_t counts[KINDS];
static uint64_t answered_by[3];
static uint64_t pipelined, reused;

/* ---- judging --------------------------------------------------------------------------------- */

static void show(const struct kind *kind, const struct answer *answer, uint64_t number) {
    fprintf(stderr, "request %" PRIu64 " (%s): status %d, code %s\n", number, kind->name,
            answer->status, answer->code);
    for (size_t i = 0; i < request_length && i < 300; i++) {
        unsigned char c = (unsigned char)request[i];
        fprintf(stderr, c >= 0x20 && c < 0x7f ? "%c" : c == '\n' ? "\n" : "\\x%02x", c);
    }
    client_die("\nis answered wrongly: %.300s", answer->status != 0 ? answer->body : "");
}

static void judge(const struct kind *kind, const struct answer *answer, uint64_t number) {
    bool right = false;
    for (size_t i = 0; i < STATUSES_MAX; i++)
        right = right || answer->status == kind->statuses[i];
    if (kind->answered == CLOSED) /* when the bytes happen to hold two spaces it is a bad version */
        right = right || answer->status == 400 || answer->status == 505;
    if (kind->answered == BY_GATEWAY)
        right = right && answer->problem;
    if (!right)
        show(kind, answer, number);
    answered_by[answer->status == 0 ? CLOSED : answer->problem ? BY_GATEWAY : BY_LIBRARY]++;
}

/* A client that goes on with its connection where it may, and one that pipelines. */
static struct client kept[2];
static bool kept_open[2];

static void run_one(uint64_t number) {
    static struct client once;
    size_t index = below(KINDS);
    const struct kind *kind = &kinds[index];
    struct answer answer;
    request_length = 0;
    on_port = false;
    bool behind_another = kind->answered == BY_GATEWAY && below(8) == 0;
    if (behind_another)
        add("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    kind->make();
    counts[index]++;
    bool keep = kind->answered == BY_GATEWAY && below(2) == 0;
    struct client *client = keep ? &kept[on_port] : &once;
    if (keep && kept_open[on_port])
        reused++;
    if (!keep || !kept_open[on_port])
        client_open(client, on_port ? address : socket_path);
    client_send(client, request, request_length); /* it may be refused before all was sent */
    client_read(client, &answer);
    if (behind_another) {
        if (answer.status != 200)
            show(kind, &answer, number);
        client_drop(client, &answer);
        client_read(client, &answer);
        pipelined++;
    }
    judge(kind, &answer, number);
    if (keep)
        kept_open[on_port] = !answer.closes;
    if (keep && !answer.closes)
        client_drop(client, &answer);
    else
        client_close(client);
}

/* ---- slow senders ---------------------------------------------------------------------------- */

static struct client slow[SLOW_MAX];
static size_t slow_begun[SLOW_MAX];

#define BEGUN_LINES 4 /* the first ones end in a line that can go on for ever */

static const char *const begun[] = {
    "",
    "G",
    "GET /healthz HT",
    "GET /healthz HTTP/1.1\r\nHost: l",
    "POST /v1/volumes HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: "
    "9\r\n"
    "\r\n{\"n",
    "POST /v1/volumes HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: "
    "chunked\r\n\r\n",
    "POST /v1/volumes HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: "
    "chunked\r\n\r\n10\r\n{\"name\"",
    "POST /v1/volumes HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: "
    "chunked\r\n\r\n2\r\n{}\r\n0\r\n",
};

/* Half of them say that no more will come. */
static void slow_open(size_t count) {
    for (size_t i = 0; i < count; i++) {
        client_open(&slow[i], socket_path);
        slow_begun[i] = below(sizeof begun / sizeof begun[0]);
        client_put(&slow[i], begun[slow_begun[i]]);
        if (i % 2 == 1)
            client_half_close(&slow[i]);
    }
}

/* A byte now and then must not help. */
static void slow_feed(size_t count) {
    for (size_t i = 0; i < count; i += 2)
        if (slow_begun[i] < BEGUN_LINES)
            client_put(&slow[i], "x");
}

static void slow_close(size_t count, uint64_t opened_ms, uint64_t deadline_ms) {
    uint64_t others_ms = clock_mono_ms() - opened_ms;
    struct answer answer;
    size_t closed = 0;
    for (size_t i = 0; i < count; i++) {
        client_read(&slow[i], &answer);
        /* libmicrohttpd closes at once where it sees that a sender has gone. */
        bool gone = answer.status == 0 && i % 2 == 1;
        if (!gone && (answer.status != 408 || !answer.problem || !answer.closes))
            client_die("slow sender %zu: status %d, code %s", i, answer.status, answer.code);
        closed += gone ? 1 : 0;
        client_close(&slow[i]);
    }
    uint64_t took_ms = clock_mono_ms() - opened_ms;
    printf(
        "# %zu slow senders at once: %zu answered 408, %zu that had gone closed, deadline %" PRIu64
        " ms, all over after %" PRIu64 " ms\n",
        count, count - closed, closed, deadline_ms, took_ms);
    if (took_ms > (others_ms > deadline_ms ? others_ms : deadline_ms) + SLOW_LATE_MS)
        client_die("that is too late");
}

/* ---- the server's health --------------------------------------------------------------------- */

static uint64_t memory_kb(const char *pid) {
    char path[64], line[256];
    uint64_t found = 0;
    snprintf(path, sizeof path, "/proc/%s/status", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        client_die("sluiced is gone");
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "VmRSS:", 6) == 0)
            found = strtoull(line + 6, NULL, 10);
    fclose(file);
    return found;
}

static uint64_t probe(void) {
    static struct client client;
    struct answer answer;
    uint64_t from = clock_mono_ms();
    client_open(&client, socket_path);
    client_put(&client, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client_read(&client, &answer);
    client_close(&client);
    uint64_t took_ms = clock_mono_ms() - from;
    if (answer.status != 200 || took_ms > PROBE_MS_MAX)
        client_die("/healthz: status %d after %" PRIu64 " ms", answer.status, took_ms);
    return took_ms;
}

static uint64_t number_of(const char *text) {
    uint64_t number;
    if (!num_parse_u64(text, &number))
        client_die("%s is not a number", text);
    return number;
}

int main(int argc, char **argv) {
    uint64_t largest_kb = 0, longest_ms = 0;
    if (argc != 8)
        client_die("usage: http_malform SOCKET ADDRESS PID COUNT SEED SLOW DEADLINE_MS");
    socket_path = argv[1];
    address = argv[2];
    uint64_t count = number_of(argv[4]);
    random_state = number_of(argv[5]);
    size_t slow_count = (size_t)number_of(argv[6]);
    if (slow_count > SLOW_MAX)
        client_die("more than %d slow senders", SLOW_MAX);
    printf("# seed %s\n", argv[5]);
    probe();
    uint64_t before_kb = memory_kb(argv[3]);
    uint64_t opened_ms = clock_mono_ms();
    slow_open(slow_count);
    for (uint64_t number = 1; number <= count; number++) {
        run_one(number);
        if (number % PROBE_EVERY != 0)
            continue;
        slow_feed(slow_count);
        uint64_t took_ms = probe();
        uint64_t now_kb = memory_kb(argv[3]);
        longest_ms = took_ms > longest_ms ? took_ms : longest_ms;
        largest_kb = now_kb > largest_kb ? now_kb : largest_kb;
    }
    slow_close(slow_count, opened_ms, number_of(argv[7]));
    for (size_t i = 0; i < KINDS; i++)
        if (counts[i] == 0 && count >= 50 * KINDS)
            client_die("not one of: %s", kinds[i].name);
    printf("# %" PRIu64 " malformed requests of %zu kinds: %" PRIu64
           " answered by the gateway as problems, %" PRIu64 " by the HTTP library, %" PRIu64
           " closed; %" PRIu64 " pipelined, %" PRIu64 " on used connections\n",
           count, KINDS, answered_by[BY_GATEWAY], answered_by[BY_LIBRARY], answered_by[CLOSED],
           pipelined, reused);
    printf("# memory of sluiced: %" PRIu64 " KiB before, %" PRIu64
           " KiB at most; /healthz meanwhile: %" PRIu64 " ms at most\n",
           before_kb, largest_kb, longest_ms);
    if (largest_kb > before_kb + MEMORY_GROWTH_MAX_KB)
        client_die("the memory grew by more than %d KiB", MEMORY_GROWTH_MAX_KB);
    return 0;
}
