/* SPDX-License-Identifier: Apache-2.0
 *
 * The command `sluice` as its users run it, against a gateway that answers by a script: a process
 * of its own on a Unix socket, which writes down what it was asked and closes after each answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

#define TEXT_MAX 65536
#define WORDS_MAX 24
#define DEADLINE_MS 20000
#define ID "01a20e31-efa8-7000-ab7b-250d9d76ce05"

static char directory[] = "/tmp/sluice-command-XXXXXX";
static char socket_path[64], log_path[128], out_path[128], err_path[128], in_path[128];
static char out_text[TEXT_MAX], err_text[TEXT_MAX], log_text[TEXT_MAX];
static pid_t server;

/* ---- the scripted gateway ------------------------------------------------------------------- */

#define CUT "" /* an answer that never comes: the connection is closed */

static void read_text(const char *path, char text[TEXT_MAX]) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, text, TEXT_MAX - 1) : 0;
    text[length > 0 ? length : 0] = '\0';
    if (fd >= 0)
        close(fd);
}

static size_t body_length(const char *head) {
    const char *found = strcasestr(head, "\r\nContent-Length:");
    return found != NULL ? strtoul(found + 17, NULL, 10) : 0;
}

/* Reads a whole request. */
static void read_request(int fd, char text[TEXT_MAX]) {
    size_t length = 0;
    text[0] = '\0';
    while (length < TEXT_MAX - 1) {
        const char *end = strstr(text, "\r\n\r\n");
        if (end != NULL && length >= (size_t)(end + 4 - text) + body_length(text))
            return;
        ssize_t got = read(fd, text + length, TEXT_MAX - 1 - length);
        if (got <= 0)
            return;
        length += (size_t)got;
        text[length] = '\0';
    }
}

static void serve(int listener, const char *const *answers) {
    static char text[TEXT_MAX];
    int log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    for (size_t i = 0;; i += answers[i + 1] != NULL) { /* the last answer stays */
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            _exit(1);
        read_request(fd, text);
        if (write(log, text, strlen(text)) < 0 || write(log, "\n====\n", 6) < 0)
            _exit(1);
        if (answers[i][0] != '\0' && write(fd, answers[i], strlen(answers[i])) < 0)
            _exit(1);
        close(fd);
    }
}

static void server_stop(void) {
    if (server > 0) {
        kill(server, SIGKILL);
        waitpid(server, NULL, 0);
    }
    server = 0;
    unlink(socket_path);
}

/* Answers with the texts in order, the last one for ever. */
static void server_start(const char *const *answers) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    server_stop();
    unlink(log_path);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 16), 0);
    server = fork();
    assert_true(server >= 0);
    if (server == 0)
        serve(listener, answers);
    close(listener);
}

/* ---- the command ---------------------------------------------------------------------------- */

static void redirect(const char *path, int flags, int target) {
    int fd = open(path, flags, 0600);
    if (fd < 0 || dup2(fd, target) < 0)
        _exit(126);
}

static pid_t command_start(const char *const *words, const char *input) {
    static char command[512];
    char *argv[WORDS_MAX + 2] = {command};
    const char *build = getenv("SLUICE_BUILD");
    assert_non_null(build);
    snprintf(command, sizeof command, "%s/bin/sluice", build);
    for (int i = 0; words[i] != NULL && i < WORDS_MAX; i++)
        argv[i + 1] = (char *)words[i];
    FILE *file = fopen(in_path, "we");
    assert_non_null(file);
    fputs(input, file);
    fclose(file);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        redirect(in_path, O_RDONLY, 0);
        redirect(out_path, O_WRONLY | O_CREAT | O_TRUNC, 1);
        redirect(err_path, O_WRONLY | O_CREAT | O_TRUNC, 2);
        setenv("SLUICE_SOCKET", socket_path, 1);
        setenv("TZ", "UTC", 1);
        unsetenv("SLUICE_URL");
        unsetenv("SLUICE_TOKEN_FILE");
        execv(command, argv);
        _exit(127);
    }
    return child;
}

static int command_end(pid_t child) {
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    read_text(out_path, out_text);
    read_text(err_path, err_text);
    read_text(log_path, log_text);
    if (!WIFEXITED(status))
        fail_msg("the command ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

#define RUN(...) command_end(command_start((const char *const[]){__VA_ARGS__, NULL}, ""))
#define SERVE(...) server_start((const char *const[]){__VA_ARGS__, NULL})

#define HEAD(status) "HTTP/1.1 " status "\r\nConnection: close\r\n"
#define JSON(status, text) HEAD(status) "Content-Type: application/json\r\n\r\n" text
#define PROBLEM(status, number, code, advice, more)                                               \
    HEAD(status)                                                                                  \
    "Content-Type: application/problem+json\r\n\r\n{\"type\":\"/problems/" code                   \
    "\",\"title\":\"The title\",\"status\":" number ",\"detail\":\"the detail\",\"code\":\"" code \
    "\",\"advice\":\"" advice "\"" more "}"
#define VOLUME                                                                        \
    "{\"id\":\"" ID "\",\"pool\":\"" ID "\",\"name\":\"d1\",\"state\":\"available\"," \
    "\"size_bytes\":1073741824,\"format\":\"raw\"}"
#define OPERATION(state, more)                                         \
    "{\"id\":\"" ID "\",\"kind\":\"volume.create\",\"state\":\"" state \
    "\",\"noun\":\"volume\",\"object\":\"" ID "\",\"object_name\":\"d1\"" more "}"

static void expect_in(const char *text, const char *part) {
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in:\n%s", part, text);
}

static size_t count_of(const char *text, const char *part) {
    size_t count = 0;
    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        count++;
    return count;
}

/* ---- reads ---------------------------------------------------------------------------------- */

static void test_list(void **state) {
    (void)state;
    SERVE(JSON("200 OK", "{\"items\":[{\"name\":\"d1\\u001b]0;x\\u0007\",\"state\":\"available\","
                         "\"size_bytes\":1073741824}],\"next\":\"t 1\"}"),
          JSON("200 OK", "{\"items\":[{\"name\":\"d2\"}],\"next\":\"\"}"));
    assert_int_equal(RUN("volume", "list", "--pool", "p"), 0);
    expect_in(out_text, "NAME");
    expect_in(out_text, "d1\\x1b]0;x\\x07");
    expect_in(out_text, "1 GiB");
    expect_in(out_text, "\nd2 ");
    assert_null(strchr(out_text, '\033'));
    assert_string_equal(err_text, "");
    expect_in(log_text, "GET /v1/volumes?pool=p&limit=200 HTTP/1.1");
    expect_in(log_text, "GET /v1/volumes?pool=p&limit=200&after=t%201 HTTP/1.1");
}

static void test_list_json(void **state) {
    (void)state;
    SERVE(JSON("200 OK", "{\"items\":[{\"name\":\"\\u009b2J\"}],\"next\":\"t\"}"),
          JSON("200 OK", "{\"items\":[{\"name\":\"d2\"}],\"next\":\"\"}"));
    assert_int_equal(RUN("volume", "list", "--output", "json"), 0);
    expect_in(out_text, "\"\\u009B2J\"");
    expect_in(out_text, "\"d2\"");
    assert_int_equal(RUN("volume", "list", "--limit", "1", "--quiet"), 0);
}

static void test_empty_page_is_not_the_end(void **state) {
    (void)state;
    SERVE(JSON("200 OK", "{\"items\":[],\"next\":\"t1\"}"),
          JSON("200 OK", "{\"items\":[{\"name\":\"d9\"}],\"next\":\"\"}"));
    assert_int_equal(RUN("volume", "list"), 0);
    expect_in(out_text, "d9");
    SERVE(JSON("200 OK", "{\"items\":[{\"number\":3,\"text\":\"hello\"}],\"next\":\"3\"}"),
          JSON("200 OK", "{\"items\":[],\"next\":\"3\"}"));
    assert_int_equal(RUN("events"), 0);
    expect_in(out_text, "hello");
    assert_int_equal(count_of(log_text, "GET /v1/events"), 2);
}

static void test_numbers_beyond_63_bits(void **state) {
    (void)state;
    SERVE(JSON("200 OK", "{\"name\":\"p\",\"uid\":7,"
                         "\"runner\":{\"volume_size_max\":18446744073709551615}}"));
    assert_int_equal(RUN("pool", "show", "p"), 0);
    expect_in(out_text, "uid                   7\n");
    expect_in(out_text, "runner.volume_size_max");
}

static void test_failures(void **state) {
    (void)state;
    SERVE(PROBLEM("404 Not Found", "404", "not-found", "fix", ""));
    assert_int_equal(RUN("volume", "show", "p:x"), 3);
    assert_string_equal(err_text, "sluice: The title: the detail (not-found, mend that first)\n");
    SERVE(PROBLEM("401 Unauthorized", "401", "unauthenticated", "fix", ""));
    assert_int_equal(RUN("volume", "list"), 5);
    SERVE(PROBLEM("403 Forbidden", "403", "forbidden", "fix", ""));
    assert_int_equal(RUN("volume", "list"), 5);
    SERVE(PROBLEM("503 Service Unavailable", "503", "pool-unavailable", "retry", ""));
    assert_int_equal(RUN("pool", "capacity", "p"), 8);
    SERVE(PROBLEM("500 Internal Server Error", "500", "catalog", "give-up", ""));
    assert_int_equal(RUN("gateway"), 1);
    expect_in(err_text, "trying again does not help");
    SERVE(JSON("418 I'm a teapot", "no JSON"));
    assert_int_equal(RUN("gateway"), 4);
    SERVE(JSON("200 OK", "[]"));
    assert_int_equal(RUN("gateway"), 1);
}

/* ---- changes -------------------------------------------------------------------------------- */

static void test_create(void **state) {
    (void)state;
    SERVE(JSON("201 Created", VOLUME));
    assert_int_equal(RUN("volume", "create", "d1", "--pool", "p", "--size", "1G"), 0);
    expect_in(out_text, "d1");
    expect_in(log_text, "POST /v1/volumes HTTP/1.1");
    expect_in(log_text, "Content-Type: application/json");
    expect_in(log_text, "Prefer: wait=2");
    expect_in(log_text, "Idempotency-Key: ");
    expect_in(log_text, "{\"name\":\"d1\",\"pool\":\"p\",\"size_bytes\":1073741824}");
    assert_int_equal(RUN("volume", "create", "d1", "--quiet", "--idempotency-key", "k1"), 0);
    assert_string_equal(out_text, ID "\n");
    expect_in(log_text, "Idempotency-Key: k1\r\n");
}

static void test_delete(void **state) {
    (void)state;
    SERVE(HEAD("204 No Content") "\r\n");
    assert_int_equal(RUN("volume", "delete", "p:d1", "--if-match", "\"7\""), 0);
    assert_string_equal(out_text, "");
    expect_in(log_text, "DELETE /v1/volumes/p:d1 HTTP/1.1");
    expect_in(log_text, "If-Match: \"7\"");
    assert_null(strstr(log_text, "Content-Type"));
}

/* The value of the n-th Idempotency-Key in the log. */
static void key_of(size_t n, char key[64]) {
    const char *at = log_text;
    for (size_t i = 0; i <= n; i++) {
        at = strstr(at, "Idempotency-Key: ");
        assert_non_null(at);
        at += 17;
    }
    snprintf(key, 64, "%.*s", (int)strcspn(at, "\r\n"), at);
}

static void test_lost_connection_asks_again_with_the_same_key(void **state) {
    (void)state;
    char first[64], again[64];
    SERVE(CUT, HEAD("201 Created") "Content-Length: 500\r\n\r\n{\"id\"", CUT,
          PROBLEM("503 Service Unavailable", "503", "stopping", "retry", ""),
          JSON("201 Created", VOLUME));
    assert_int_equal(RUN("volume", "create", "d1", "--pool", "p"), 0);
    expect_in(out_text, "d1");
    assert_int_equal(count_of(log_text, "POST /v1/volumes"), 5);
    key_of(0, first);
    assert_int_equal(strlen(first), 36);
    for (size_t i = 1; i < 5; i++) {
        key_of(i, again);
        assert_string_equal(first, again);
    }
    assert_int_equal(count_of(log_text, "{\"name\":\"d1\",\"pool\":\"p\"}"), 5);
}

static void test_gateway_lost_for_good(void **state) {
    (void)state;
    char key[64];
    SERVE(CUT);
    assert_int_equal(RUN("volume", "create", "d1"), 6);
    key_of(0, key);
    expect_in(err_text, key); /* with which the user can find out */
    server_stop();
    assert_int_equal(RUN("volume", "create", "d1"), 6);
    expect_in(err_text, "cannot reach the gateway at ");
    expect_in(err_text, socket_path);
    assert_null(strstr(err_text, "may have been made"));
}

static void test_violations(void **state) {
    (void)state;
    SERVE(PROBLEM("422 Unprocessable Entity", "422", "validation", "fix",
                  ",\"violations\":[{\"field\":\"size_bytes\",\"text\":\"too \\u001bsmall\"}]"));
    assert_int_equal(RUN("volume", "create", "d1"), 4);
    assert_string_equal(err_text, "sluice: The title: the detail (validation, mend that first)\n"
                                  "  size_bytes: too \\x1bsmall\n");
}

static void test_waits_for_the_operation(void **state) {
    (void)state;
    SERVE(JSON("202 Accepted", OPERATION("running", "")),
          JSON("200 OK", OPERATION("running", ",\"done_bytes\":5,\"total_bytes\":10")), CUT,
          JSON("200 OK", OPERATION("done", "")), JSON("200 OK", VOLUME));
    assert_int_equal(RUN("volume", "create", "d1"), 0);
    expect_in(out_text, "available");
    assert_string_equal(err_text, ""); /* no bar where there is no terminal */
    assert_int_equal(count_of(log_text, "GET /v1/operations/" ID), 3);
    expect_in(log_text, "GET /v1/volumes/" ID);
}

static void test_operation_fails(void **state) {
    (void)state;
    SERVE(JSON("202 Accepted", OPERATION("running", "")),
          JSON("200 OK", OPERATION("failed", ",\"error\":6,\"error_text\":\"no room\"")));
    assert_int_equal(RUN("volume", "create", "d1"), 8);
    expect_in(err_text, "sluice: The backend is full: no room (no-space, mend that first)");
    expect_in(err_text, ID);
    SERVE(JSON("202 Accepted", OPERATION("running", "")),
          JSON("200 OK", OPERATION("cancelled", ",\"error\":19")));
    assert_int_equal(RUN("volume", "create", "d1"), 1);
}

static void test_no_wait(void **state) {
    (void)state;
    SERVE(JSON("202 Accepted", OPERATION("running", "")));
    assert_int_equal(RUN("volume", "create", "d1", "--no-wait", "--quiet"), 0);
    assert_string_equal(out_text, ID "\n");
    assert_null(strstr(log_text, "Prefer"));
    SERVE(JSON("202 Accepted", OPERATION("running", "")), JSON("200 OK", OPERATION("running", "")));
    assert_int_equal(RUN("volume", "create", "d1", "--wait", "0"), 7);
    expect_in(err_text, "sluice operation wait " ID);
}

static void test_cancel(void **state) {
    (void)state;
    SERVE(JSON("202 Accepted", OPERATION("undoing", "")),
          JSON("200 OK", OPERATION("cancelled", ",\"error\":19")));
    assert_int_equal(RUN("operation", "cancel", ID), 0);
    expect_in(out_text, "cancelled");
    SERVE(JSON("202 Accepted", OPERATION("running", "")), JSON("200 OK", OPERATION("done", "")));
    assert_int_equal(RUN("operation", "cancel", ID), 4);
}

static void test_operation_wait(void **state) {
    (void)state;
    SERVE(JSON("200 OK", OPERATION("done", "")), JSON("200 OK", VOLUME));
    assert_int_equal(RUN("operation", "wait", ID), 0);
    expect_in(out_text, "size_bytes            1 GiB");
    assert_int_equal(RUN("operation", "wait", "../tokens"), 2);
}

static void test_interrupt_detaches(void **state) {
    (void)state;
    SERVE(JSON("202 Accepted", OPERATION("running", "")), JSON("200 OK", OPERATION("running", "")));
    uint64_t deadline_ms = clock_mono_ms() + DEADLINE_MS;
    pid_t child = command_start((const char *const[]){"volume", "create", "d1", NULL}, "");
    do {
        read_text(log_path, log_text);
        poll(NULL, 0, 10);
    } while (strstr(log_text, "GET /v1/operations/") == NULL && clock_mono_ms() < deadline_ms);
    kill(child, SIGINT);
    assert_int_equal(command_end(child), 130);
    expect_in(err_text, "sluice operation wait " ID);
    assert_null(strstr(log_text, "cancel"));
}

/* ---- secrets -------------------------------------------------------------------------------- */

static void test_secret_from_standard_input(void **state) {
    (void)state;
    SERVE(JSON("201 Created", "{\"name\":\"p\"}"));
    pid_t child = command_start((const char *const[]){"pool", "create", "p", "--driver", "d",
                                                      "--set-file", "password=-", NULL},
                                "hush hush\n");
    assert_int_equal(command_end(child), 0);
    expect_in(log_text, "\"password\":\"hush hush\"");
}

static void test_token(void **state) {
    (void)state;
    char path[160];
    snprintf(path, sizeof path, "%s/token", directory);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs("tok-123\n", file);
    fclose(file);
    SERVE(JSON("200 OK", "{\"version\":\"1\"}"));
    assert_int_equal(RUN("--token-file", path, "gateway"), 0);
    expect_in(log_text, "Authorization: Bearer tok-123\r\n");
    assert_int_equal(RUN("--token-file", path, "--url", "http://192.0.2.1", "gateway"), 2);
    expect_in(err_text, "without encryption");
    assert_int_equal(RUN("--token-file", "/nonexistent/token", "gateway"), 2);
    unlink(path);
}

static void test_token_create_is_waited_for(void **state) {
    (void)state;
    SERVE(JSON("201 Created", "{\"name\":\"ci\",\"secret\":\"once\"}"));
    assert_int_equal(RUN("token", "create", "ci", "tenant", "--no-wait"), 0);
    expect_in(out_text, "once");
    expect_in(log_text, "Prefer: wait=2");
}

/* ---- events --------------------------------------------------------------------------------- */

#define STREAM HEAD("200 OK") "Content-Type: text/event-stream\r\n\r\n"

static void test_follow(void **state) {
    (void)state;
    SERVE(STREAM ":\n\nid: 5\nevent: volume.created\ndata: {\"type\":\"volume.created\","
                 "\"object_name\":\"d\\u001b1\"}\n\nid: 6\ndata: {\"ty",
          STREAM "id: 6\nevent: a\ndata: {\"type\":\"volume.deleted\"}\n\n",
          STREAM "event: problem\ndata: {\"title\":\"Gone\",\"status\":410,\"code\":\"gone\","
                 "\"advice\":\"fix\"}\n\n");
    assert_int_equal(RUN("events", "--follow", "--after", "4"), 3);
    expect_in(out_text, "volume.created");
    expect_in(out_text, "d\\x1b1");
    assert_int_equal(count_of(out_text, "volume.deleted"), 1);
    expect_in(err_text, "sluice: Gone (gone, mend that first)");
    expect_in(log_text, "Accept: text/event-stream");
    assert_int_equal(count_of(log_text, "Last-Event-ID: 4"), 1);
    assert_int_equal(count_of(log_text, "Last-Event-ID: 5"), 1);
    assert_int_equal(count_of(log_text, "Last-Event-ID: 6"), 1);
}

/* ---- help and mistakes ---------------------------------------------------------------------- */

static void test_help(void **state) {
    (void)state;
    server_stop(); /* needs no gateway */
    assert_int_equal(RUN("--help"), 0);
    expect_in(out_text, "volume create");
    expect_in(out_text, "--idempotency-key");
    assert_int_equal(RUN("volume", "--help"), 0);
    expect_in(out_text, "volume clone");
    assert_int_equal(RUN("volume", "create", "--help"), 0);
    expect_in(out_text, "sluice volume create NAME [OPTION ...]");
    expect_in(out_text, "--format raw|qcow2|vhdx|native");
    assert_int_equal(RUN("completion", "bash"), 0);
    expect_in(out_text, "complete -o default -F _sluice sluice");
    assert_int_equal(RUN("--version"), 0);
    expect_in(out_text, "sluice 0.");
}

static void test_usage(void **state) {
    (void)state;
    assert_int_equal(RUN("volume", "create"), 2);
    assert_string_equal(out_text, "");
    expect_in(err_text, "sluice: volume create: --name TEXT is missing");
    assert_int_equal(RUN("completion", "fish"), 2);
    assert_int_equal(RUN("--url", "file:///etc/passwd", "gateway"), 2);
}

static void test_output_that_cannot_be_written(void **state) {
    (void)state;
    SERVE(JSON("200 OK", "{\"version\":\"1\"}"));
    char kept[sizeof out_path];
    memcpy(kept, out_path, sizeof kept);
    snprintf(out_path, sizeof out_path, "/dev/full");
    pid_t child = command_start((const char *const[]){"gateway", NULL}, "");
    memcpy(out_path, kept, sizeof kept);
    assert_int_equal(command_end(child), 1);
}

static int set_up(void **state) {
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(socket_path, sizeof socket_path, "%s/socket", directory);
    snprintf(log_path, sizeof log_path, "%s/requests", directory);
    snprintf(out_path, sizeof out_path, "%s/out", directory);
    snprintf(err_path, sizeof err_path, "%s/err", directory);
    snprintf(in_path, sizeof in_path, "%s/in", directory);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    server_stop();
    unlink(log_path);
    unlink(out_path);
    unlink(err_path);
    unlink(in_path);
    return rmdir(directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_list_json),
        cmocka_unit_test(test_empty_page_is_not_the_end),
        cmocka_unit_test(test_numbers_beyond_63_bits),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_delete),
        cmocka_unit_test(test_lost_connection_asks_again_with_the_same_key),
        cmocka_unit_test(test_gateway_lost_for_good),
        cmocka_unit_test(test_violations),
        cmocka_unit_test(test_waits_for_the_operation),
        cmocka_unit_test(test_operation_fails),
        cmocka_unit_test(test_no_wait),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_operation_wait),
        cmocka_unit_test(test_interrupt_detaches),
        cmocka_unit_test(test_secret_from_standard_input),
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_token_create_is_waited_for),
        cmocka_unit_test(test_follow),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_output_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
