/* SPDX-License-Identifier: Apache-2.0
 *
 * nbd_handshake.h: the server's half of the fixed newstyle handshake, over buffers: no sockets.
 *
 * nbd_handshake_start writes the greeting. nbd_handshake_feed takes what the client said and writes
 * what is to be answered; it may take less than it was given and wants the rest again together with
 * more. NBD_STEP_TRANSMIT: the handshake is over, what was not taken are requests. NBD_STEP_END:
 * what was written is to be sent, then the connection closed.
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

enum nbd_step { NBD_STEP_MORE, NBD_STEP_TRANSMIT, NBD_STEP_END };

enum nbd_handshake_state { NBD_AT_FLAGS, NBD_AT_OPTION, NBD_AT_BODY, NBD_AT_SKIP, NBD_AT_END };

struct nbd_handshake {
    const struct nbd_export *export;
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
/* Returns how many bytes were taken; handshake->step says how it goes on. */
size_t nbd_handshake_feed(struct nbd_handshake *handshake, const uint8_t *bytes, size_t length,
                          struct buf *out);

#endif
