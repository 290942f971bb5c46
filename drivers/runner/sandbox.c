/* SPDX-License-Identifier: Apache-2.0
 *
 * sandbox.c: the two doors, the report, and the identity of paths.
 */
#include "runner/sandbox.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/num.h"

static uint32_t find_line(const struct sandbox_report *report, const char *facility) {
    uint32_t i = 0;
    while (i < report->count && strcmp(report->at[i].facility, facility) != 0)
        i++;
    return i;
}

void sandbox_report(struct sandbox_report *report, const char *facility, const char *format, ...) {
    uint32_t i = find_line(report, facility);
    CHECK(i < SANDBOX_FACILITIES_MAX);
    if (i == report->count)
        report->count++;
    report->at[i].facility = facility;
    char text[2 * SANDBOX_TEXT_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    text_copy(report->at[i].text, SANDBOX_TEXT_SIZE, text); /* cut at a whole character */
}

const char *sandbox_reported(const struct sandbox_report *report, const char *facility) {
    uint32_t i = find_line(report, facility);
    return i < report->count ? report->at[i].text : NULL;
}

static bool parse_path(const char *text, struct sandbox_path *ret) {
    bool writable = strncmp(text, "rw:", 3) == 0;
    if (!writable && strncmp(text, "ro:", 3) != 0)
        return false;
    ret->writable = writable;
    return text[3] == '/' && text_copy(ret->path, sizeof ret->path, text + 3);
}

static void identify(const char *path, struct sandbox_path *ret) {
    struct stat found;
    ret->there = stat(path, &found) == 0;
    ret->device = ret->there ? found.st_dev : 0;
    ret->inode = ret->there ? found.st_ino : 0;
}

bool sandbox_init(struct sandbox *sandbox, const struct wire_load *load, struct err *err) {
    *sandbox = (struct sandbox){
        .directory = load->directory,
        .memory_mib = load->memory_mib > 0 ? load->memory_mib : SANDBOX_MEMORY_MIB,
        .open_files = load->open_files > 0 ? load->open_files : SANDBOX_OPEN_FILES,
        .network = load->network,
    };
    CHECK(load->paths.count <= SANDBOX_PATHS_MAX);
    for (uint32_t i = 0; i < load->paths.count; i++) {
        if (!parse_path(load->paths.at[i], &sandbox->paths[i]))
            return err_set(err, ERR_BAD_REQUEST, "%s is no path to reach", load->paths.at[i]);
        sandbox->path_count++;
    }
    return true;
}

void sandbox_enter_files(struct sandbox *sandbox) {
    for (uint32_t i = 0; i < sandbox->path_count; i++)
        identify(sandbox->paths[i].path, &sandbox->paths[i]);
    sandbox_privileges(sandbox);
    sandbox_landlock(sandbox);
}

void sandbox_close_door(struct sandbox *sandbox) {
    sandbox_seccomp(sandbox);
}

const char *sandbox_paths_changed(const struct sandbox *sandbox) {
    for (uint32_t i = 0; i < sandbox->path_count; i++) {
        const struct sandbox_path *path = &sandbox->paths[i];
        struct sandbox_path now;
        identify(path->path, &now);
        if (now.there != path->there || now.device != path->device || now.inode != path->inode)
            return path->path;
    }
    return NULL;
}
