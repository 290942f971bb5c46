/* SPDX-License-Identifier: Apache-2.0
 *
 * proxy.h: a TCP proxy of 127.0.0.1 that spoils the way back from a server.
 *
 * Each connection is passed on by two threads. What the server says goes through until a spoiler
 * has its turn: then the connection is cut in the middle of a reply, or nothing comes back any
 * more. Life cycle: proxy_start, proxy_stop. Threads: any may call proxy_spoil.
 */
#ifndef TESTS_PROXY_H
#define TESTS_PROXY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

enum proxy_spoiler {
    PROXY_PASS,
    PROXY_CUT,  /* once: after `bytes` more of the server's the connection ends */
    PROXY_HANG, /* until PASS: what the server says is swallowed */
};

struct proxy {
    uint16_t port; /* its own */
    uint16_t server_port;
    int listener;
    pthread_t thread;
    _Atomic int spoiler;
    _Atomic int64_t bytes;
    _Atomic uint32_t cuts; /* how often it has happened */
    _Atomic uint32_t connections;
    _Atomic uint32_t living; /* threads that pass on */
};

void proxy_start(struct proxy *proxy, uint16_t server_port);
void proxy_spoil(struct proxy *proxy, enum proxy_spoiler spoiler, int64_t bytes);
void proxy_stop(struct proxy *proxy);

#endif
