/* SPDX-License-Identifier: Apache-2.0
 *
 * references.c: what a text of the API names: an id, a name, or a path of names.
 */
#include <string.h>

#include "base/num.h"
#include "base/uuid.h"
#include "core/pool.h"
#include "core/state.h"
#include "core/store.h"

static bool not_found(enum core_noun noun, const char *reference, struct err *err) {
    return err_set(err, ERR_NOT_FOUND, "there is no %s %s", core_noun_name(noun), reference);
}

static bool by_name(struct core *core, enum core_noun noun, const struct sluice_uuid *scope,
                    const char *name, struct sluice_uuid *ret, struct err *err) {
    if (!text_is_name(name, 255))
        return not_found(noun, name, err);
    struct err trouble = ERR_INIT;
    if (store_find(core->catalog, noun, scope, name, ret, &trouble))
        return true;
    if (trouble.code != ERR_NONE)
        return err_set(err, trouble.code, "%s", trouble.text);
    return not_found(noun, name, err);
}

/* POOL:NAME */
static bool volume_by_path(struct core *core, const char *reference, struct sluice_uuid *ret,
                           struct err *err) {
    char pool_text[300];
    const char *colon = strchr(reference, ':');
    if (colon == NULL || (size_t)(colon - reference) >= sizeof pool_text)
        return err_set(err, ERR_NOT_FOUND,
                       "there is no volume %s: name it by its id or as POOL:NAME", reference);
    memcpy(pool_text, reference, (size_t)(colon - reference));
    pool_text[colon - reference] = '\0';
    struct sluice_uuid pool;
    return core_resolve(core, CORE_POOL, pool_text, &pool, err) &&
           by_name(core, CORE_VOLUME, &pool, colon + 1, ret, err);
}

/* POOL:VOLUME@NAME or VOLUME-ID@NAME */
static bool snapshot_by_path(struct core *core, const char *reference, struct sluice_uuid *ret,
                             struct err *err) {
    char volume_text[600];
    const char *at = strrchr(reference, '@');
    if (at == NULL || (size_t)(at - reference) >= sizeof volume_text)
        return err_set(err, ERR_NOT_FOUND,
                       "there is no snapshot %s: name it by its id or as POOL:VOLUME@NAME",
                       reference);
    memcpy(volume_text, reference, (size_t)(at - reference));
    volume_text[at - reference] = '\0';
    struct sluice_uuid volume;
    return core_resolve(core, CORE_VOLUME, volume_text, &volume, err) &&
           by_name(core, CORE_SNAPSHOT, &volume, at + 1, ret, err);
}

bool core_resolve(struct core *core, enum core_noun noun, const char *reference,
                  struct sluice_uuid *ret, struct err *err) {
    if (uuid_parse(reference, ret))
        return true; /* whether it is there shows when it is read */
    switch (noun) {
    case CORE_POOL:
    case CORE_HOST:
    case CORE_TOKEN:
        return by_name(core, noun, NULL, reference, ret, err);
    case CORE_VOLUME:
        return volume_by_path(core, reference, ret, err);
    case CORE_SNAPSHOT:
        return snapshot_by_path(core, reference, ret, err);
    default:
        return not_found(noun, reference, err);
    }
}
