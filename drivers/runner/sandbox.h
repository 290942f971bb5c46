/* SPDX-License-Identifier: Apache-2.0
 *
 * sandbox.h: what the runner gives up for good before and after it loads a stranger's code.
 *
 * sandbox_enter_files comes before the driver is loaded: privileges, limits, and the file system
 * but for the driver's archive, the system's libraries and the paths that the gateway names.
 * sandbox_close_door comes after the driver has started, when its client library has read what it
 * reads once: the system calls that no driver needs. Neither can be taken back, and neither fails:
 * each facility says in the report `on`, or why it is not, and the operator decides.
 *
 * Call sandbox_enter_files while the process has one thread: most of it counts for the calling
 * thread and those that it starts. sandbox_close_door is for all threads.
 *
 * Landlock knows files by inode. When another file system is mounted on (or removed from) a path,
 * the rule is for what was there before; sandbox_paths_changed finds that out, and the only cure is
 * a new process.
 */
#ifndef SLUICE_RUNNER_SANDBOX_H
#define SLUICE_RUNNER_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "wire/message.h"

#define SANDBOX_FACILITIES_MAX 12
#define SANDBOX_TEXT_SIZE 200 /* all facilities fit into wire_resumed.loaded */
#define SANDBOX_PATHS_MAX 32  /* as wire_load.paths */

/* Without a limit of its own in LOAD. */
#define SANDBOX_MEMORY_MIB 256
#define SANDBOX_OPEN_FILES 256
/* What the runner needs besides the driver. */
#define SANDBOX_OPEN_FILES_OWN 32
#define SANDBOX_MEMORY_MIB_OWN 32
/* Of a uid that is the runner's alone; two runners of one pool may overlap for a moment. */
#define SANDBOX_THREADS 256

struct sandbox_report {
    uint32_t count;
    struct {
        const char *facility;
        char text[SANDBOX_TEXT_SIZE];
    } at[SANDBOX_FACILITIES_MAX];
};
/* Adds a line, or replaces the one of that facility. */
void sandbox_report(struct sandbox_report *report, const char *facility, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* What it says of a facility, or NULL. */
const char *sandbox_reported(const struct sandbox_report *report, const char *facility);

struct sandbox_path {
    char path[1024];
    bool writable;
    bool there; /* when the sandbox was entered */
    dev_t device;
    ino_t inode;
};

struct sandbox {
    const char *directory; /* of the archive */
    uint32_t memory_mib;
    uint32_t open_files;
    bool network;
    uint32_t path_count;
    struct sandbox_path paths[SANDBOX_PATHS_MAX];
    struct sandbox_report report;
};

/* Copies what LOAD asks for. A path that is neither ro: nor rw: and absolute: BAD_REQUEST. The
 * texts of `load` must live until the files are entered. */
bool sandbox_init(struct sandbox *sandbox, const struct wire_load *load, struct err *err);
void sandbox_enter_files(struct sandbox *sandbox);
void sandbox_close_door(struct sandbox *sandbox);

/* Is one of the paths another file than when the sandbox was entered? The path, or NULL. May block
 * as long as a file system does. Any thread. */
const char *sandbox_paths_changed(const struct sandbox *sandbox);

/* The parts, each in a source of its own; they add their own line to the report. */
void sandbox_privileges(struct sandbox *sandbox); /* privileges.c: uid, privileges, limits */
void sandbox_landlock(struct sandbox *sandbox);   /* landlock.c: landlock, paths */
void sandbox_seccomp(struct sandbox *sandbox);    /* seccomp.c: seccomp, network */

#endif
