/* SPDX-License-Identifier: Apache-2.0
 *
 * same_key.c: many clients ask for the same change with the same Idempotency-Key at once.
 *
 *     http_same_key SOCKET POOL CLIENTS
 *
 * All connect, then all send, then all read. There must be one operation and one volume; the same
 * key with another body, or by another path, must be refused.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "client.h"

#define CLIENTS_MAX 512

static struct client clients[CLIENTS_MAX];

static void ask(struct client *client, const char *pool, const char *name, const char *key) {
    char body[256], text[1024];
    int length = snprintf(body, sizeof body,
                          "{\"pool\":\"%s\",\"name\":\"%s\",\"size_bytes\":1048576}", pool, name);
    snprintf(text, sizeof text,
             "POST /v1/volumes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
             "Prefer: wait=30\r\nIdempotency-Key: %s\r\nContent-Length: %d\r\n\r\n%s",
             key, length, body);
    if (!client_put(client, text))
        client_die("the server takes no request");
}

static json_t *get(const char *where, const char *path) {
    static struct client client;
    struct answer answer;
    char text[512];
    json_error_t error;
    client_open(&client, where);
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
    client_put(&client, text);
    client_read(&client, &answer);
    if (answer.status != 200)
        client_die("%s: %d %s", path, answer.status, answer.code);
    json_t *object = json_loads(answer.body, JSON_DISABLE_EOF_CHECK, &error);
    client_close(&client);
    return object;
}

static size_t count(const char *where, const char *path) {
    json_t *page = get(where, path);
    size_t items = json_array_size(json_object_get(page, "items"));
    json_decref(page);
    return items;
}

static void expect_refused(const char *where, const char *pool, const char *name, const char *key) {
    struct answer answer;
    client_open(&clients[0], where);
    ask(&clients[0], pool, name, key);
    client_read(&clients[0], &answer);
    client_close(&clients[0]);
    if (answer.status != 422 || strcmp(answer.code, "idempotency-key-reused") != 0)
        client_die("the key with another body: %d %s", answer.status, answer.code);
}

int main(int argc, char **argv) {
    char path[256], operation[64] = "", key[64];
    struct answer answer;
    uint64_t wanted = 0;
    if (argc != 4 || !num_parse_u64(argv[3], &wanted) || wanted < 2 || wanted > CLIENTS_MAX)
        client_die("usage: http_same_key SOCKET POOL CLIENTS");
    const char *where = argv[1], *pool = argv[2];
    int number = (int)wanted;
    snprintf(path, sizeof path, "/v1/operations?kind=volume.create&limit=500");
    size_t operations = count(where, path);
    snprintf(key, sizeof key, "same-%d", number);
    for (int i = 0; i < number; i++)
        client_open(&clients[i], where);
    for (int i = 0; i < number; i++)
        ask(&clients[i], pool, "same", key);
    for (int i = 0; i < number; i++) {
        client_read(&clients[i], &answer);
        if (answer.status != 201)
            client_die("client %d: %d %s", i, answer.status, answer.code);
        if (i == 0)
            snprintf(operation, sizeof operation, "%s", answer.operation);
        if (operation[0] == '\0' || strcmp(operation, answer.operation) != 0)
            client_die("client %d: operation %s, not %s", i, answer.operation, operation);
        client_close(&clients[i]);
    }
    size_t grown = count(where, path) - operations;
    snprintf(path, sizeof path, "/v1/volumes?pool=%s&name=same", pool);
    size_t volumes = count(where, path);
    if (grown != 1 || volumes != 1)
        client_die("%zu operations and %zu volumes instead of one", grown, volumes);
    expect_refused(where, pool, "other", key);
    printf("# %d clients with one key: %zu operation, %zu volume\n", number, grown, volumes);
    return 0;
}
