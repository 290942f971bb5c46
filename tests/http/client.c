/* SPDX-License-Identifier: Apache-2.0
 *
 * client.c: sockets with deadlines, and as much of HTTP as an answer needs.
 */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

void client_die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

void client_open(struct client *client, const char *where) {
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in port = {.sin_family = AF_INET};
    bool is_path = where[0] == '/';
    const char *colon = strrchr(where, ':');
    client->length = 0;
    client->ended = false;
    client->fd = socket(is_path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        client_die("socket: %s", strerror(errno));
    snprintf(local.sun_path, sizeof local.sun_path, "%s", where);
    port.sin_port = htons((uint16_t)(colon != NULL ? strtoul(colon + 1, NULL, 10) : 0));
    port.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const struct sockaddr *address = is_path ? (struct sockaddr *)&local : (struct sockaddr *)&port;
    if (connect(client->fd, address, is_path ? sizeof local : sizeof port) != 0)
        client_die("connecting to %s: %s", where, strerror(errno));
}

void client_close(struct client *client) {
    close(client->fd);
    client->fd = -1;
}

static int left_ms(uint64_t until) {
    uint64_t now = clock_mono_ms();
    return now < until ? (int)(until - now) : 0;
}

bool client_send(struct client *client, const void *bytes, size_t length) {
    uint64_t until = clock_mono_ms() + CLIENT_DEADLINE_MS;
    for (const char *at = bytes; length > 0;) {
        ssize_t sent = send(client->fd, at, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            at += sent;
            length -= (size_t)sent;
        } else if (errno == EAGAIN) {
            struct pollfd poller = {.fd = client->fd, .events = POLLOUT};
            if (poll(&poller, 1, left_ms(until)) == 0)
                client_die("the server took nothing for %d ms", CLIENT_DEADLINE_MS);
        } else {
            return false;
        }
    }
    return true;
}

bool client_put(struct client *client, const char *text) {
    return client_send(client, text, strlen(text));
}

void client_half_close(struct client *client) {
    shutdown(client->fd, SHUT_WR);
}

static void receive(struct client *client, uint64_t until) {
    struct pollfd poller = {.fd = client->fd, .events = POLLIN};
    if (client->length == CLIENT_ANSWER_MAX)
        client_die("an answer of more than %d bytes", CLIENT_ANSWER_MAX);
    if (poll(&poller, 1, left_ms(until)) == 0)
        client_die("no answer within %d ms", CLIENT_DEADLINE_MS);
    ssize_t got = recv(client->fd, client->text + client->length,
                       CLIENT_ANSWER_MAX - client->length, MSG_DONTWAIT);
    if (got > 0)
        client->length += (size_t)got;
    else if (got == 0 || errno != EAGAIN)
        client->ended = true;
    client->text[client->length] = '\0';
}

/* The value of a header in the head that ends at `end`, "" when there is none. */
static void header(const char *head, const char *end, const char *name, char *ret,
                   size_t capacity) {
    size_t length = strlen(name);
    ret[0] = '\0';
    for (const char *line = strstr(head, "\r\n"); line != NULL && line < end;
         line = strstr(line + 2, "\r\n")) {
        const char *at = line + 2;
        if (strncasecmp(at, name, length) == 0 && at[length] == ':') {
            at += length + 1;
            at += strspn(at, " ");
            snprintf(ret, capacity, "%.*s", (int)strcspn(at, "\r"), at);
            return;
        }
    }
}

static void judge_problem(struct answer *answer, const char *type, size_t body_length) {
    json_error_t error;
    json_t *body = json_loadb(answer->body, body_length, JSON_REJECT_DUPLICATES, &error);
    const char *code = json_string_value(json_object_get(body, "code"));
    const char *problem = json_string_value(json_object_get(body, "type"));
    const char *advice = json_string_value(json_object_get(body, "advice"));
    const char *title = json_string_value(json_object_get(body, "title"));
    if (code != NULL)
        snprintf(answer->code, sizeof answer->code, "%s", code);
    answer->problem = strcmp(type, "application/problem+json") == 0 && code != NULL &&
                      problem != NULL && strncmp(problem, "/problems/", 10) == 0 &&
                      strcmp(problem + 10, code) == 0 && advice != NULL && title != NULL &&
                      json_integer_value(json_object_get(body, "status")) == answer->status;
    json_decref(body);
}

void client_read(struct client *client, struct answer *ret) {
    uint64_t until = clock_mono_ms() + CLIENT_DEADLINE_MS;
    char type[128], length[32], connection[32];
    const char *end;
    *ret = (struct answer){.status = 0};
    client->text[client->length] = '\0';
    while ((end = strstr(client->text, "\r\n\r\n")) == NULL) {
        if (client->ended)
            return;
        receive(client, until);
    }
    if (sscanf(client->text, "HTTP/1.1 %d ", &ret->status) != 1)
        client_die("not an answer: %.60s", client->text);
    header(client->text, end, "Content-Type", type, sizeof type);
    header(client->text, end, "Content-Length", length, sizeof length);
    header(client->text, end, "Connection", connection, sizeof connection);
    header(client->text, end, "Sluice-Operation", ret->operation, sizeof ret->operation);
    ret->closes = strcasecmp(connection, "close") == 0;
    size_t head = (size_t)(end + 4 - client->text);
    size_t body = (size_t)strtoul(length, NULL, 10);
    ret->length = head + body;
    while (client->length < ret->length) {
        if (client->ended)
            client_die("an answer that was cut");
        receive(client, until);
    }
    ret->body = client->text + head;
    judge_problem(ret, type, body);
}

void client_drop(struct client *client, const struct answer *answer) {
    client->length -= answer->length;
    memmove(client->text, client->text + answer->length, client->length + 1);
}
