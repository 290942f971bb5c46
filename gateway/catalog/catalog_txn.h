/* SPDX-License-Identifier: Apache-2.0
 *
 * catalog_txn.h: a transaction's conditions and changes, as the loop collects and the writer reads
 * them. Inside of catalog/ only.
 *
 * All bytes lie in one buffer, each key with its lead byte in front and each value behind room for
 * its revision, so that the writer hands both to the store as they are. Belongs to the loop thread
 * until it is submitted, to the writer until that has handed it back, then to the loop again.
 */
#ifndef SLUICE_CATALOG_CATALOG_TXN_H
#define SLUICE_CATALOG_CATALOG_TXN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "catalog/catalog.h"

/* In the store a key begins with a byte that tells the users' keys from our own (the largest number
 * of each prefix that was appended to), so that no scan ever meets ours. */
#define LEAD_USER 'k'
#define LEAD_NUMBER 'n'
#define STORED_KEY_MAX (1 + CATALOG_KEY_MAX)
#define NUMBER_SIZE sizeof(uint64_t) /* at the end of an appended key, big-endian */

/* A stored value is the revision, u64 little-endian, and the value. */
#define REVISION_SIZE sizeof(uint64_t)

enum catalog_op_kind { OP_EXPECT, OP_PUT, OP_DELETE, OP_APPEND };

struct catalog_op {
    enum catalog_op_kind kind;
    bool moot;             /* a delete that found nothing: the writer says so, no watch is called */
    uint32_t key_length;   /* with lead byte and number */
    uint32_t value_length; /* without the revision's room */
    size_t key;            /* offsets into bytes */
    size_t value;          /* of the revision's room */
    uint64_t revision;     /* OP_EXPECT: the one that must be there */
};

struct catalog_txn {
    STAILQ_ENTRY(catalog_txn) entries;
    struct catalog *catalog;
    struct buf bytes;
    struct catalog_op *ops;
    uint32_t op_count;
    uint32_t op_capacity;
    uint32_t expect_count;
    uint32_t change_count;
    bool finishing;
    bool waited;    /* was handed to the writer, not refused before */
    struct err err; /* why it was refused, or how it ended */
    uint64_t revision;
    catalog_done_fn *done;
    void *arg;
};

STAILQ_HEAD(catalog_txn_list, catalog_txn);

void txn_free(struct catalog_txn *txn);
uint8_t *txn_key(const struct catalog_txn *txn, const struct catalog_op *op);
uint8_t *txn_value(const struct catalog_txn *txn, const struct catalog_op *op);

/* Makes of a stored prefix the least key that is larger than all which begin with it; with the lead
 * byte in front there always is one. Returns its length. */
size_t key_beyond_prefix(uint8_t *prefix, size_t length);

void store_u64_le(uint8_t *at, uint64_t value);
uint64_t load_u64_le(const uint8_t *at);
void store_u64_be(uint8_t *at, uint64_t value);
uint64_t load_u64_be(const uint8_t *at);

#endif
