/* SPDX-License-Identifier: Apache-2.0
 *
 * config.h: the options of sluiced, from one table (config.def).
 *
 * The command line (--name value) goes before the file (--config FILE), the file before the
 * default. The file is YAML: one mapping of the same names to scalars, or to lists of scalars where
 * an option may be repeated. Anything else in it is refused, with its line and column: unknown and
 * repeated names, anchors, tags, other documents.
 *
 * Texts live in the arena. Errors are CONFIG.
 */
#ifndef SLUICE_DAEMON_CONFIG_H
#define SLUICE_DAEMON_CONFIG_H

#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/log.h"
#include "base/shape.h"
#include "core/core.h"

#define CONFIG_FILE_MAX 65536 /* bytes: two hundred times the example */
#define CONFIG_TEXTS_MAX 32   /* entries of an option that may be repeated */
#define CONFIG_ARENA_MAX 262144

struct config_range {
    uint32_t low, high;
};

#define CONFIG_TYPE_TEXT const char *
#define CONFIG_TYPE_TEXTS struct text_list
#define CONFIG_TYPE_NUMBER uint32_t
#define CONFIG_TYPE_SIZE uint64_t
#define CONFIG_TYPE_RANGE struct config_range
#define CONFIG_TYPE_ROLE enum core_role
#define CONFIG_TYPE_LEVEL enum log_level

struct config {
#define OPTION(member, name, kind, otherwise, sentence) CONFIG_TYPE_##kind member;
#include "daemon/config.def"
#undef OPTION
};

/* What the command line asks for besides options. */
enum config_wish {
    CONFIG_RUN,
    CONFIG_HELP,         /* --help */
    CONFIG_VERSION,      /* --version */
    CONFIG_FAULT_POINTS, /* --fault-points */
    CONFIG_MANUAL,       /* --manual: docs/CONFIGURATION.md */
    CONFIG_EXAMPLE,      /* --example: conf/sluice.yaml */
};

bool config_parse(int argc, char *const *argv, struct arena *arena, struct config *ret,
                  enum config_wish *ret_wish, struct err *err);

void config_help(FILE *to);
void config_manual(FILE *to);
void config_example(FILE *to);

#endif
