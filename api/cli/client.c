/* SPDX-License-Identifier: Apache-2.0
 *
 * client.c: libcurl's easy interface, one handle for all requests so that the connection is kept.
 */
#include "cli/client.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "base/check.h"
#include "base/num.h"

#define CONNECT_TIMEOUT_MS 5000L
#define ANSWER_TIMEOUT_S 60L /* beyond Prefer's wait: then the connection counts as lost */

struct client {
    CURL *curl;
    char *place; /* the socket's path or the URL, for messages */
    char *base;  /* scheme and authority, without a slash at the end */
    char *token; /* the whole Authorization header, or NULL */
    char trouble[CURL_ERROR_SIZE];
};

/* One request under way. */
struct exchange {
    struct client *client;
    struct client_answer *answer;
    void (*take)(void *arg, const char *bytes, size_t length); /* NULL: gather */
    void *arg;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    (void)number;
    interrupted = 1;
}

void client_catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static bool is_interrupted(void) {
    return interrupted != 0;
}

void client_pause(uint32_t ms) {
    if (!is_interrupted())
        poll(NULL, 0, (int)ms);
}

/* ---- opening -------------------------------------------------------------------------------- */

static bool read_token(const char *path, char **ret, struct err *err) {
    char text[CLIENT_TOKEN_MAX + 2];
    FILE *file = fopen(path, "rbe");
    if (file == NULL)
        return err_errno(err, ERR_BAD_REQUEST, errno, "token file %s", path);
    size_t length = fread(text, 1, sizeof text, file);
    fclose(file);
    while (length > 0 && strchr(" \r\n", text[length - 1]) != NULL)
        length--;
    bool good = length > 0 && length <= CLIENT_TOKEN_MAX;
    for (size_t i = 0; i < length && good; i++)
        good = text[i] > 0x20 && text[i] < 0x7f;
    if (good) {
        text[length] = '\0';
        good = asprintf(ret, "Authorization: Bearer %s", text) >= 0;
    } else {
        err_set(err, ERR_BAD_REQUEST, "%s does not hold a token", path);
    }
    explicit_bzero(text, sizeof text);
    return good;
}

static bool is_local(const char *authority) {
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t length = strlen(names[i]);
        if (strncmp(authority, names[i], length) == 0 &&
            (authority[length] == ':' || authority[length] == '/' || authority[length] == '\0'))
            return true;
    }
    return false;
}

static bool check_url(const struct client_options *options, struct err *err) {
    bool plain = strncmp(options->url, "http://", 7) == 0;
    if (!plain && strncmp(options->url, "https://", 8) != 0)
        return err_set(err, ERR_BAD_REQUEST, "%s is no http or https URL", options->url);
    if (plain && options->token_file != NULL && !is_local(options->url + 7))
        return err_set(err, ERR_BAD_REQUEST,
                       "a token is not sent to another machine without encryption; use https");
    return true;
}

bool client_open(const struct client_options *options, struct client **ret, struct err *err) {
    if (options->url != NULL && !check_url(options, err))
        return false;
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory");
    if (options->token_file != NULL && !read_token(options->token_file, &client->token, err))
        goto fail;
    client->base = strdup(options->url != NULL ? options->url : "http://localhost");
    client->place = strdup(options->url != NULL ? options->url : options->socket);
    client->curl = curl_easy_init();
    if (client->base == NULL || client->place == NULL || client->curl == NULL) {
        err_set(err, ERR_NO_MEMORY, "no memory");
        goto fail;
    }
    for (size_t length = strlen(client->base); length > 0 && client->base[length - 1] == '/';)
        client->base[--length] = '\0';
    if (options->url == NULL) {
        curl_easy_setopt(client->curl, CURLOPT_UNIX_SOCKET_PATH, options->socket);
        curl_easy_setopt(client->curl, CURLOPT_PROXY, "");
    }
    curl_easy_setopt(client->curl, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    curl_easy_setopt(client->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(client->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(client->curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(client->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, client->trouble);
    curl_easy_setopt(client->curl, CURLOPT_USERAGENT, "sluice");
    *ret = client;
    return true;
fail:
    client_close(client);
    return false;
}

void client_close(struct client *client) {
    if (client == NULL)
        return;
    curl_easy_cleanup(client->curl);
    if (client->token != NULL)
        explicit_bzero(client->token, strlen(client->token));
    free(client->token);
    free(client->place);
    free(client->base);
    free(client);
}

void client_answer_release(struct client_answer *answer) {
    buf_release(&answer->body);
}

json_t *client_answer_json(const struct client_answer *answer) {
    const char *text = (const char *)answer->body.at;
    json_error_t error;
    json_t *json = json_loadb(text, answer->body.length, 0, &error);
    /* "Without limit" may be the largest 64-bit number, and jansson's integers have a sign. */
    if (json == NULL && json_error_code(&error) == json_error_numeric_overflow)
        json = json_loadb(text, answer->body.length, JSON_DECODE_INT_AS_REAL, &error);
    if (json_is_object(json))
        return json;
    json_decref(json);
    return NULL;
}

/* ---- one try -------------------------------------------------------------------------------- */

/* curl adds \r\n; a value with control characters must not make a header of its own. */
static struct curl_slist *put_header(struct curl_slist *list, const char *name, const char *value) {
    char *line = NULL;
    for (const char *at = value; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return list;
    if (asprintf(&line, "%s: %s", name, value) < 0)
        return list;
    struct curl_slist *longer = curl_slist_append(list, line);
    free(line);
    return longer != NULL ? longer : list;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *arg) {
    struct exchange *exchange = arg;
    size_t length = size * count;
    long status = 0;
    curl_easy_getinfo(exchange->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (exchange->take != NULL && status == 200) {
        exchange->take(exchange->arg, bytes, length);
        return length;
    }
    buf_put(&exchange->answer->body, bytes, length);
    return exchange->answer->body.overflow ? 0 : length;
}

static void keep_header(const char *line, size_t length, const char *name, char *ret,
                        size_t capacity) {
    size_t prefix = strlen(name);
    if (length <= prefix || strncasecmp(line, name, prefix) != 0)
        return;
    while (prefix < length && line[prefix] == ' ')
        prefix++;
    while (length > prefix && strchr(" \r\n", line[length - 1]) != NULL)
        length--;
    snprintf(ret, capacity, "%.*s", (int)(length - prefix), line + prefix);
}

static size_t on_header(char *line, size_t size, size_t count, void *arg) {
    struct exchange *exchange = arg;
    struct client_answer *answer = exchange->answer;
    keep_header(line, size * count, "ETag:", answer->etag, sizeof answer->etag);
    keep_header(line, size * count, "Sluice-Operation:", answer->operation,
                sizeof answer->operation);
    return size * count;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void)arg, (void)a, (void)b, (void)c, (void)d;
    return is_interrupted() ? 1 : 0;
}

static void set_callbacks(struct exchange *exchange) {
    CURL *curl = exchange->client->curl;
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, exchange);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, exchange);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
}

static struct curl_slist *request_headers(const struct client *client,
                                          const struct client_request *request,
                                          const char *accept) {
    char wait[32];
    struct curl_slist *list = put_header(NULL, "Accept", accept);
    list = put_header(list, "Expect", ""); /* no 100-continue: bodies are small */
    if (client->token != NULL) {
        struct curl_slist *longer = curl_slist_append(list, client->token);
        list = longer != NULL ? longer : list;
    }
    if (request->key != NULL)
        list = put_header(list, "Idempotency-Key", request->key);
    if (request->if_match != NULL)
        list = put_header(list, "If-Match", request->if_match);
    /* Empty: or curl would say that the body is a form. */
    list = put_header(list, "Content-Type", request->body != NULL ? "application/json" : "");
    if (request->wait_s > 0) {
        snprintf(wait, sizeof wait, "wait=%u", request->wait_s);
        list = put_header(list, "Prefer", wait);
    }
    return list;
}

static CURLcode perform(struct exchange *exchange, const struct client_request *request,
                        struct curl_slist *headers, long timeout_s) {
    CURL *curl = exchange->client->curl;
    char *url = NULL;
    if (asprintf(&url, "%s%s", exchange->client->base, request->path) < 0)
        return CURLE_OUT_OF_MEMORY;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, timeout_s);
    const char *body = request->body != NULL ? request->body : "";
    if (strcmp(request->method, "GET") == 0) {
        curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    } else {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
        curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, body);
    }
    set_callbacks(exchange);
    exchange->client->trouble[0] = '\0';
    CURLcode code = curl_easy_perform(curl);
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    exchange->answer->status = (int)status;
    free(url);
    return code;
}

static bool set_trouble(const struct client *client, CURLcode code, struct err *err) {
    const char *text = client->trouble[0] != '\0' ? client->trouble : curl_easy_strerror(code);
    return err_set(err, ERR_UNREACHABLE, "%s the gateway at %s: %s",
                   code == CURLE_COULDNT_CONNECT ? "cannot reach" : "lost", client->place, text);
}

/* ---- requests ------------------------------------------------------------------------------- */

static void answer_clear(struct client_answer *answer) {
    answer->status = 0;
    answer->etag[0] = '\0';
    answer->operation[0] = '\0';
    buf_clear(&answer->body);
}

/* A gateway that is being restarted says so with 503 and this type; its successor answers. */
static bool is_stopping(struct client_answer *answer) {
    return answer->status == 503 && strstr(buf_text(&answer->body), "/problems/stopping\"") != NULL;
}

/* A name or certificate that is wrong stays wrong; a connection that is lost may come back. */
static bool may_come_back(CURLcode code) {
    switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_WEIRD_SERVER_REPLY:
        return true;
    default:
        return false;
    }
}

enum client_result client_ask(struct client *client, const struct client_request *request,
                              struct client_answer *ret, struct err *err) {
    *ret = (struct client_answer){0};
    buf_init(&ret->body, CLIENT_ANSWER_MAX);
    struct exchange exchange = {.client = client, .answer = ret};
    struct curl_slist *headers =
        request_headers(client, request, "application/json, application/problem+json");
    uint32_t pause_ms = CLIENT_BACKOFF_MS;
    CURLcode code = CURLE_OK;
    for (int try = 1; try <= CLIENT_TRIES_MAX && !is_interrupted(); try++) {
        answer_clear(ret);
        code = perform(&exchange, request, headers, ANSWER_TIMEOUT_S + (long)request->wait_s);
        ret->sent = ret->sent || code != CURLE_COULDNT_CONNECT;
        bool again = code == CURLE_OK ? is_stopping(ret) : may_come_back(code);
        if (!again || try == CLIENT_TRIES_MAX)
            break;
        client_pause(pause_ms);
        pause_ms *= 2;
    }
    curl_slist_free_all(headers);
    if (is_interrupted() && (code != CURLE_OK || ret->status == 0))
        return CLIENT_INTERRUPTED;
    if (code == CURLE_OK)
        return CLIENT_ANSWERED;
    set_trouble(client, code, err);
    return CLIENT_UNREACHABLE;
}

enum client_result client_follow(struct client *client, const char *path, const char *last_id,
                                 void (*take)(void *arg, const char *bytes, size_t length),
                                 void *arg, struct client_answer *ret, struct err *err) {
    *ret = (struct client_answer){0};
    buf_init(&ret->body, CLIENT_ANSWER_MAX);
    struct exchange exchange = {.client = client, .answer = ret, .take = take, .arg = arg};
    struct client_request request = {.method = "GET", .path = path};
    struct curl_slist *headers = request_headers(client, &request, "text/event-stream");
    if (last_id[0] != '\0')
        headers = put_header(headers, "Last-Event-ID", last_id);
    CURLcode code = perform(&exchange, &request, headers, 0);
    curl_slist_free_all(headers);
    if (is_interrupted())
        return CLIENT_INTERRUPTED;
    if (code == CURLE_OK && ret->status != 200)
        return CLIENT_ANSWERED;
    if (code != CURLE_OK)
        set_trouble(client, code, err);
    return CLIENT_UNREACHABLE;
}
