/* SPDX-License-Identifier: Apache-2.0
 *
 * door.c: the TCP socket that sluice-data takes clients over TLS from, and the server's certificate
 * and key.
 *
 * What is wrong with the files or the address is found here, where it can be told in the words of
 * the configuration; sluice-data opens nothing itself. When it was taken over from a gateway
 * before, its socket is taken over too: no other could be had while it listens.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "exports/state.h"

#define BACKLOG 256
/* A client that is gone without a word is noticed in a minute. */
#define KEEPALIVE_IDLE_S 30
#define KEEPALIVE_EVERY_S 10
#define KEEPALIVE_TRIES 3

/* ---- the files ------------------------------------------------------------------------------- */

static bool read_pem(const char *option, const char *path, bool secret, uint8_t *to,
                     size_t *ret_length, struct err *err) {
    struct stat st;
    if (path == NULL || *path == '\0')
        return err_set(err, ERR_CONFIG, "nbd-listen needs %s: name the file", option);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_errno(err, ERR_CONFIG, errno, "%s: opening %s", option, path);
    bool fit =
        fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= DATA_PEM_MAX;
    bool open_to_all = fit && secret && (st.st_mode & S_IROTH) != 0;
    ssize_t got = fit && !open_to_all ? read(fd, to, DATA_PEM_MAX) : -1;
    close(fd);
    if (open_to_all)
        return err_set(err, ERR_CONFIG, "%s: everybody may read %s: chmod it to 0600", option,
                       path);
    if (got <= 0)
        return err_set(err, ERR_CONFIG, "%s: %s is no file of 1 to %d bytes", option, path,
                       DATA_PEM_MAX);
    *ret_length = (size_t)got;
    return true;
}

/* That they can be used, and belong together. */
static bool judge(const gnutls_datum_t *certificate, const gnutls_datum_t *key, struct err *err) {
    gnutls_certificate_credentials_t credentials;
    if (gnutls_certificate_allocate_credentials(&credentials) != GNUTLS_E_SUCCESS)
        return err_set(err, ERR_NO_MEMORY, "no memory for a certificate");
    int code =
        gnutls_certificate_set_x509_key_mem(credentials, certificate, key, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(credentials);
    return code >= 0 ||
           err_set(err, ERR_CONFIG,
                   "nbd-certificate and nbd-key are no certificate and its key, in PEM: %s",
                   gnutls_strerror(code));
}

/* A descriptor that reads as a file with these bytes, and can be changed no more; -1. */
static int keep(const char *name, const uint8_t *bytes, size_t length) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    if (write(fd, bytes, length) == (ssize_t)length &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool take_files(struct door *door, const struct exports_tls *tls, struct err *err) {
    uint8_t *bytes = malloc((size_t)2 * DATA_PEM_MAX);
    size_t certificate_size, key_size;
    if (bytes == NULL)
        return err_set(err, ERR_NO_MEMORY, "no memory for a certificate");
    bool read =
        read_pem("nbd-certificate", tls->certificate, false, bytes, &certificate_size, err) &&
        read_pem("nbd-key", tls->key, true, bytes + DATA_PEM_MAX, &key_size, err);
    if (read) {
        gnutls_datum_t certificate = {bytes, (unsigned)certificate_size};
        gnutls_datum_t key = {bytes + DATA_PEM_MAX, (unsigned)key_size};
        read = judge(&certificate, &key, err);
    }
    if (read) {
        door->certificate = keep("nbd-certificate", bytes, certificate_size);
        door->key = keep("nbd-key", bytes + DATA_PEM_MAX, key_size);
        if (door->certificate < 0 || door->key < 0)
            read = err_errno(err, ERR_SYSTEM, errno, "keeping nbd-certificate and nbd-key");
    }
    explicit_bzero(bytes, (size_t)2 * DATA_PEM_MAX);
    free(bytes);
    return read;
}

/* ---- the address ----------------------------------------------------------------------------- */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool parse_address(const char *text, union address *ret, socklen_t *ret_length,
                          struct err *err) {
    char host[INET6_ADDRSTRLEN + 2];
    uint64_t port;
    const char *colon = strrchr(text, ':');
    memset(ret, 0, sizeof *ret);
    if (colon != NULL && num_parse_u64(colon + 1, &port) && port <= 65535 &&
        (size_t)(colon - text) < sizeof host) {
        size_t length = (size_t)(colon - text);
        memcpy(host, text, length);
        host[length] = '\0';
        if (inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1) {
            ret->v4.sin_family = AF_INET;
            ret->v4.sin_port = htons((uint16_t)port);
            *ret_length = sizeof ret->v4;
            return true;
        }
        if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
            host[length - 1] = '\0';
            ret->v6.sin6_family = AF_INET6;
            ret->v6.sin6_port = htons((uint16_t)port);
            *ret_length = sizeof ret->v6;
            if (inet_pton(AF_INET6, host + 1, &ret->v6.sin6_addr) == 1)
                return true;
        }
    }
    return err_set(err, ERR_CONFIG,
                   "nbd-listen: %s is not an address and a port, as 192.0.2.1:10809 or "
                   "[2001:db8::1]:10809",
                   text);
}

static bool is_any(const union address *address) {
    if (address->any.sa_family == AF_INET)
        return address->v4.sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr);
}

/* What hosts are told: as configured, with the port that it is if none was said. */
static bool find_told(struct door *door, struct err *err) {
    union address real;
    socklen_t length = sizeof real;
    char host[INET6_ADDRSTRLEN] = "";
    const char *configured = door->address;
    if (getsockname(door->socket, &real.any, &length) != 0)
        return err_errno(err, ERR_SYSTEM, errno, "the port of nbd-listen");
    bool v6 = real.any.sa_family == AF_INET6;
    unsigned port = ntohs(v6 ? real.v6.sin6_port : real.v4.sin_port);
    inet_ntop(real.any.sa_family,
              v6 ? (const void *)&real.v6.sin6_addr : (const void *)&real.v4.sin_addr, host,
              sizeof host);
    const char *bracket = strrchr(configured, ']');
    bool has_port = strchr(bracket != NULL ? bracket : configured, ':') != NULL;
    int size;
    if (*configured == '\0')
        size = snprintf(door->told, sizeof door->told, v6 ? "[%s]:%u" : "%s:%u", host, port);
    else if (has_port)
        size = snprintf(door->told, sizeof door->told, "%s", configured);
    else
        size = snprintf(door->told, sizeof door->told, "%s:%u", configured, port);
    return (size > 0 && (size_t)size < sizeof door->told) ||
           err_set(err, ERR_CONFIG, "nbd-address is too long");
}

/* Connections get these of the socket that they come from, so sluice-data needs no call for it. */
static bool set_options(int fd) {
    static const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_REUSEADDR, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_EVERY_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_TRIES},
        {IPPROTO_TCP, TCP_NODELAY, 1},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                       sizeof options[i].value) != 0)
            return false;
    return true;
}

static bool start_listening(struct door *door, struct err *err) {
    union address address;
    socklen_t length;
    if (!parse_address(door->listen, &address, &length, err))
        return false;
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, ERR_SYSTEM, errno, "a socket for nbd-listen");
    door->socket = fd;
    if (!set_options(fd) || bind(fd, &address.any, length) != 0 || listen(fd, BACKLOG) != 0)
        err_errno(err, ERR_SYSTEM, errno, "nbd-listen: listening on %s", door->listen);
    else if (find_told(door, err))
        return true;
    close(fd);
    door->socket = -1;
    return false;
}

/* ---- life ------------------------------------------------------------------------------------ */

/* An error of the configuration, which no waiting mends, is kept in door->err. */
static bool configure(struct door *door, const struct exports_tls *tls) {
    union address address;
    socklen_t length;
    struct err *err = &door->err;
    const char *told = tls->address != NULL ? tls->address : "";
    if (!text_copy(door->listen, sizeof door->listen, tls->listen) ||
        !text_copy(door->address, sizeof door->address, told))
        return err_set(err, ERR_CONFIG, "nbd-listen or nbd-address is too long");
    if (!parse_address(door->listen, &address, &length, err))
        return false;
    if (is_any(&address) && *told == '\0')
        return err_set(err, ERR_CONFIG,
                       "nbd-listen is every address: say by nbd-address which one hosts use");
    if (strspn(told, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]_") !=
        strlen(told))
        return err_set(err, ERR_CONFIG, "nbd-address: %s is no HOST or HOST:PORT", told);
    return take_files(door, tls, err);
}

void door_open(struct exports *exports, bool held) {
    struct door *door = &exports->door;
    const struct exports_tls *tls = &exports->options.tls;
    *door = (struct door){.socket = -1, .certificate = -1, .key = -1, .err = ERR_INIT};
    if (tls->listen == NULL || *tls->listen == '\0')
        return;
    if (!configure(door, tls) || (!held && !start_listening(door, &door->err)))
        exports_trouble(exports, "%s", door->err.text);
}

static void close_one(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void door_close(struct exports *exports) {
    close_one(&exports->door.socket);
    close_one(&exports->door.certificate);
    close_one(&exports->door.key);
}

void door_adopt(struct exports *exports, const struct data_listen *listens, int fd) {
    struct door *door = &exports->door;
    static const struct data_nothing nothing;
    if (strcmp(door->listen, listens->address) != 0) {
        data_process_send(exports->process, DATA_UNLISTEN, &nothing, NULL, 0);
        return;
    }
    close_one(&door->socket);
    door->socket = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (door->socket >= 0 && !find_told(door, &door->err))
        close_one(&door->socket);
}

bool door_tell(struct exports *exports) {
    struct door *door = &exports->door;
    if (door->listen[0] == '\0' || door->said)
        return true;
    if (door->key < 0)
        return false; /* said at the start; what sluice-data has of before goes on */
    bool failed = door->err.code != ERR_NONE;
    if (door->socket < 0) {
        door->err = (struct err)ERR_INIT;
        if (!start_listening(door, &door->err)) {
            if (!failed)
                exports_trouble(exports, "%s", door->err.text);
            exports_again(exports, EXPORTS_AGAIN_MS);
            return false;
        }
    }
    int descriptors[] = {door->socket, door->certificate, door->key};
    struct data_listen body = {.address = door->listen};
    data_process_send(exports->process, DATA_LISTEN, &body, descriptors, 3);
    door->said = true;
    return true;
}
