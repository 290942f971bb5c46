/* SPDX-License-Identifier: Apache-2.0
 *
 * words.c: a signal handler that only formats by hand and writes.
 */
#include "runner/words.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner/build.h"

#define LINE_SIZE 256
#define STACK_SIZE                                                                 \
    32768 /* the handler needs little, the kernel's frame with AVX-512 about 3 KiB \
           */

static _Thread_local const char *call_name;
static _Thread_local uint64_t call_id;
static _Thread_local void *handler_stack;

static const struct {
    int number;
    const char *name;
} fatal[] = {
    {SIGSEGV, "SIGSEGV"}, {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},
    {SIGILL, "SIGILL"},   {SIGFPE, "SIGFPE"},   {SIGSYS, "SIGSYS"},
};
#define FATAL_COUNT (sizeof fatal / sizeof fatal[0])

struct line {
    char at[LINE_SIZE];
    size_t length;
};

static void add_text(struct line *line, const char *text) {
    for (size_t i = 0; text[i] != '\0' && line->length < LINE_SIZE; i++)
        line->at[line->length++] = text[i];
}

static void add_hex(struct line *line, uint64_t value) {
    char digits[19] = "0x";
    size_t count = 2;
    int shift = 60;
    while (shift > 0 && value >> shift == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        digits[count++] = "0123456789abcdef"[(value >> shift) & 15];
    digits[count] = '\0';
    add_text(line, digits);
}

static void on_fatal(int signal, siginfo_t *origin, void *unused) {
    (void)unused;
    struct line line = {.length = 0};
    add_text(&line, "sluice-runner: ended by ");
    const char *name = "a signal";
    for (size_t i = 0; i < FATAL_COUNT; i++)
        if (fatal[i].number == signal)
            name = fatal[i].name;
    add_text(&line, name);
    if (signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE) {
        add_text(&line, " at address ");
        add_hex(&line, (uint64_t)(uintptr_t)origin->si_addr);
    }
    if (call_name != NULL) {
        add_text(&line, " in call ");
        add_text(&line, call_name);
        add_text(&line, " ");
        add_hex(&line, call_id);
    } else {
        add_text(&line, " in no call");
    }
    add_text(&line, "\n");
    ssize_t written = write(STDERR_FILENO, line.at, line.length);
    (void)written;
    /* SA_RESETHAND has put the default back: this one, delivered when we return, ends us. */
    raise(signal);
}

void words_start(void) {
    if (BUILD_SANITIZED)
        return;
    words_enter_thread();
    struct sigaction action = {.sa_sigaction = on_fatal,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < FATAL_COUNT; i++)
        sigaction(fatal[i].number, &action, NULL);
}

void words_enter_thread(void) {
    if (BUILD_SANITIZED || handler_stack != NULL)
        return;
    handler_stack = malloc(STACK_SIZE);
    if (handler_stack == NULL)
        return; /* then a used-up stack ends us without a word */
    stack_t stack = {.ss_sp = handler_stack, .ss_size = STACK_SIZE};
    sigaltstack(&stack, NULL);
}

void words_leave_thread(void) {
    if (handler_stack == NULL)
        return;
    stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL);
    free(handler_stack);
    handler_stack = NULL;
}

void words_set_call(const char *name, uint64_t id) {
    call_name = name;
    call_id = id;
}

void words_say(const char *format, ...) {
    char text[2 * LINE_SIZE];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text - 1, format, args);
    va_end(args);
    if (length < 0)
        return;
    size_t end = strnlen(text, sizeof text - 1);
    text[end++] = '\n';
    ssize_t written = write(STDERR_FILENO, text, end);
    (void)written;
}
