/* SPDX-License-Identifier: Apache-2.0
 *
 * manifest_fuzz.c: any bytes as driver.yaml and as a file of messages.
 * fuzz: lifecycle
 *
 * What is taken must hold what the headers promise: limits, and defaults that their own descriptors
 * take, so that an empty bag violates nothing but what is required. What is refused has a reason.
 * With the first byte odd, the good head of a driver.yaml comes first, so that the fuzzer gets
 * through to the parts behind it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"
#include "lifecycle/bag.h"
#include "lifecycle/manifest.h"
#include "lifecycle/messages.h"
#include "lifecycle/sandbox.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char head[] =
    "schema: 1\nname: test\nversion: 1.2.3\ncategory: storage\nabi: \"0.1\"\n"
    "vendor: V\nlicense: L\nlibrary: x.so\nlabel: l\ndescription: d\n";

static void check_bag(const struct descriptors *descriptors, const struct manifest *manifest,
                      struct arena *arena) {
    const struct text_pairs nothing = {0};
    struct bag bag;
    struct bag_violations violations;
    struct err err = ERR_INIT;
    CHECK(descriptors->count <= DESCRIPTORS_MAX);
    if (bag_validate_pairs(descriptors, &nothing, arena, &bag, &violations, &err)) {
        struct text_list paths;
        struct err refused = ERR_INIT;
        if (!sandbox_paths(manifest, &bag, arena, &paths, &refused))
            CHECK(refused.text[0] != '\0');
    } else if (err.code == ERR_VALIDATION) {
        for (uint32_t i = 0; i < violations.count; i++)
            CHECK(strcmp(violations.at[i].text, "is required") == 0);
    }
    struct buf buf;
    buf_init(&buf, BAG_RENDER_MAX * 8);
    bag_render_json(descriptors, NULL, &buf);
    CHECK(!buf.overflow && text_is_utf8((const char *)buf.at, buf.length));
    buf_release(&buf);
}

static void check_manifest(const struct manifest *manifest, struct arena *arena) {
    CHECK(strlen(manifest->name) > 0 && strlen(manifest->name) <= MANIFEST_NAME_MAX);
    CHECK(strlen(manifest->version_text) <= VERSION_TEXT_MAX);
    CHECK(strchr(manifest->library, '/') == NULL);
    CHECK(manifest->path_count <= MANIFEST_PATHS_MAX);
    CHECK(manifest->reads.count > 0 && manifest->writes.count > 0);
    char text[VERSION_TEXT_MAX + 1];
    CHECK(strcmp(version_format(&manifest->version, text), manifest->version_text) == 0);
    check_bag(&manifest->properties, manifest, arena);
    check_bag(&manifest->settings, manifest, arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size == 0)
        return 0;
    size_t before = (bytes[0] & 1) != 0 ? sizeof head - 1 : 0;
    size_t length = before + size - 1;
    char *text = malloc(length + 1);
    CHECK(text != NULL);
    memcpy(text, head, before);
    memcpy(text + before, bytes + 1, size - 1);

    struct arena arena;
    struct manifest manifest;
    struct messages messages;
    struct err err = ERR_INIT;
    arena_init(&arena, MANIFEST_ARENA_MAX * 2);
    if (manifest_parse(text, length, "f", &arena, &manifest, &err))
        check_manifest(&manifest, &arena);
    else
        CHECK(err.code == ERR_MANIFEST && text_is_utf8(err.text, strlen(err.text)));
    err = ERR_INIT;
    arena_reset(&arena);
    if (messages_parse(text, length, "f", &arena, &messages, &err))
        CHECK(messages.texts.count <= MESSAGES_MAX);
    else
        CHECK(err.code == ERR_MANIFEST && text_is_utf8(err.text, strlen(err.text)));
    arena_release(&arena);
    free(text);
    return 0;
}
