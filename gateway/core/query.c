/* SPDX-License-Identifier: Apache-2.0
 *
 * query.c: reads of the API: one object, or a page of objects.
 */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"
#include "base/uuid.h"
#include "core/engine.h"
#include "core/render.h"
#include "core/state.h"
#include "core/store.h"

#define QUERY_LOOKS_MAX 10000            /* records that one page looks at */
#define QUERY_RECORD_MEMORY (512 * 1024) /* an operation with its parameters is the largest */

/* ---- one object ----------------------------------------------------------------------------- */

/* Readers see a last commit before its callback. Until then the operation holds its locks, and who
 * heard that it has ended would be refused for what it does next: it is still running. */
static void as_it_is(struct core *core, enum core_noun noun, union record *record) {
    if (noun != CORE_OPERATION || record->operation.ended_at == 0)
        return;
    const struct op *op = engine_find(core->engine, &record->operation.id);
    if (op == NULL)
        return;
    record->operation.ended_at = 0;
    record->operation.state = op_undoing(op) ? "undoing" : "running";
}

bool core_get(struct core *core, enum core_noun noun, const char *reference, struct buf *ret_json,
              uint64_t *ret_etag, struct err *err) {
    CHECK_MAGIC(core, CORE_MAGIC);
    if (noun == CORE_DRIVER) {
        *ret_etag = 0;
        return render_driver(core, reference, ret_json, err);
    }
    struct sluice_uuid id;
    if (!core_resolve(core, noun, reference, &id, err))
        return false;
    struct arena arena;
    arena_init(&arena, QUERY_RECORD_MEMORY);
    union record record;
    bool ok = store_get(core->catalog, noun, &id, &arena, &record, ret_etag, err);
    if (ok)
        as_it_is(core, noun, &record);
    if (ok)
        render_object(core, noun, &record, ret_json);
    arena_release(&arena);
    return ok;
}

/* ---- pages ---------------------------------------------------------------------------------- */

/* The query with its references resolved. */
struct page {
    struct core *core;
    enum core_noun noun;
    const struct core_query *query;
    struct sluice_uuid pool, volume, host;
    struct key prefix; /* what is scanned: the objects themselves, or an index of theirs */
    bool by_index;
    struct buf *json;
    uint32_t found, looked;
    struct sluice_uuid last;
    bool more;
    struct arena arena;
    struct err err;
};

static bool resolve_filters(struct page *page, struct err *err) {
    const struct core_query *query = page->query;
    if (query->pool != NULL && !core_resolve(page->core, CORE_POOL, query->pool, &page->pool, err))
        return false;
    if (query->volume != NULL &&
        !core_resolve(page->core, CORE_VOLUME, query->volume, &page->volume, err))
        return false;
    return query->host == NULL ||
           core_resolve(page->core, CORE_HOST, query->host, &page->host, err);
}

/* The narrowest index that the query names; what is left is compared record by record. */
static void choose_prefix(struct page *page) {
    const struct core_query *query = page->query;
    bool labels = query->labels != NULL && query->labels->count > 0;
    page->by_index = true;
    if (query->volume != NULL && (page->noun == CORE_SNAPSHOT || page->noun == CORE_ATTACHMENT))
        key_index(&page->prefix, page->noun, STORE_BY_VOLUME, &page->volume);
    else if (query->host != NULL && page->noun == CORE_ATTACHMENT)
        key_index(&page->prefix, page->noun, STORE_BY_HOST, &page->host);
    else if (labels && strlen(query->labels->at[0].name) <= 63 &&
             strlen(query->labels->at[0].value) <= 255)
        key_label(&page->prefix, page->noun, query->labels->at[0].name, query->labels->at[0].value);
    else if (query->pool != NULL && (page->noun == CORE_VOLUME || page->noun == CORE_SNAPSHOT ||
                                     page->noun == CORE_ATTACHMENT))
        key_index(&page->prefix, page->noun, STORE_BY_POOL, &page->pool);
    else {
        page->by_index = false;
        key_objects(&page->prefix, page->noun);
    }
}

static bool labels_match(const struct text_pairs *wanted, const struct text_pairs *labels) {
    for (uint32_t i = 0; wanted != NULL && i < wanted->count; i++) {
        const char *value = labels != NULL ? pairs_get(labels, wanted->at[i].name) : NULL;
        if (value == NULL || strcmp(value, wanted->at[i].value) != 0)
            return false;
    }
    return true;
}

static bool text_matches(const char *wanted, const char *text) {
    return wanted == NULL || (text != NULL && strcmp(wanted, text) == 0);
}

static bool id_matches(const char *wanted, const struct sluice_uuid *id,
                       const struct sluice_uuid *of) {
    return wanted == NULL || (of != NULL && uuid_equal(id, of));
}

static bool matches(const struct page *page, const union record *record) {
    const struct core_query *query = page->query;
    struct record_view view;
    record_view(page->noun, record, &view);
    return text_matches(query->name, view.name) && text_matches(query->state, view.state) &&
           text_matches(query->kind, view.kind) && labels_match(query->labels, view.labels) &&
           id_matches(query->pool, &page->pool, view.pool) &&
           id_matches(query->volume, &page->volume, view.volume) &&
           id_matches(query->host, &page->host, view.host);
}

static bool read_entry(struct page *page, const struct catalog_entry *entry, union record *record) {
    if (page->by_index)
        return store_get(page->core->catalog, page->noun, &page->last, &page->arena, record, NULL,
                         &page->err);
    return shape_decode(store_shape(page->noun), entry->value.at, entry->value.length, &page->arena,
                        record, &page->err);
}

static bool on_entry(void *arg, const struct catalog_entry *entry) {
    struct page *page = arg;
    if (entry->key_length < sizeof page->last.bytes)
        return true;
    if (page->found >= page->query->limit || page->looked >= QUERY_LOOKS_MAX) {
        page->more = true;
        return false;
    }
    page->looked++;
    memcpy(page->last.bytes, entry->key + entry->key_length - sizeof page->last.bytes,
           sizeof page->last.bytes);
    arena_reset(&page->arena);
    union record record;
    if (!read_entry(page, entry, &record))
        return false;
    as_it_is(page->core, page->noun, &record);
    if (!matches(page, &record))
        return true;
    if (page->found++ > 0)
        buf_put_u8(page->json, ',');
    render_object(page->core, page->noun, &record, page->json);
    return true;
}

bool core_list(struct core *core, enum core_noun noun, const struct core_query *query,
               struct buf *ret_json, char ret_next[CORE_TOKEN_MAX], struct err *err) {
    CHECK_MAGIC(core, CORE_MAGIC);
    ret_next[0] = '\0';
    if (noun == CORE_DRIVER)
        return render_drivers(core, query, ret_json, ret_next, err);
    struct page page = {.core = core, .noun = noun, .query = query, .json = ret_json};
    struct sluice_uuid after = {{0}};
    if (query->after != NULL && !uuid_parse(query->after, &after))
        return err_set(err, ERR_BAD_REQUEST, "after: not a page token of this list");
    if (!resolve_filters(&page, err))
        return false;
    choose_prefix(&page);
    struct key from = page.prefix;
    key_add_id(&from, &after);
    arena_init(&page.arena, QUERY_RECORD_MEMORY);
    bool ok = catalog_scan(core->catalog, page.prefix.at, page.prefix.length,
                           query->after != NULL ? from.at : NULL,
                           query->after != NULL ? from.length : 0, false, on_entry, &page, err);
    arena_release(&page.arena);
    if (page.err.code != ERR_NONE)
        return err_set(err, page.err.code, "%s", page.err.text);
    if (ok && page.more)
        uuid_format(&page.last, ret_next);
    return ok;
}
