/* SPDX-License-Identifier: Apache-2.0
 *
 * catalog_txn.c: collecting what a transaction shall do. What does not fit is remembered as the
 * transaction's error and comes by its callback.
 */
#include "catalog/catalog_txn.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define OPS_FIRST 8 /* a plain create has about that many */

/* As long as every single maximum is kept. */
#define BYTES_MAX                                                        \
    ((size_t)CATALOG_CHANGES_MAX * (CATALOG_VALUE_MAX + REVISION_SIZE) + \
     (size_t)(CATALOG_CHANGES_MAX + CATALOG_EXPECTS_MAX) * STORED_KEY_MAX)

void store_u64_le(uint8_t *at, uint64_t value) {
    for (size_t i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

uint64_t load_u64_le(const uint8_t *at) {
    uint64_t value = 0;
    for (size_t i = 0; i < 8; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

void store_u64_be(uint8_t *at, uint64_t value) {
    for (size_t i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> (8 * (7 - i)));
}

uint64_t load_u64_be(const uint8_t *at) {
    uint64_t value = 0;
    for (size_t i = 0; i < 8; i++)
        value = value << 8 | at[i];
    return value;
}

size_t key_beyond_prefix(uint8_t *prefix, size_t length) {
    while (prefix[length - 1] == 0xff)
        length--;
    prefix[length - 1]++;
    return length;
}

struct catalog_txn *catalog_begin(struct catalog *catalog) {
    CHECK(catalog != NULL);
    struct catalog_txn *txn = calloc(1, sizeof *txn);
    CHECK(txn != NULL); /* a kilobyte; a process that cannot have it cannot answer either */
    txn->catalog = catalog;
    buf_init(&txn->bytes, BYTES_MAX);
    return txn;
}

void txn_free(struct catalog_txn *txn) {
    buf_release(&txn->bytes);
    free(txn->ops);
    free(txn);
}

void catalog_drop(struct catalog_txn *txn) {
    if (txn != NULL)
        txn_free(txn);
}

void catalog_finishing(struct catalog_txn *txn) {
    txn->finishing = true;
}

uint8_t *txn_key(const struct catalog_txn *txn, const struct catalog_op *op) {
    return txn->bytes.at + op->key;
}

uint8_t *txn_value(const struct catalog_txn *txn, const struct catalog_op *op) {
    return txn->bytes.at + op->value;
}

static bool counted(struct catalog_txn *txn, enum catalog_op_kind kind) {
    uint32_t *count = kind == OP_EXPECT ? &txn->expect_count : &txn->change_count;
    uint32_t max = kind == OP_EXPECT ? CATALOG_EXPECTS_MAX : CATALOG_CHANGES_MAX;
    if (*count >= max)
        return err_set(&txn->err, ERR_LIMIT, "a transaction has at most %u %s", max,
                       kind == OP_EXPECT ? "conditions" : "changes");
    ++*count;
    return true;
}

static bool has_room(struct catalog_txn *txn) {
    if (txn->op_count < txn->op_capacity)
        return true;
    uint32_t capacity = txn->op_capacity == 0 ? OPS_FIRST : txn->op_capacity * 2;
    struct catalog_op *ops = realloc(txn->ops, capacity * sizeof *ops);
    if (ops == NULL)
        return err_set(&txn->err, ERR_NO_MEMORY, "no memory for a transaction");
    txn->ops = ops;
    txn->op_capacity = capacity;
    return true;
}

/* The op with its key in the buffer, behind it `tail` bytes that belong to the key; NULL: the
 * transaction has failed already, or does now. */
static struct catalog_op *add(struct catalog_txn *txn, enum catalog_op_kind kind, const void *key,
                              size_t key_length, size_t tail) {
    static const uint8_t zeros[NUMBER_SIZE];
    if (txn->err.code != ERR_NONE)
        return NULL;
    if (key_length + tail == 0 || key_length > CATALOG_KEY_MAX - tail) {
        err_set(&txn->err, ERR_LIMIT, "a key of %zu bytes; 1 to %d are possible", key_length + tail,
                CATALOG_KEY_MAX);
        return NULL;
    }
    if (!counted(txn, kind) || !has_room(txn))
        return NULL;
    struct catalog_op *op = &txn->ops[txn->op_count++];
    *op = (struct catalog_op){
        .kind = kind, .key = txn->bytes.length, .key_length = (uint32_t)(1 + key_length + tail)};
    buf_put_u8(&txn->bytes, LEAD_USER);
    buf_put(&txn->bytes, key, key_length);
    buf_put(&txn->bytes, zeros, tail);
    return op;
}

static void add_value(struct catalog_txn *txn, struct catalog_op *op, const void *value,
                      size_t value_length) {
    if (value_length > CATALOG_VALUE_MAX) {
        err_set(&txn->err, ERR_LIMIT, "a value of %zu bytes; at most %d are possible", value_length,
                CATALOG_VALUE_MAX);
        return;
    }
    op->value = txn->bytes.length;
    op->value_length = (uint32_t)value_length;
    buf_put_u64(&txn->bytes, 0);
    buf_put(&txn->bytes, value, value_length);
    if (txn->bytes.overflow)
        err_set(&txn->err, ERR_NO_MEMORY, "no memory for a transaction");
}

void catalog_expect(struct catalog_txn *txn, const void *key, size_t key_length,
                    uint64_t revision) {
    struct catalog_op *op = add(txn, OP_EXPECT, key, key_length, 0);
    if (op != NULL)
        op->revision = revision;
    if (txn->bytes.overflow)
        err_set(&txn->err, ERR_NO_MEMORY, "no memory for a transaction");
}

void catalog_put(struct catalog_txn *txn, const void *key, size_t key_length, const void *value,
                 size_t value_length) {
    struct catalog_op *op = add(txn, OP_PUT, key, key_length, 0);
    if (op != NULL)
        add_value(txn, op, value, value_length);
}

void catalog_delete(struct catalog_txn *txn, const void *key, size_t key_length) {
    add(txn, OP_DELETE, key, key_length, 0);
    if (txn->bytes.overflow)
        err_set(&txn->err, ERR_NO_MEMORY, "no memory for a transaction");
}

void catalog_append(struct catalog_txn *txn, const void *prefix, size_t prefix_length,
                    const void *value, size_t value_length) {
    struct catalog_op *op = add(txn, OP_APPEND, prefix, prefix_length, NUMBER_SIZE);
    if (op != NULL)
        add_value(txn, op, value, value_length);
}
