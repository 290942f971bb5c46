/* SPDX-License-Identifier: Apache-2.0
 *
 * load_http: keeps so many connections busy, each with one request at a time.
 *
 *     load_http [OPTION VALUE]... rate|p50|p99
 *
 *     --port PORT        of 127.0.0.1 (default: $PORT)
 *     --unix PATH        a Unix socket instead
 *     --connections N    default 1
 *     --method METHOD    default GET
 *     --path PATH        default /; "%n" in it, in the body and in a header is a number that no
 * other request of this run has
 *     --header "N: V"    may be repeated
 *     --body TEXT        sent as application/json
 *     --expect STATUS    default 200; any other status ends the run and is shown
 *     --count N          ends after N answers, however long that takes, and prints nothing
 *
 * One thread, epoll; the processor that it needs is small beside the server's, but it is needed:
 * run both sides of a comparison with it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "measure.h"

#define CONNECTIONS_MAX 1024
#define HEADERS_MAX 16
#define REQUEST_MAX 16384
#define ANSWER_MAX 262144
#define SILENCE_MS 5000 /* without any answer: something hangs */

struct connection {
    int fd;
    uint64_t began_ns;
    size_t request_length, sent;
    size_t got;
    char request[REQUEST_MAX];
    char answer[ANSWER_MAX + 1];
};

static struct {
    const char *port, *socket_path;
    const char *method, *path, *body;
    const char *headers[HEADERS_MAX];
    unsigned header_count;
    uint64_t connections, expect, count;
    const char *metric;
} wish = {.method = "GET", .path = "/", .connections = 1, .expect = 200};

static uint64_t numbers, started;
static int epoll;

/* Appends with each "%n" replaced. */
static size_t put(char *at, size_t length, const char *text, uint64_t number) {
    while (*text != '\0') {
        char digits[24];
        size_t add = 1;
        const char *from = text;
        if (text[0] == '%' && text[1] == 'n') {
            add = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
            from = digits;
            text++;
        }
        if (length + add > REQUEST_MAX)
            measure_fail("a request has at most %d bytes", REQUEST_MAX);
        memcpy(at + length, from, add);
        length += add;
        text++;
    }
    return length;
}

static void request_make(struct connection *connection) {
    static char body[REQUEST_MAX];
    uint64_t number = ++numbers;
    size_t body_length = wish.body != NULL ? put(body, 0, wish.body, number) : 0;
    char *at = connection->request, text[128];
    size_t length = put(at, 0, wish.method, number);
    length = put(at, length, " ", number);
    length = put(at, length, wish.path, number);
    length = put(at, length, " HTTP/1.1\r\nHost: localhost\r\n", number);
    for (unsigned i = 0; i < wish.header_count; i++) {
        length = put(at, length, wish.headers[i], number);
        length = put(at, length, "\r\n", number);
    }
    if (wish.body != NULL) {
        snprintf(text, sizeof text, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
                 body_length);
        length = put(at, length, text, number);
    }
    length = put(at, length, "\r\n", number);
    if (length + body_length > REQUEST_MAX)
        measure_fail("a request has at most %d bytes", REQUEST_MAX);
    memcpy(at + length, body, body_length);
    connection->request_length = length + body_length;
    connection->sent = 0;
    connection->got = 0;
}

static void request_send(struct connection *connection) {
    ssize_t sent = send(connection->fd, connection->request + connection->sent,
                        connection->request_length - connection->sent, MSG_NOSIGNAL);
    if (sent < 0)
        measure_fail("sending: %s", strerror(errno));
    connection->sent += (size_t)sent;
    /* Requests are far smaller than a socket's buffer, and only one is under way. */
    if (connection->sent != connection->request_length)
        measure_fail("a request did not go out whole");
}

static void request_start(struct connection *connection) {
    started++;
    connection->began_ns = clock_mono_ns();
    request_make(connection);
    request_send(connection);
}

/* The whole length of the answer, or 0: not known yet. */
static size_t answer_length(const struct connection *connection) {
    const char *end = strstr(connection->answer, "\r\n\r\n");
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end - connection->answer) + 4;
    const char *line = connection->answer;
    while ((line = strstr(line, "\r\n")) != NULL && line < end) {
        line += 2;
        if (strncasecmp(line, "Content-Length:", 15) == 0)
            return head + strtoul(line + 15, NULL, 10);
        if (strncasecmp(line, "Transfer-Encoding:", 18) == 0)
            measure_fail("an answer in chunks is not for this program");
    }
    return head;
}

static void answer_judge(const struct connection *connection) {
    unsigned long status =
        strlen(connection->answer) > 12 ? strtoul(connection->answer + 9, NULL, 10) : 0;
    if (status != wish.expect)
        measure_fail("expected %llu, got this:\n%s", (unsigned long long)wish.expect,
                     connection->answer);
}

/* true: one answer is whole. */
static bool answer_take(struct connection *connection) {
    ssize_t got = recv(connection->fd, connection->answer + connection->got,
                       ANSWER_MAX - connection->got, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0)
        measure_fail("the server ended a connection: %s", got < 0 ? strerror(errno) : "closed");
    connection->got += (size_t)got;
    connection->answer[connection->got] = '\0';
    size_t length = answer_length(connection);
    if (length > ANSWER_MAX || (length == 0 && connection->got == ANSWER_MAX))
        measure_fail("an answer has at most %d bytes", ANSWER_MAX);
    if (length == 0 || connection->got < length)
        return false;
    answer_judge(connection);
    return true;
}

static int connect_port(void) {
    const char *port = wish.port != NULL ? wish.port : getenv("PORT");
    if (port == NULL)
        measure_fail("--port, --unix or $PORT is needed");
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)measure_number(port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        measure_fail("connecting to port %s: %s", port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static int connect_unix(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(wish.socket_path) >= sizeof address.sun_path)
        measure_fail("%s is too long", wish.socket_path);
    memcpy(address.sun_path, wish.socket_path, strlen(wish.socket_path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        measure_fail("connecting to %s: %s", wish.socket_path, strerror(errno));
    return fd;
}

static void wish_take(const char *name, const char *value) {
    if (strcmp(name, "--header") == 0) {
        if (wish.header_count == HEADERS_MAX)
            measure_fail("at most %d headers", HEADERS_MAX);
        wish.headers[wish.header_count++] = value;
        return;
    }
    const struct {
        const char *name;
        const char **text;
        uint64_t *number;
    } rows[] = {
        {"--port", &wish.port, NULL},     {"--unix", &wish.socket_path, NULL},
        {"--method", &wish.method, NULL}, {"--path", &wish.path, NULL},
        {"--body", &wish.body, NULL},     {"--connections", NULL, &wish.connections},
        {"--expect", NULL, &wish.expect}, {"--count", NULL, &wish.count},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(name, rows[i].name) != 0)
            continue;
        if (rows[i].text != NULL)
            *rows[i].text = value;
        else
            *rows[i].number = measure_number(value);
        return;
    }
    measure_fail("unknown option %s", name);
}

static bool is_over(const struct measure *measure, uint64_t answers) {
    return wish.count > 0 ? answers >= wish.count : measure_over(measure);
}

static void run(struct measure *measure) {
    struct epoll_event events[64];
    uint64_t answers = 0;
    while (!is_over(measure, answers)) {
        int count = epoll_wait(epoll, events, 64, SILENCE_MS);
        if (count == 0)
            measure_fail("no answer for %d ms", SILENCE_MS);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!answer_take(connection))
                continue;
            answers++;
            measure_one(measure, connection->began_ns);
            if (wish.count == 0 || started < wish.count)
                request_start(connection);
        }
    }
}

int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2)
        wish_take(argv[i], argv[i + 1]);
    if (argc < 2 || argc % 2 != 0)
        measure_fail("usage: load_http [OPTION VALUE]... rate|p50|p99");
    if (wish.connections == 0 || wish.connections > CONNECTIONS_MAX)
        measure_fail("1 to %d connections", CONNECTIONS_MAX);
    signal(SIGPIPE, SIG_IGN);
    numbers = clock_wall_ms() * 1000; /* runs on one server do not meet */
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct connection *connections = calloc(wish.connections, sizeof *connections);
    if (epoll < 0 || connections == NULL)
        measure_fail("no memory for connections");
    struct measure measure;
    measure_begin(&measure, argv[argc - 1]);
    for (uint64_t i = 0; i < wish.connections; i++) {
        struct connection *connection = &connections[i];
        connection->fd = wish.socket_path != NULL ? connect_unix() : connect_port();
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0)
            measure_fail("epoll_ctl: %s", strerror(errno));
        request_start(connection);
    }
    run(&measure);
    if (wish.count == 0)
        measure_print(&measure);
    free(connections);
    return 0;
}
