/* SPDX-License-Identifier: Apache-2.0
 *
 * expiry.h: attachments that end by themselves: rw-migrate, at their expires_at.
 *
 * They are remembered in memory, learnt from the catalogue at the start and from the operations
 * that make them, and looked up again when they are due: one that is gone, or has become
 * read-write, is forgotten. What is due is taken back by an ordinary attachment.delete of the
 * principal "gateway", asked for again every EXPIRY_AGAIN_MS until the attachment is gone. Loop
 * thread only.
 */
#ifndef SLUICE_CORE_EXPIRY_H
#define SLUICE_CORE_EXPIRY_H

#include "core/core.h"
#include "core/records.h"

#define EXPIRY_DEFAULT_S 3600    /* a machine of some hundred GiB moves in minutes */
#define EXPIRY_MAX_S (24 * 3600) /* more is no migration */
#define EXPIRY_AGAIN_MS 10000

void expiry_start(struct core *core);
void expiry_stop(struct core *core);  /* nothing is taken back from here on */
void expiry_close(struct core *core); /* the memory */
/* It ends at its expires_at, if it has one; what is remembered already is fine. */
void expiry_add(struct core *core, const struct attachment_record *record);

#endif
