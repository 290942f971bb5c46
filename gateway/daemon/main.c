/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c: sluiced. Ordered start, reverse stop.
 *
 * Start: configuration, log, core (catalogue, recovery, drivers, pools), the first token, HTTP;
 * then it is ready. SIGTERM and SIGINT stop it in reverse order; a second one ends it at once.
 * SIGHUP is ignored: it has no files to open again.
 */
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/check.h"
#include "base/log.h"
#include "core/core.h"
#include "core/records.h"
#include "daemon/config.h"
#include "daemon/notify.h"
#include "daemon/state.h"
#include "http/server.h"
#include "super/message.h"

#define TOKEN_NAME "admin"
#define TOKEN_FILE "token"
#define LISTEN_FILE "listen"
#define TOKEN_TEXT_MAX 256
#define NBD_SPIN_US_MAX                                                      \
    50 /* what a ring takes at most: more than a wake-up costs gains nothing \
        */

struct gateway {
    uv_loop_t loop;
    uv_signal_t signals[2];
    struct config config;
    int state; /* the directory */
    struct core *core;
    struct http *http;
    bool stopping;
    int status; /* of the process */
};

static const struct core_principal self = {.name = "gateway", .role = ROLE_ADMIN};

/* ---- stop ------------------------------------------------------------------------------------ */

static void on_core_closed(void *owner) {
    struct gateway *gateway = owner;
    gateway->core = NULL;
    for (size_t i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&gateway->signals[i], NULL);
}

static void on_http_closed(void *owner) {
    struct gateway *gateway = owner;
    gateway->http = NULL;
    core_close(gateway->core, on_core_closed, gateway);
}

static void stop(struct gateway *gateway) {
    gateway->stopping = true;
    notify_send("STOPPING=1");
    log_info("stopping");
    if (gateway->state >= 0)
        state_remove(gateway->state, LISTEN_FILE);
    if (gateway->http != NULL)
        http_close(gateway->http, on_http_closed, gateway);
    else
        on_http_closed(gateway);
}

static void fail(struct gateway *gateway, const char *what, const struct err *err) {
    log_error(what, "code", err_slug(err->code), "cause", err->text);
    gateway->status = EXIT_FAILURE;
    if (!gateway->stopping)
        stop(gateway);
}

static void on_signal(uv_signal_t *handle, int number) {
    struct gateway *gateway = handle->data;
    (void)number;
    if (gateway->stopping) {
        log_warning("ended at once by a second signal");
        _exit(EXIT_FAILURE);
    }
    stop(gateway);
}

/* The supervisor is gone, and the runners with it: there is nothing left to stop in order. */
static void on_fatal(void *owner, const struct err *err) {
    (void)owner;
    log_error("cannot go on", "code", err_slug(err->code), "cause", err->text);
    _exit(EXIT_FAILURE);
}

static void on_core_log(void *owner, uint32_t level, const char *source, const char *text) {
    (void)owner;
    log_line((enum log_level)level, text, "from", source, (char *)0);
}

/* ---- HTTP ------------------------------------------------------------------------------------ */

static void on_change(void *owner, const struct http_change *change) {
    char status[12];
    (void)owner;
    snprintf(status, sizeof status, "%u", change->status);
    log_info("change", "principal", change->principal, "kind", change->kind, "operation",
             change->operation, "status", status);
}

static const char *given(const char *text) {
    return *text != '\0' ? text : NULL;
}

static void serve(struct gateway *gateway) {
    const struct config *config = &gateway->config;
    struct err err = ERR_INIT;
    struct http_options options = {
        .socket_path = given(config->socket),
        .socket_group = given(config->socket_group),
        .socket_role = config->socket_role,
        .listen = given(config->listen),
        .hosts = config->hosts.at,
        .host_count = config->hosts.count,
        .request_deadline_ms = config->request_deadline_ms,
        .on_change = on_change,
    };
    if (!http_open(&gateway->loop, gateway->core, &options, &gateway->http, &err)) {
        fail(gateway, "the API cannot be opened", &err);
        return;
    }
    char line[128];
    snprintf(line, sizeof line, "%s\n", http_address(gateway->http));
    if (options.listen != NULL && !state_write(gateway->state, LISTEN_FILE, line, &err)) {
        fail(gateway, "the address cannot be written", &err);
        return;
    }
    notify_send("READY=1");
    log_info("ready", "socket", config->socket, "address", http_address(gateway->http));
}

/* ---- the first token ------------------------------------------------------------------------- */

static void on_token(void *arg, const struct core_accepted *accepted) {
    struct gateway *gateway = arg;
    struct err err = accepted->err;
    char line[TOKEN_TEXT_MAX];
    if (gateway->stopping)
        return;
    if (err.code == ERR_EXISTS) {
        /* The file was taken away on purpose; the token still counts, and root needs none. */
        state_remove(gateway->state, TOKEN_FILE ".new");
    } else if (err.code == ERR_NONE && accepted->secret != NULL) {
        snprintf(line, sizeof line, "%s\n", accepted->secret);
        state_write(gateway->state, TOKEN_FILE, line, &err);
        explicit_bzero(line, sizeof line);
        log_info("wrote the first token", "role", "admin");
    }
    if (err.code != ERR_NONE && err.code != ERR_EXISTS)
        fail(gateway, "the first token cannot be made", &err);
    else
        serve(gateway);
}

static void token_create_start(struct gateway *gateway) {
    struct token_create_params params = {.name = TOKEN_NAME, .role = "admin"};
    struct core_submission submission = {
        .kind = KIND_token_create, .params = &params, .principal = &self};
    struct err err = ERR_INIT;
    if (!state_announce(gateway->state, TOKEN_FILE, &err)) {
        fail(gateway, "the state directory cannot be written", &err);
        return;
    }
    core_submit(gateway->core, &submission, on_token, gateway);
}

static void on_old_token_deleted(void *arg, const struct core_accepted *accepted) {
    struct gateway *gateway = arg;
    (void)accepted; /* there may have been none */
    if (!gateway->stopping)
        token_create_start(gateway);
}

/* A first start that ended between the commit and the write left a token that nobody knows. */
static void old_token_delete_start(struct gateway *gateway) {
    struct target_params params = {.target = TOKEN_NAME};
    struct core_submission submission = {
        .kind = KIND_token_delete, .params = &params, .principal = &self};
    core_submit(gateway->core, &submission, on_old_token_deleted, gateway);
}

static void on_ready(void *owner) {
    struct gateway *gateway = owner;
    if (gateway->stopping)
        return;
    if (state_has(gateway->state, TOKEN_FILE))
        serve(gateway);
    else if (state_announced(gateway->state, TOKEN_FILE))
        old_token_delete_start(gateway);
    else
        token_create_start(gateway);
}

/* ---- start ----------------------------------------------------------------------------------- */

static void harden(void) {
    const struct rlimit none = {0, 0};
    umask(077);
    /* Tokens and credentials of backends are in this memory. */
    prctl(PR_SET_DUMPABLE, 0);
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    /* Two threads allocate; an arena for each processor would only cost memory. */
    mallopt(M_ARENA_MAX, 2);
}

/* Where hosts find the sockets of attachments: they can enter the API socket's directory, not ours.
 */
static bool find_nbd_directory(const struct config *config, char ret[PATH_MAX], struct err *err) {
    const char *slash = strrchr(config->socket, '/');
    int length;
    if (*config->nbd_dir != '\0')
        length = snprintf(ret, PATH_MAX, "%s", config->nbd_dir);
    else if (slash != NULL)
        length = snprintf(ret, PATH_MAX, "%.*s/nbd", (int)(slash - config->socket), config->socket);
    else
        length = snprintf(ret, PATH_MAX, "%s/nbd", config->state_directory);
    return length < PATH_MAX || err_set(err, ERR_CONFIG, "the path of nbd-dir is too long");
}

static bool judge_spin(const struct config *config, struct err *err) {
    return config->nbd_spin_us <= NBD_SPIN_US_MAX ||
           err_set(err, ERR_CONFIG, "nbd-spin-us is %u; %d is the most", config->nbd_spin_us,
                   NBD_SPIN_US_MAX);
}

static bool open_core(struct gateway *gateway, struct err *err) {
    const struct config *config = &gateway->config;
    char nbd_directory[PATH_MAX];
    if (!find_nbd_directory(config, nbd_directory, err) || !judge_spin(config, err))
        return false;
    const struct core_options options = {
        .nbd_directory = nbd_directory,
        .nbd_listen = config->nbd_listen,
        .nbd_certificate = config->nbd_certificate,
        .nbd_key = config->nbd_key,
        .nbd_address = config->nbd_address,
        .nbd_spin_ns = config->nbd_spin_us * 1000,
        .state_directory = config->state_directory,
        .driver_directories = config->driver_directories.at,
        .driver_directory_count = config->driver_directories.count,
        .super_fd = SUPER_FD,
        .uid_low = config->uids.low,
        .uid_high = config->uids.high,
        .map_bytes = config->catalog_map,
        .retry_limit_ms = config->retry_limit_ms,
        .keep_operations_s = config->keep_operations_s,
        .keep_events_s = config->keep_events_s,
        .on_log = on_core_log,
    };
    return state_open(config->state_directory, &gateway->state, err) &&
           core_open(&gateway->loop, &options, on_ready, on_fatal, gateway, &gateway->core, err);
}

static void watch_signals(struct gateway *gateway) {
    static const int numbers[2] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; i++) {
        CHECK(uv_signal_init(&gateway->loop, &gateway->signals[i]) == 0);
        gateway->signals[i].data = gateway;
        CHECK(uv_signal_start(&gateway->signals[i], on_signal, numbers[i]) == 0);
    }
}

/* Before anything is opened here that would get this number. A copy of it stays open to the end:
 * sluice-super takes the end of the socket for the end of sluiced, and after the core has closed it
 * there is still something to do. */
static bool has_super(void) {
    struct stat st;
    return fstat(SUPER_FD, &st) == 0 && S_ISSOCK(st.st_mode) &&
           fcntl(SUPER_FD, F_DUPFD_CLOEXEC, SUPER_FD + 1) >= 0;
}

static int run(struct gateway *gateway) {
    struct err err = ERR_INIT;
    log_start("sluiced", gateway->config.log_level);
    if (!has_super()) {
        log_error("cannot start", "cause",
                  "descriptor 3 is no socket: sluice-super starts sluiced");
        return EXIT_FAILURE;
    }
    CHECK(uv_loop_init(&gateway->loop) == 0);
    watch_signals(gateway);
    if (!open_core(gateway, &err)) {
        log_error("cannot start", "code", err_slug(err.code), "cause", err.text);
        return EXIT_FAILURE;
    }
    uv_run(&gateway->loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&gateway->loop) == 0);
    close(gateway->state);
    log_info("stopped");
    return gateway->status;
}

static void on_fault_point(void *arg, const char *name) {
    (void)arg;
    puts(name);
}

int main(int argc, char **argv) {
    static struct gateway gateway = {.state = -1};
    struct arena arena;
    struct err err = ERR_INIT;
    enum config_wish wish;
    int status = EXIT_SUCCESS;
    harden();
    arena_init(&arena, CONFIG_ARENA_MAX);
    if (!config_parse(argc, argv, &arena, &gateway.config, &wish, &err)) {
        fprintf(stderr, "sluiced: %s\n", err.text);
        return 2;
    }
    switch (wish) {
    case CONFIG_RUN:
        status = run(&gateway);
        break;
    case CONFIG_HELP:
        config_help(stdout);
        break;
    case CONFIG_VERSION:
        puts("sluiced " SLUICE_VERSION);
        break;
    case CONFIG_FAULT_POINTS:
        core_fault_points(on_fault_point, NULL);
        break;
    case CONFIG_MANUAL:
        config_manual(stdout);
        break;
    case CONFIG_EXAMPLE:
        config_example(stdout);
        break;
    }
    arena_release(&arena);
    return status;
}
