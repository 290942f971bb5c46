/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog/catalog_place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* File systems that are shared with other machines, or whose server decides what a flush means. The
 * store maps its file and needs one coherent page cache. Numbers: statfs(2), linux/magic.h. */
static const struct {
    unsigned long magic;
    const char *name;
} remote[] = {
    {0x6969, "NFS"},        {0x517b, "SMB"},      {0xff534d42, "CIFS"},   {0xfe534d42, "SMB"},
    {0x65735546, "FUSE"},   {0x01021997, "9P"},   {0x00c36400, "Ceph"},   {0x5346414f, "AFS"},
    {0x6b414653, "AFS"},    {0x73757245, "Coda"}, {0x01161970, "GFS2"},   {0x7461636f, "OCFS2"},
    {0x0bd00bd0, "Lustre"}, {0x47504653, "GPFS"}, {0x19830326, "BeeGFS"}, {0xaad7aaea, "PanFS"},
};

static bool is_local(int fd, const char *directory, struct err *err) {
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0)
        return err_errno(err, ERR_SYSTEM, errno, "%s", directory);
    for (size_t i = 0; i < sizeof remote / sizeof remote[0]; i++)
        if (((unsigned long)fs.f_type & 0xffffffff) == remote[i].magic)
            return err_set(err, ERR_CONFIG,
                           "%s is on a %s file system: the catalogue needs a local one", directory,
                           remote[i].name);
    return true;
}

bool place_check(const char *directory, struct err *err) {
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, ERR_CONFIG, errno, "the catalogue's directory %s", directory);
    struct stat stat;
    bool ok;
    if (fstat(fd, &stat) != 0)
        ok = err_errno(err, ERR_SYSTEM, errno, "%s", directory);
    else if (stat.st_uid != geteuid())
        ok = err_set(err, ERR_CONFIG, "%s belongs to uid %u, the gateway runs as uid %u", directory,
                     stat.st_uid, geteuid());
    else if ((stat.st_mode & 077) != 0)
        ok = err_set(err, ERR_CONFIG,
                     "%s has mode %04o: others can get at the catalogue; it must be 0700",
                     directory, stat.st_mode & 07777);
    else if ((stat.st_mode & 0700) != 0700)
        ok = err_set(err, ERR_CONFIG, "%s has mode %04o; it must be 0700", directory,
                     stat.st_mode & 07777);
    else
        ok = is_local(fd, directory, err);
    close(fd);
    return ok;
}

/* Who holds it wrote his number into the file; only a hint for the operator. */
static bool held_by_another(int fd, const char *directory, struct err *err) {
    char pid[16];
    ssize_t length = pread(fd, pid, sizeof pid - 1, 0);
    pid[length > 0 ? length : 0] = '\0';
    pid[strspn(pid, "0123456789")] = '\0';
    return err_set(err, ERR_BUSY, "another gateway%s%s has the catalogue in %s open",
                   *pid != '\0' ? ", process " : "", pid, directory);
}

bool place_lock(const char *directory, int *ret_fd, struct err *err) {
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/lock", directory);
    if (length < 0 || (size_t)length >= sizeof path)
        return err_set(err, ERR_CONFIG, "the catalogue's directory has too long a name");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, ERR_CONFIG, errno, "opening %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            held_by_another(fd, directory, err);
        else
            err_errno(err, ERR_SYSTEM, errno, "locking %s", path);
        close(fd);
        return false;
    }
    char pid[16];
    length = snprintf(pid, sizeof pid, "%d\n", getpid());
    /* A full disk must not keep the gateway from starting: the number is only a hint. */
    bool told = ftruncate(fd, 0) == 0 && pwrite(fd, pid, (size_t)length, 0) == length;
    (void)told;
    *ret_fd = fd;
    return true;
}

bool place_sync(const char *directory, struct err *err) {
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, ERR_SYSTEM, errno, "%s", directory);
    bool ok = fsync(fd) == 0;
    if (!ok)
        err_errno(err, ERR_SYSTEM, errno, "flushing %s", directory);
    close(fd);
    return ok;
}
