/* SPDX-License-Identifier: Apache-2.0
 *
 * nbd_handshake.h: the server's half of the fixed newstyle handshake, over buffers: no sockets.
 *
 * nbd_handshake_start writes the greeting. nbd_handshake_feed takes what the client said and writes
 * what is to be answered; it may take less than it was given and wants the rest again together with
 * more. NBD_STEP_TRANSMIT: the handshake is over, what was not taken are requests. NBD_STEP_END:
 * what was written is to be sent, then the connection closed.
 *
 * Started by nbd_handshake_start_tls nothing is answered but STARTTLS (and ABORT) until the client
 * has asked for TLS. Then NBD_STEP_TLS: what was written is to be sent, TLS to be begun (bytes that
 * came behind the request are none of its client's, and end it), and nbd_handshake_secured called;
 * from then on the bytes are those inside of TLS. Which exports there are for this client is asked
 * of the caller by name, each time anew. One that is not there and one that is not for this client
 * are answered alike, nothing is listed, and there is no export without a name.
 *
 * Limits: an option's data is at most NBD_OPTION_MAX bytes (longer: refused and skipped),
 * NBD_OPTIONS_MAX options are answered, and what is not yet sent fits the caller's buf (an overflow
 * ends the connection). Any bytes are survived; a client that breaks the framing is ended.
 */
#ifndef SLUICE_DATA_NBD_HANDSHAKE_H
#define SLUICE_DATA_NBD_HANDSHAKE_H

#include <stddef.h>

#include "base/buf.h"
#include "data/nbd.h"

#define NBD_OPTION_MAX 4096 /* a name, and more contexts than anybody asks for */
#define NBD_OPTIONS_MAX 64  /* clients use less than ten */
#define NBD_ANSWERS_MAX 16384

enum nbd_step { NBD_STEP_MORE, NBD_STEP_TLS, NBD_STEP_TRANSMIT, NBD_STEP_END };

enum nbd_handshake_state {
    NBD_AT_FLAGS,
    NBD_AT_OPTION,
    NBD_AT_BODY,
    NBD_AT_SKIP,
    NBD_AT_TLS,
    NBD_AT_END
};

enum nbd_security { NBD_PLAIN, NBD_TLS_REQUIRED, NBD_TLS_ON };

/* The export of that name which this client may open, or NULL. */
typedef const struct nbd_export *nbd_find_fn(void *owner, const char *name, size_t length);

struct nbd_handshake {
    const struct nbd_export *export; /* over TLS: that was found last */
    const struct nbd_export *allocation_of;
    nbd_find_fn *find;
    void *owner;
    enum nbd_security security;
    enum nbd_handshake_state state;
    enum nbd_step step;
    bool no_zeroes;
    bool structured;
    bool allocation; /* base:allocation was chosen */
    uint32_t option;
    uint32_t length; /* of its data; in NBD_AT_SKIP what is left of it */
    uint32_t options;
};

void nbd_handshake_start(struct nbd_handshake *handshake, const struct nbd_export *export,
                         struct buf *out);
void nbd_handshake_start_tls(struct nbd_handshake *handshake, nbd_find_fn *find, void *owner,
                             struct buf *out);
void nbd_handshake_secured(struct nbd_handshake *handshake);
/* Returns how many bytes were taken; handshake->step says how it goes on. */
size_t nbd_handshake_feed(struct nbd_handshake *handshake, const uint8_t *bytes, size_t length,
                          struct buf *out);

#endif
