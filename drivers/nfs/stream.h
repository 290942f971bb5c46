/* SPDX-License-Identifier: Apache-2.0
 *
 * stream.h: the connections of an open volume, for data calls that do not wait.
 *
 * A piece is one READ, WRITE or COMMIT. Pieces wait in one queue, in the order in which they came;
 * each connection takes the next one while less than STREAM_WINDOW_BYTES and STREAM_WINDOW_CALLS
 * are under way on it. A connection that breaks, or says nothing for STREAM_REPLY_MS while
 * something is under way, is destroyed; what it had not answered goes back to its place in the
 * queue, and another connection is made, at once and then after ever longer pauses, for ever: the
 * clients of a volume notice the time only. Reading and writing the same bytes once more does no
 * harm. The pool tells (health.h) when the second attempt fails, too.
 *
 * Invariant: `done` is called exactly once a piece, with the stream's lock held; it must not call
 * into the stream. Life cycle: stream_open, stream_submit, stream_close when no piece is under way.
 * Threads: stream_submit from any; replies come on the thread that serves watches.
 */
#ifndef NFS_STREAM_H
#define NFS_STREAM_H

#include "file.h"

#define STREAM_LINES_MAX 8
#define STREAM_WINDOW_BYTES (8u << 20) /* more gains nothing where a MiB takes a millisecond */
#define STREAM_WINDOW_CALLS 64
#define STREAM_CONNECT_MS 3000
#define STREAM_REPLY_MS 8000

enum piece_kind { PIECE_READ, PIECE_WRITE, PIECE_COMMIT };

struct line;

struct piece {
    enum piece_kind kind;
    bool stable; /* WRITE: on stable storage before it is answered */
    struct nfs_file *file;
    uint64_t offset;
    uint32_t length;
    char *bytes;
    void *owner;
    /* The stream's own. */
    struct piece *next;
    struct line *line;
    uint64_t number;
    uint32_t done;
    uint64_t verifier;
};

/* `code`: 0, or of control.h; `verifier`: of WRITE and COMMIT. */
typedef void stream_done(struct piece *piece, int code, uint64_t verifier);

struct stream;

/* NULL: no memory or no descriptors. */
struct stream *stream_open(struct nfs_fs *fs, uint32_t lines, stream_done *done);
/* Accepts NULL. */
void stream_close(struct stream *stream);
/* Pieces linked by `next`. */
void stream_submit(struct stream *stream, struct piece *pieces);
#endif
