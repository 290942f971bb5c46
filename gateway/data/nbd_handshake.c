/* SPDX-License-Identifier: Apache-2.0
 *
 * nbd_handshake.c: see nbd_handshake.h.
 */
#include "data/nbd_handshake.h"

#include <string.h>

#include "base/check.h"

#define OPTION_HEADER 16
#define FLAGS_SIZE 4
#define ZEROES 124
#define ALLOCATION "base:allocation"

/* A reader of an option's data: big-endian, and bad once it was asked for more than there is. */
struct body {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static const uint8_t *take(struct body *body, size_t length) {
    if (body->bad || body->left < length) {
        body->bad = true;
        return NULL;
    }
    const uint8_t *at = body->at;
    body->at += length;
    body->left -= length;
    return at;
}

static uint32_t take_32(struct body *body) {
    const uint8_t *at = take(body, 4);
    return at != NULL ? nbd_load_32(at) : 0;
}

static uint16_t take_16(struct body *body) {
    const uint8_t *at = take(body, 2);
    return at != NULL ? nbd_load_16(at) : 0;
}

static void put_16(struct buf *out, uint16_t value) {
    uint8_t bytes[2];
    nbd_store_16(bytes, value);
    buf_put(out, bytes, sizeof bytes);
}

static void put_32(struct buf *out, uint32_t value) {
    uint8_t bytes[4];
    nbd_store_32(bytes, value);
    buf_put(out, bytes, sizeof bytes);
}

static void put_64(struct buf *out, uint64_t value) {
    uint8_t bytes[8];
    nbd_store_64(bytes, value);
    buf_put(out, bytes, sizeof bytes);
}

static void reply(const struct nbd_handshake *handshake, uint32_t type, uint32_t length,
                  struct buf *out) {
    put_64(out, NBD_OPTION_REPLY_MAGIC);
    put_32(out, handshake->option);
    put_32(out, type);
    put_32(out, length);
}

static void refuse(const struct nbd_handshake *handshake, uint32_t type, const char *text,
                   struct buf *out) {
    reply(handshake, type, (uint32_t)strlen(text), out);
    buf_put(out, text, strlen(text));
}

static void greet(struct buf *out) {
    put_64(out, NBD_INIT_MAGIC);
    put_64(out, NBD_OPTION_MAGIC);
    put_16(out, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
}

void nbd_handshake_start(struct nbd_handshake *handshake, const struct nbd_export *export,
                         struct buf *out) {
    *handshake = (struct nbd_handshake){.export = export};
    greet(out);
}

void nbd_handshake_start_tls(struct nbd_handshake *handshake, nbd_find_fn *find, void *owner,
                             struct buf *out) {
    *handshake = (struct nbd_handshake){.security = NBD_TLS_REQUIRED, .find = find, .owner = owner};
    greet(out);
}

void nbd_handshake_secured(struct nbd_handshake *handshake) {
    CHECK(handshake->step == NBD_STEP_TLS);
    handshake->security = NBD_TLS_ON;
    handshake->state = NBD_AT_OPTION;
    handshake->step = NBD_STEP_MORE;
}

static void end(struct nbd_handshake *handshake) {
    handshake->state = NBD_AT_END;
    handshake->step = NBD_STEP_END;
}

static void transmit(struct nbd_handshake *handshake) {
    handshake->state = NBD_AT_END;
    handshake->step = NBD_STEP_TRANSMIT;
}

/* false: there is none of that name for this client. */
static bool find_export(struct nbd_handshake *handshake, const uint8_t *name, size_t length) {
    if (handshake->security == NBD_TLS_ON) {
        handshake->export = handshake->find(handshake->owner, (const char *)name, length);
        return handshake->export != NULL;
    }
    const char *ours = handshake->export->name;
    return length == 0 || (length == strlen(ours) && memcmp(name, ours, length) == 0);
}

/* Both answers are one: who may not open an export does not learn whether it is there. */
static void refuse_name(const struct nbd_handshake *handshake, struct buf *out) {
    refuse(handshake, NBD_REP_ERR_UNKNOWN, "no such export for this client", out);
}

/* A context was chosen for one export, and counts for that one alone. */
static void settle_contexts(struct nbd_handshake *handshake) {
    if (handshake->allocation_of != handshake->export)
        handshake->allocation = false;
}

/* ---- the options ---------------------------------------------------------------------------- */

static void on_export_name(struct nbd_handshake *handshake, struct body *body, struct buf *out) {
    /* This option has no way to be refused but the end. */
    if (!find_export(handshake, body->at, body->left)) {
        end(handshake);
        return;
    }
    settle_contexts(handshake);
    static const uint8_t zeroes[ZEROES];
    put_64(out, handshake->export->size_bytes);
    put_16(out, handshake->export->flags);
    if (!handshake->no_zeroes)
        buf_put(out, zeroes, sizeof zeroes);
    transmit(handshake);
}

static void on_list(struct nbd_handshake *handshake, struct body *body, struct buf *out) {
    if (body->left != 0) {
        refuse(handshake, NBD_REP_ERR_INVALID, "LIST has no data", out);
        return;
    }
    if (handshake->security == NBD_TLS_ON) {
        refuse(handshake, NBD_REP_ERR_POLICY, "nothing is listed: ask for an attachment's id", out);
        return;
    }
    const char *name = handshake->export->name;
    uint32_t length = (uint32_t)strlen(name);
    reply(handshake, NBD_REP_SERVER, 4 + length, out);
    put_32(out, length);
    buf_put(out, name, length);
    reply(handshake, NBD_REP_ACK, 0, out);
}

static void on_go(struct nbd_handshake *handshake, struct body *body, struct buf *out) {
    uint32_t length = take_32(body);
    const uint8_t *name = take(body, length);
    uint16_t count = take_16(body);
    bool wants_name = false;
    for (uint16_t i = 0; i < count && !body->bad; i++)
        wants_name = take_16(body) == NBD_INFO_NAME || wants_name;
    if (body->bad || body->left != 0) {
        refuse(handshake, NBD_REP_ERR_INVALID, "the option is malformed", out);
        return;
    }
    if (!find_export(handshake, name, length)) {
        refuse_name(handshake, out);
        return;
    }
    const struct nbd_export *export = handshake->export;
    reply(handshake, NBD_REP_INFO, 12, out);
    put_16(out, NBD_INFO_EXPORT);
    put_64(out, export->size_bytes);
    put_16(out, export->flags);
    if (wants_name) {
        if (length == 0) {
            name = (const uint8_t *)export->name;
            length = (uint32_t)strlen(export->name);
        }
        reply(handshake, NBD_REP_INFO, 2 + length, out);
        put_16(out, NBD_INFO_NAME);
        buf_put(out, name, length);
    }
    reply(handshake, NBD_REP_INFO, 14, out);
    put_16(out, NBD_INFO_BLOCK_SIZE);
    put_32(out, export->block_min);
    put_32(out, export->block_preferred);
    put_32(out, export->block_max);
    reply(handshake, NBD_REP_ACK, 0, out);
    if (handshake->option == NBD_OPT_GO) {
        settle_contexts(handshake);
        transmit(handshake);
    }
}

static void on_structured(struct nbd_handshake *handshake, struct body *body, struct buf *out) {
    if (body->left != 0) {
        refuse(handshake, NBD_REP_ERR_INVALID, "STRUCTURED_REPLY has no data", out);
        return;
    }
    handshake->structured = true;
    reply(handshake, NBD_REP_ACK, 0, out);
}

static bool names_allocation(const uint8_t *query, uint32_t length, bool lists) {
    if (length == strlen(ALLOCATION) && memcmp(query, ALLOCATION, length) == 0)
        return true;
    return lists && length == 5 && memcmp(query, "base:", 5) == 0;
}

static void on_meta_context(struct nbd_handshake *handshake, struct body *body, struct buf *out) {
    bool lists = handshake->option == NBD_OPT_LIST_META_CONTEXT;
    uint32_t length = take_32(body);
    const uint8_t *name = take(body, length);
    uint32_t count = take_32(body);
    bool found = lists && count == 0;
    for (uint32_t i = 0; i < count && !body->bad; i++) {
        uint32_t query_length = take_32(body);
        const uint8_t *query = take(body, query_length);
        if (query != NULL && names_allocation(query, query_length, lists))
            found = true;
    }
    if (!lists)
        handshake->allocation = false; /* the last choice counts, also when it is refused */
    if (body->bad || body->left != 0 || (!lists && !handshake->structured)) {
        refuse(handshake, NBD_REP_ERR_INVALID, "malformed, or before STRUCTURED_REPLY", out);
        return;
    }
    if (!find_export(handshake, name, length)) {
        refuse_name(handshake, out);
        return;
    }
    if (found) {
        reply(handshake, NBD_REP_META_CONTEXT, 4 + (uint32_t)strlen(ALLOCATION), out);
        put_32(out, lists ? 0 : NBD_META_ALLOCATION);
        buf_put(out, ALLOCATION, strlen(ALLOCATION));
        if (!lists) {
            handshake->allocation = true;
            handshake->allocation_of = handshake->export;
        }
    }
    reply(handshake, NBD_REP_ACK, 0, out);
}

static void on_starttls(struct nbd_handshake *handshake, struct body *body, struct buf *out) {
    if (handshake->security == NBD_PLAIN) {
        refuse(handshake, NBD_REP_ERR_POLICY, "a Unix socket carries no TLS", out);
    } else if (handshake->security == NBD_TLS_ON || body->left != 0) {
        refuse(handshake, NBD_REP_ERR_INVALID, "STARTTLS has no data, and comes once", out);
    } else {
        reply(handshake, NBD_REP_ACK, 0, out);
        handshake->state = NBD_AT_TLS;
        handshake->step = NBD_STEP_TLS;
    }
}

/* true: answered, since without TLS there is nothing else to be had. */
static bool wants_tls_first(struct nbd_handshake *handshake, struct buf *out) {
    if (handshake->security != NBD_TLS_REQUIRED || handshake->option == NBD_OPT_STARTTLS ||
        handshake->option == NBD_OPT_ABORT)
        return false;
    if (handshake->option == NBD_OPT_EXPORT_NAME)
        end(handshake);
    else
        refuse(handshake, NBD_REP_ERR_TLS_REQD, "use TLS, with the host's certificate", out);
    return true;
}

static void on_option(struct nbd_handshake *handshake, struct body *body, struct buf *out) {
    if (wants_tls_first(handshake, out))
        return;
    switch (handshake->option) {
    case NBD_OPT_EXPORT_NAME:
        on_export_name(handshake, body, out);
        break;
    case NBD_OPT_ABORT:
        reply(handshake, NBD_REP_ACK, 0, out);
        end(handshake);
        break;
    case NBD_OPT_LIST:
        on_list(handshake, body, out);
        break;
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        on_go(handshake, body, out);
        break;
    case NBD_OPT_STRUCTURED_REPLY:
        on_structured(handshake, body, out);
        break;
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        on_meta_context(handshake, body, out);
        break;
    case NBD_OPT_STARTTLS:
        on_starttls(handshake, body, out);
        break;
    default:
        refuse(handshake, NBD_REP_ERR_UNSUP, "unknown option", out);
        break;
    }
}

/* ---- the states ----------------------------------------------------------------------------- */

/* Each returns the bytes it took; 0: it wants more. */
static size_t at_flags(struct nbd_handshake *handshake, const uint8_t *bytes, size_t length) {
    if (length < FLAGS_SIZE)
        return 0;
    uint32_t flags = nbd_load_32(bytes);
    if ((flags & ~(uint32_t)(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES)) != 0) {
        end(handshake);
        return FLAGS_SIZE;
    }
    handshake->no_zeroes = (flags & NBD_NO_ZEROES) != 0;
    handshake->state = NBD_AT_OPTION;
    return FLAGS_SIZE;
}

static size_t at_option(struct nbd_handshake *handshake, const uint8_t *bytes, size_t length,
                        struct buf *out) {
    if (length < OPTION_HEADER)
        return 0;
    handshake->option = nbd_load_32(bytes + 8);
    handshake->length = nbd_load_32(bytes + 12);
    if (nbd_load_64(bytes) != NBD_OPTION_MAGIC || ++handshake->options > NBD_OPTIONS_MAX) {
        end(handshake);
    } else if (handshake->length <= NBD_OPTION_MAX) {
        handshake->state = NBD_AT_BODY;
    } else if (handshake->option == NBD_OPT_EXPORT_NAME) {
        end(handshake);
    } else {
        refuse(handshake, NBD_REP_ERR_TOO_BIG, "the option is too long", out);
        handshake->state = NBD_AT_SKIP;
    }
    return OPTION_HEADER;
}

static size_t at_skip(struct nbd_handshake *handshake, size_t length) {
    size_t taken = length < handshake->length ? length : handshake->length;
    handshake->length -= (uint32_t)taken;
    if (handshake->length == 0)
        handshake->state = NBD_AT_OPTION;
    return taken;
}

size_t nbd_handshake_feed(struct nbd_handshake *handshake, const uint8_t *bytes, size_t length,
                          struct buf *out) {
    size_t taken = 0;
    while (handshake->state != NBD_AT_END && handshake->state != NBD_AT_TLS && !out->overflow) {
        const uint8_t *at = bytes + taken;
        size_t left = length - taken;
        size_t step = 0;
        switch (handshake->state) {
        case NBD_AT_FLAGS:
            step = at_flags(handshake, at, left);
            break;
        case NBD_AT_OPTION:
            step = at_option(handshake, at, left, out);
            break;
        case NBD_AT_BODY:
            if (left < handshake->length)
                return taken;
            handshake->state = NBD_AT_OPTION;
            on_option(handshake, &(struct body){.at = at, .left = handshake->length}, out);
            taken += handshake->length;
            continue;
        case NBD_AT_SKIP:
            step = at_skip(handshake, left);
            break;
        case NBD_AT_TLS:
        case NBD_AT_END:
            break;
        }
        if (step == 0)
            break;
        taken += step;
    }
    if (out->overflow)
        end(handshake);
    return taken;
}
