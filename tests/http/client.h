/* SPDX-License-Identifier: Apache-2.0
 *
 * client.h: a client that sends bytes as they are and reads an answer as HTTP says.
 *
 * Every wait has a deadline (CLIENT_DEADLINE_MS). What cannot be done ends the program: a test that
 * cannot send has failed.
 */
#ifndef SLUICE_TESTS_HTTP_CLIENT_H
#define SLUICE_TESTS_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#define CLIENT_DEADLINE_MS 20000
#define CLIENT_ANSWER_MAX 65536

struct client {
    int fd;
    char text[CLIENT_ANSWER_MAX + 1];
    size_t length;
    bool ended; /* by the other side */
};

struct answer {
    int status;   /* 0: the connection ended without an answer */
    bool problem; /* application/problem+json whose body says the same status */
    bool closes;  /* the server says that it closes */
    char code[64];
    char operation[64]; /* Sluice-Operation */
    size_t length;      /* of head and body */
    const char *body;
};

_Noreturn void client_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "PATH" of a Unix socket, or "127.0.0.1:PORT". */
void client_open(struct client *client, const char *where);
void client_close(struct client *client);
/* false: the other side takes no more. */
bool client_send(struct client *client, const void *bytes, size_t length);
bool client_put(struct client *client, const char *text);
/* No more will be sent. */
void client_half_close(struct client *client);
/* Waits for one whole answer that has a Content-Length or no body. */
void client_read(struct client *client, struct answer *ret);
/* Forgets an answer; what was pipelined behind it stays. */
void client_drop(struct client *client, const struct answer *answer);

#endif
