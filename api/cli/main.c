/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c: the command `sluice`.
 */
#include <curl/curl.h>

#include "cli/run.h"

int main(int argc, char **argv) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        fputs("sluice: libcurl does not start\n", stderr);
        return CLI_FAILED;
    }
    enum cli_exit number = cli_run(argc, argv, stdout, stderr);
    curl_global_cleanup();
    return (int)number;
}
