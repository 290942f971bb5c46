/* SPDX-License-Identifier: Apache-2.0
 *
 * driver.h: drivers as they run: an archive, a lifecycle state, and a process.
 *
 * A struct driver exists for every archive that was found and for every driver that the catalogue
 * remembers. Starting a storage driver loads it once, in a process of its own that ends again: its
 * pools have the processes that stay. Drivers of the other categories keep theirs. Every transition
 * goes through lifecycle/state.def, is written to the catalogue and told by an event. Loop thread
 * only.
 */
#ifndef SLUICE_CORE_DRIVER_H
#define SLUICE_CORE_DRIVER_H

#include "base/arena.h"
#include "core/core.h"
#include "core/records.h"
#include "lifecycle/manifest.h"
#include "lifecycle/state.h"
#include "runners/runners.h"

struct driver;
struct drivers;
struct catalog_txn;

/* Reads what the catalogue remembers; the pools are opened next, then drivers_scan. */
bool drivers_open(struct core *core, struct err *err);
void drivers_close(struct core *core); /* every process has ended */
/* Looks into the directories: new archives are added, those that are gone removed unless they run
 * or have pools, failed ones looked at again. */
bool drivers_scan(struct core *core, struct err *err);
/* Starts, one after the other and in order, all that shall run and can; a driver that takes longer
 * than DRIVER_SETTLE_MS is not waited for. */
#define DRIVER_SETTLE_MS 5000
void drivers_start(struct core *core, void (*on_done)(void *arg), void *arg);
/* Ends the processes in reverse order of start. */
void drivers_stop(struct core *core, void (*on_done)(void *arg), void *arg);

/* NULL: there is no such driver. */
struct driver *driver_find(struct core *core, const char *name, const char *version);
/* "NAME@VERSION" */
struct driver *driver_by_reference(struct core *core, const char *reference, struct err *err);
/* The highest running version in a range ("": any). NULL: none, and err says what there is. */
struct driver *driver_choose(struct core *core, const char *name, const char *range,
                             struct err *err);

const char *driver_name(const struct driver *driver);
const char *driver_version(const struct driver *driver);
const char *driver_directory(const struct driver *driver);
/* NULL: its archive could not be read. */
const struct manifest *driver_manifest(const struct driver *driver);
enum driver_state driver_state(const struct driver *driver);
/* Identifies its process and its lock. */
const struct sluice_uuid *driver_tag(const struct driver *driver);
bool drivers_uid_taken(const struct core *core, uint32_t uid);
/* It may be that `driver` cannot read what `other` left: STATE says which formats. */
bool driver_reads_formats_of(const struct driver *driver, const struct driver *other,
                             struct err *err);

/* Brings a driver to RUNNING; on_settled (may be NULL) when it runs or has failed (driver_cause),
 * maybe before this returns. While the gateway stops nobody is called. */
void driver_start(struct driver *driver, void (*on_settled)(void *arg), void *arg);
void driver_stop(struct driver *driver, void (*on_settled)(void *arg), void *arg);
/* SUSPEND, RESUME. */
bool driver_move(struct driver *driver, enum driver_event event, struct err *err);
const struct err *driver_cause(const struct driver *driver);
/* What the operator asked for last: "running", "suspended", "stopped". Written with the next move.
 */
void driver_want(struct driver *driver, const char *wanted);
/* Writes it with an operation's first commit; the next start goes by it. */
void driver_will_want(struct driver *driver, struct catalog_txn *txn, const char *wanted);

#endif
