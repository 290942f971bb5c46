/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c: sluice-conform, the conformance kit for storage drivers.
 */
#include "conform/run.h"

int main(int count, char **arguments) {
    struct options options;
    int status = options_parse(count, arguments, &options);
    return status >= 0 ? status : run_tests(&options);
}
