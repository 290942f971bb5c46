/* SPDX-License-Identifier: Apache-2.0
 *
 * nbd_request.c: see nbd_request.h.
 */
#include "data/nbd_request.h"

#include <stddef.h>

/* Each type: the flags it may have, the export's flag it needs, whether it changes anything, and
 * whether it names a range. */
static const struct rule {
    uint16_t type;
    uint16_t flags;
    uint16_t needs;
    bool changes;
    bool ranged;
} rules[] = {
    {NBD_READ, NBD_DF | NBD_FUA, 0, false, true},
    {NBD_WRITE, NBD_FUA, 0, true, true},
    {NBD_FLUSH, NBD_FUA, NBD_SEND_FLUSH, false, false},
    {NBD_TRIM, NBD_FUA, NBD_SEND_TRIM, true, true},
    {NBD_WRITE_ZEROES, NBD_FUA | NBD_NO_HOLE | NBD_FAST_ZERO, NBD_SEND_WRITE_ZEROES, true, true},
    {NBD_BLOCK_STATUS, NBD_REQ_ONE, 0, false, true},
};

bool nbd_request_parse(const uint8_t *bytes, struct nbd_request *ret) {
    if (nbd_load_32(bytes) != NBD_REQUEST_MAGIC)
        return false;
    ret->flags = nbd_load_16(bytes + 4);
    ret->type = nbd_load_16(bytes + 6);
    ret->cookie = nbd_load_64(bytes + 8);
    ret->offset = nbd_load_64(bytes + 16);
    ret->length = nbd_load_32(bytes + 24);
    return true;
}

uint32_t nbd_request_payload(const struct nbd_request *request) {
    return request->type == NBD_WRITE ? request->length : 0;
}

static uint32_t judge_range(const struct nbd_request *request, const struct nbd_terms *terms,
                            const struct rule *rule) {
    if (request->offset > terms->size_bytes ||
        request->length > terms->size_bytes - request->offset)
        return rule->changes ? NBD_ENOSPC : NBD_EINVAL;
    uint32_t unit = terms->export->block_min;
    if (request->offset % unit != 0 || request->length % unit != 0 || request->length == 0)
        return NBD_EINVAL;
    bool carries = request->type == NBD_READ || request->type == NBD_WRITE;
    if (carries && request->length > NBD_PAYLOAD_MAX)
        return NBD_EINVAL;
    if ((request->flags & NBD_DF) != 0 && request->type == NBD_READ &&
        request->length > NBD_UNFRAGMENTED_MAX)
        return NBD_EOVERFLOW;
    return 0;
}

static uint32_t judge_flags(const struct nbd_request *request, const struct nbd_terms *terms,
                            const struct rule *rule) {
    uint16_t can = terms->export->flags;
    uint16_t allowed = rule->flags;
    if ((can & NBD_SEND_FUA) == 0)
        allowed &= (uint16_t)~NBD_FUA;
    if ((can & NBD_SEND_FAST_ZERO) == 0)
        allowed &= (uint16_t)~NBD_FAST_ZERO;
    if ((can & NBD_SEND_DF) == 0 || !terms->structured)
        allowed &= (uint16_t)~NBD_DF;
    return (request->flags & ~allowed) != 0 ? NBD_EINVAL : 0;
}

uint32_t nbd_request_judge(const struct nbd_request *request, const struct nbd_terms *terms) {
    const struct rule *rule = NULL;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i].type == request->type)
            rule = &rules[i];
    if (rule == NULL)
        return NBD_EINVAL;
    if (rule->changes && (terms->export->flags & NBD_READ_ONLY) != 0)
        return NBD_EPERM;
    if ((terms->export->flags & rule->needs) != rule->needs)
        return NBD_EINVAL;
    if (request->type == NBD_BLOCK_STATUS && !terms->allocation)
        return NBD_EINVAL;
    uint32_t wrong = judge_flags(request, terms, rule);
    return wrong == 0 && rule->ranged ? judge_range(request, terms, rule) : wrong;
}
