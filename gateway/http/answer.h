/* SPDX-License-Identifier: Apache-2.0
 *
 * answer.h: what goes back.
 *
 * An endpoint writes the body into request->answer.body and names the status; or tells an error,
 * which becomes problem details (RFC 9457). answer_queue hands it to libmicrohttpd, which sends the
 * body from where it is: the request keeps it until the end.
 */
#ifndef SLUICE_HTTP_ANSWER_H
#define SLUICE_HTTP_ANSWER_H

#include <microhttpd.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/uuid.h"
#include "http/decode.h"

#define ANSWER_LOCATION_MAX                                                                  \
    128                     /* /v1/attachments/ and an id; or three bytes for each of a name \
                             */
#define ANSWER_RAW_MAX 2048 /* head and problem, whose text has at most ERR_TEXT_MAX bytes */

enum answer_type { ANSWER_EMPTY, ANSWER_JSON, ANSWER_PROBLEM, ANSWER_TEXT, ANSWER_METRICS };

struct answer {
    unsigned status; /* 0: there is none yet */
    enum answer_type type;
    struct buf body;
    uint64_t etag; /* 0: none */
    char location[ANSWER_LOCATION_MAX];
    char operation[UUID_TEXT_SIZE];
    const char *allow; /* NULL: none */
    bool authenticate; /* say how */
    bool close;        /* the connection ends with this answer */
};

struct request;

void answer_clear(struct answer *answer);
/* Status and type; the body is there or is written afterwards, before the answer is queued. */
void answer_set(struct request *request, unsigned status, enum answer_type type);
/* The problem replaces what there was, but for operation, allow and close. NULL: no violations. */
void answer_problem(struct request *request, const struct err *err,
                    const struct violations *violations);
/* false: it could not be queued; the connection must be closed. */
bool answer_queue(struct request *request);
/* For those whose request is not taken any more: straight to the socket, if there is room. */
void answer_raw(int fd, const struct err *err);
/* The headers that every answer has. */
bool answer_add_common(struct MHD_Response *response);

/* Appends one. */
void answer_problem_json(struct buf *buf, const struct err *err, const char *operation,
                         const struct violations *violations);

#endif
