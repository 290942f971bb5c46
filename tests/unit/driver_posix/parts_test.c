/* SPDX-License-Identifier: Apache-2.0
 *
 * parts_test.c: the small parts of the posix driver: access lists.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "acl.h"

/* What `setfacl -m u:1001:rw,u:70000:r` on a file of mode 0600 gives, as getfattr shows it. */
static void encodes_access_lists_as_the_kernel_does(void **state) {
    (void)state;
    static const uint8_t expected[] = {
        2,    0, 0, 0,                         /* version */
        0x01, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, /* owner rw- */
        0x02, 0, 6, 0, 0xe9, 0x03, 0x00, 0x00, /* user 1001 rw- */
        0x02, 0, 4, 0, 0x70, 0x11, 0x01, 0x00, /* user 70000 r-- */
        0x04, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, /* owning group --- */
        0x10, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, /* mask rw- */
        0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, /* others --- */
    };
    const struct acl_user users[] = {{1001, ACL_READ | ACL_WRITE}, {70000, ACL_READ}};
    uint8_t bytes[ACL_BYTES(2)];
    assert_int_equal(acl_encode(ACL_READ | ACL_WRITE, users, 2, bytes), sizeof expected);
    assert_memory_equal(bytes, expected, sizeof expected);
    assert_int_equal(acl_encode(7, NULL, 0, bytes), 4 + 3 * 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes_access_lists_as_the_kernel_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
