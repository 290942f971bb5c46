/* SPDX-License-Identifier: Apache-2.0
 *
 * options.c: four options by hand; getopt would permute argv and knows more than is wanted here.
 */
#include "super/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "super/message.h"

/* The program of that name in the folder of this one. */
static bool beside_self(const char *name, char ret[PATH_MAX], struct err *err) {
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0)
        return err_errno(err, ERR_SYSTEM, errno, "reading /proc/self/exe");
    self[length] = '\0';
    char *slash = strrchr(self, '/');
    if (slash == NULL)
        return err_set(err, ERR_SYSTEM, "/proc/self/exe is no absolute path");
    slash[1] = '\0';
    size_t folder = strlen(self);
    if (folder + strlen(name) >= PATH_MAX)
        return err_set(err, ERR_LIMIT, "the path of this program is too long");
    memcpy(ret, self, folder);
    memcpy(ret + folder, name, strlen(name) + 1);
    return true;
}

/* Children start in another folder, so a path has to be absolute. */
static bool take_path(const char *option, const char *value, char ret[PATH_MAX], struct err *err) {
    if (value == NULL)
        return err_set(err, ERR_CONFIG, "%s wants a path", option);
    if (realpath(value, ret) == NULL)
        return err_errno(err, ERR_CONFIG, errno, "%s %s", option, value);
    return true;
}

static bool take_range(const char *value, struct super_options *options, struct err *err) {
    char low[16];
    const char *dash = value != NULL ? strchr(value, '-') : NULL;
    uint64_t first, last;
    if (dash != NULL && (size_t)(dash - value) < sizeof low) {
        memcpy(low, value, (size_t)(dash - value));
        low[dash - value] = '\0';
        /* The two highest numbers mean "nobody" and "unchanged" to the kernel. */
        if (num_parse_u64(low, &first) && num_parse_u64(dash + 1, &last) && first > 0 &&
            first <= last && last < UINT32_MAX - 1) {
            options->uid_low = (uint32_t)first;
            options->uid_high = (uint32_t)last;
            return true;
        }
    }
    return err_set(err, ERR_CONFIG, "--uid-range wants LOW-HIGH, two account numbers above 0");
}

bool super_options_parse(int argc, char **argv, struct super_options *ret, struct err *err) {
    static char *no_arguments[2];
    *ret = (struct super_options){.uid_low = SUPER_UID_LOW, .uid_high = SUPER_UID_HIGH};
    ret->arguments = no_arguments;
    for (int i = 1; i < argc; i += 2) {
        const char *option = argv[i];
        if (strcmp(option, "--") == 0) {
            ret->arguments = argv + i;
            break;
        }
        if (strcmp(option, "--help") == 0) {
            ret->help = true;
            return true;
        }
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool good;
        if (strcmp(option, "--sluiced") == 0)
            good = take_path(option, value, ret->sluiced, err);
        else if (strcmp(option, "--runner") == 0)
            good = take_path(option, value, ret->runner, err);
        else if (strcmp(option, "--data") == 0)
            good = take_path(option, value, ret->data, err);
        else if (strcmp(option, "--uid-range") == 0)
            good = take_range(value, ret, err);
        else
            good = err_set(err, ERR_CONFIG, "there is no option %s", option);
        if (!good)
            return false;
    }
    if (ret->sluiced[0] == '\0' && !beside_self("sluiced", ret->sluiced, err))
        return false;
    if (ret->runner[0] == '\0' && !beside_self("sluice-runner", ret->runner, err))
        return false;
    if (ret->data[0] == '\0' && !beside_self("sluice-data", ret->data, err))
        return false;
    ret->arguments[0] = ret->sluiced;
    return true;
}
