/* SPDX-License-Identifier: Apache-2.0
 *
 * machine_http: libmicrohttpd alone, as the gateway uses it: one thread, its epoll descriptor
 * polled by a libuv loop. Each request gets the same answer of a given size, made beforehand.
 *
 *     machine_http BYTES COMMAND [ARGUMENT...]
 *
 * Listens on a free port of 127.0.0.1, runs the command with PORT in its environment and ends with
 * its status; the command measures.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>
#include <uv.h>

#include "measure.h"

#define BODY_MAX (1u << 20)

struct server {
    uv_loop_t loop;
    struct MHD_Daemon *daemon;
    struct MHD_Response *response;
    uv_poll_t poll;
    uv_timer_t again;
    uv_process_t command;
    int status;
};

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **place) {
    struct server *server = arg;
    (void)url, (void)method, (void)version, (void)upload;
    if (*place == NULL) { /* headers; a body may follow */
        *place = server;
        return MHD_YES;
    }
    if (*upload_size > 0) {
        *upload_size = 0;
        return MHD_YES;
    }
    return MHD_queue_response(connection, MHD_HTTP_OK, server->response);
}

static void on_again(uv_timer_t *timer);

static void run(struct server *server) {
    MHD_run(server->daemon);
    MHD_UNSIGNED_LONG_LONG ms;
    if (MHD_get_timeout(server->daemon, &ms) == MHD_YES)
        uv_timer_start(&server->again, on_again, ms, 0);
    else
        uv_timer_stop(&server->again);
}

static void on_again(uv_timer_t *timer) {
    run(timer->data);
}

static void on_readable(uv_poll_t *poll, int status, int events) {
    (void)status, (void)events;
    run(poll->data);
}

static void on_exit_of_command(uv_process_t *command, int64_t status, int signal) {
    struct server *server = command->data;
    server->status = signal != 0 ? 1 : (int)status;
    uv_stop(&server->loop);
}

static int listen_somewhere(uint16_t *ret_port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, 256) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        measure_fail("cannot listen on 127.0.0.1");
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void command_start(struct server *server, char **arguments, uint16_t port) {
    char text[8];
    snprintf(text, sizeof text, "%u", port);
    setenv("PORT", text, 1);
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = 1},
        {.flags = UV_INHERIT_FD, .data.fd = 2},
    };
    uv_process_options_t options = {.exit_cb = on_exit_of_command,
                                    .file = arguments[0],
                                    .args = arguments,
                                    .stdio = stdio,
                                    .stdio_count = 3};
    server->command.data = server;
    int error = uv_spawn(&server->loop, &server->command, &options);
    if (error != 0)
        measure_fail("%s: %s", arguments[0], uv_strerror(error));
}

int main(int argc, char **argv) {
    if (argc < 3)
        measure_fail("usage: machine_http BYTES COMMAND [ARGUMENT...]");
    size_t size = measure_number(argv[1]);
    static char body[BODY_MAX];
    if (size > sizeof body)
        measure_fail("at most %zu bytes", sizeof body);
    memset(body, 'x', size);
    static struct server server;
    uint16_t port;
    int fd = listen_somewhere(&port);
    uv_loop_init(&server.loop);
    server.response = MHD_create_response_from_buffer(size, body, MHD_RESPMEM_PERSISTENT);
    server.daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, &server,
                                     MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
                                     1024u, MHD_OPTION_END);
    if (server.response == NULL || server.daemon == NULL)
        measure_fail("libmicrohttpd does not start");
    MHD_add_response_header(server.response, "Content-Type", "application/json");
    int epoll = MHD_get_daemon_info(server.daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    uv_poll_init(&server.loop, &server.poll, epoll);
    uv_timer_init(&server.loop, &server.again);
    server.poll.data = server.again.data = &server;
    uv_poll_start(&server.poll, UV_READABLE, on_readable);
    run(&server);
    command_start(&server, argv + 2, port);
    uv_run(&server.loop, UV_RUN_DEFAULT);
    MHD_stop_daemon(server.daemon);
    MHD_destroy_response(server.response);
    return server.status;
}
