/* SPDX-License-Identifier: Apache-2.0
 *
 * The program, with its sandbox: all that it does it may do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "play.h"

static void test_program(void **state) {
    (void)state;
    static struct play play;
    char program[4096];
    const char *build = getenv("SLUICE_BUILD");
    if (build == NULL)
        skip();
    snprintf(program, sizeof program, "%s/bin/sluice-data", build);
    play_start_program(&play, program, 64 << 20, true);
    play_export(&play, NULL);
    play_run(&play, NULL);
    struct play_client client;
    client_connect(&play, &client, true);
    uint8_t *bytes = malloc(1 << 20);
    uint8_t *back = malloc(1 << 20);
    for (uint32_t i = 0; i < 80; i++) {
        memset(bytes, (int)i + 1, 1 << 20);
        assert_int_equal(client_do(&client, NBD_WRITE, 0, i % 60 << 20, 1 << 20, bytes), 0);
        if (i % 30 == 0) {
            play_kill(&play);
            play_run(&play, NULL);
        }
        assert_int_equal(client_do(&client, NBD_READ, 0, i % 60 << 20, 1 << 20, back), 0);
        assert_memory_equal(bytes, back, 1 << 20);
    }
    play_ping(&play);
    assert_true(play.pong_replayed > 0 && play.pong_connections == 1);
    client_close(&client);
    play_unexport(&play);
    play_stop(&play);
    free(bytes);
    free(back);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_program)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
