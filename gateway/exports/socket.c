/* SPDX-License-Identifier: Apache-2.0
 *
 * socket.c: one listening Unix socket an export. Anybody may connect; sluice-data looks at who it
 * is. The folder's names are the attachments' ids and cannot be listed.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "base/uuid.h"
#include "exports/state.h"

#define SUFFIX ".sock"
#define BACKLOG 64

_Static_assert(EXPORTS_DIRECTORY_MAX + 1 + UUID_TEXT_SIZE + sizeof SUFFIX <= EXPORTS_PATH_MAX,
               "an address has room for it");
_Static_assert(EXPORTS_PATH_MAX == sizeof((struct sockaddr_un *)0)->sun_path, "sun_path");

bool sockets_prepare(const struct exports *exports, struct err *err) {
    struct stat st;
    if (mkdir(exports->directory, 0711) < 0 && errno != EEXIST)
        return err_errno(err, ERR_CONFIG, errno, "the directory %s of NBD sockets",
                         exports->directory);
    if (lstat(exports->directory, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
        return err_set(err, ERR_CONFIG, "%s is no directory of this account's", exports->directory);
    if (chmod(exports->directory, 0711) < 0)
        return err_errno(err, ERR_CONFIG, errno, "the mode of %s", exports->directory);
    return true;
}

void socket_path(const struct exports *exports, const struct sluice_uuid *attachment,
                 char ret[EXPORTS_PATH_MAX]) {
    char id[UUID_TEXT_SIZE];
    int length = snprintf(ret, EXPORTS_PATH_MAX, "%s/%s" SUFFIX, exports->directory,
                          uuid_format(attachment, id));
    CHECK(length > 0 && length < EXPORTS_PATH_MAX);
}

int socket_listen(const struct exports *exports, const struct sluice_uuid *attachment,
                  struct err *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socket_path(exports, attachment, address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        err_errno(err, ERR_SYSTEM, errno, "a socket");
        return -1;
    }
    unlink(address.sun_path); /* of a sluice-data that has ended */
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 ||
        chmod(address.sun_path, 0666) < 0 || listen(fd, BACKLOG) < 0) {
        err_errno(err, ERR_SYSTEM, errno, "listening at %s", address.sun_path);
        close(fd);
        return -1;
    }
    return fd;
}

void socket_remove(const struct exports *exports, const struct sluice_uuid *attachment) {
    char path[EXPORTS_PATH_MAX];
    socket_path(exports, attachment, path);
    unlink(path);
}

void sockets_sweep(const struct exports *exports) {
    DIR *directory = opendir(exports->directory);
    const struct dirent *entry;
    if (directory == NULL)
        return; /* old sockets refuse, that is all */
    while ((entry = readdir(directory)) != NULL) {
        char text[UUID_TEXT_SIZE];
        struct sluice_uuid id;
        size_t length = strlen(entry->d_name);
        if (length != UUID_TEXT_SIZE - 1 + strlen(SUFFIX) ||
            strcmp(entry->d_name + UUID_TEXT_SIZE - 1, SUFFIX) != 0)
            continue;
        memcpy(text, entry->d_name, sizeof text - 1);
        text[sizeof text - 1] = '\0';
        if (uuid_parse(text, &id) && export_of(exports, &id) == NULL)
            unlinkat(dirfd(directory), entry->d_name, 0);
    }
    closedir(directory);
}
