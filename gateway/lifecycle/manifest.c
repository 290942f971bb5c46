/* SPDX-License-Identifier: Apache-2.0
 *
 * manifest.c: driver.yaml, key by key. Tables say what may be there; what concerns several keys at
 * once is judged when all are read.
 */
#include "lifecycle/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "lifecycle/archive.h"
#include "lifecycle/properties.h"
#include "lifecycle/sandbox.h"
#include <sluice/driver.h>

static const struct {
    enum sluice_category category;
    const char *name;
} categories[] = {
    {SLUICE_CATEGORY_NETWORK, "network"},
    {SLUICE_CATEGORY_STORAGE, "storage"},
    {SLUICE_CATEGORY_HYPERVISOR, "hypervisor"},
};

#define CATEGORIES (sizeof categories / sizeof categories[0])
#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

const char *category_name(enum sluice_category category) {
    for (size_t i = 0; i < CATEGORIES; i++)
        if (categories[i].category == category)
            return categories[i].name;
    return "unknown";
}

bool category_parse(const char *name, enum sluice_category *ret) {
    for (size_t i = 0; i < CATEGORIES; i++)
        if (strcmp(categories[i].name, name) == 0) {
            *ret = categories[i].category;
            return true;
        }
    return false;
}

/* ---- single values -------------------------------------------------------------------------- */

static bool read_schema(const struct reading *reading, const struct node *node,
                        const struct field *field, void *into) {
    (void)into;
    if (!field_scalar(reading, node, field->name))
        return false;
    if (strcmp(node->text, "1") != 0)
        return node_wrong(node, reading->file, reading->err,
                          "schema must be %d; this gateway knows no other", MANIFEST_SCHEMA);
    return true;
}

static bool read_name(const struct reading *reading, const struct node *node,
                      const struct field *field, void *into) {
    if (!field_text(reading, node, field, into))
        return false;
    if (!text_is_word(node->text, MANIFEST_NAME_MAX, '-'))
        return node_wrong(node, reading->file, reading->err,
                          "a driver's name is a lower-case letter and then lower-case letters, "
                          "digits and '-', at most %d",
                          MANIFEST_NAME_MAX);
    return true;
}

static bool read_version(const struct reading *reading, const struct node *node,
                         const struct field *field, void *into) {
    struct manifest *manifest = into;
    if (!field_text(reading, node, field, &manifest->version_text))
        return false;
    struct err wrong = ERR_INIT;
    if (!version_parse(node->text, &manifest->version, &wrong))
        return node_wrong(node, reading->file, reading->err, "version: %s", wrong.text);
    return true;
}

static bool read_category(const struct reading *reading, const struct node *node,
                          const struct field *field, void *into) {
    if (!field_scalar(reading, node, field->name))
        return false;
    if (!category_parse(node->text, into))
        return node_wrong(node, reading->file, reading->err,
                          "category must be network, storage or hypervisor");
    return true;
}

static bool read_abi(const struct reading *reading, const struct node *node,
                     const struct field *field, void *into) {
    if (!field_scalar(reading, node, field->name))
        return false;
    char major[8];
    uint64_t high = 0, low = 0;
    size_t length = strcspn(node->text, ".");
    bool good = length < sizeof major && node->text[length] == '.';
    if (good) {
        memcpy(major, node->text, length);
        major[length] = '\0';
        good = num_parse_u64(major, &high) && num_parse_u64(node->text + length + 1, &low) &&
               high <= UINT16_MAX && low <= UINT16_MAX;
    }
    if (!good)
        return node_wrong(node, reading->file, reading->err,
                          "abi must be two numbers in quotes, such as \"%d.%d\"", SLUICE_ABI_MAJOR,
                          SLUICE_ABI_MINOR);
    *(uint32_t *)into = (uint32_t)(high << 16 | low);
    return true;
}

static bool read_library(const struct reading *reading, const struct node *node,
                         const struct field *field, void *into) {
    if (!field_text(reading, node, field, into))
        return false;
    if (!text_is_name(node->text, field->high) || node->text[0] == '.')
        return node_wrong(node, reading->file, reading->err,
                          "library must be the name of a file in driver/, without '/' and without "
                          "a dot in front");
    return true;
}

/* ---- requires, formats ---------------------------------------------------------------------- */

static bool read_range(const struct reading *reading, const struct node *node,
                       const struct field *field, void *into) {
    struct manifest_requirement *requirement = into;
    if (!field_text(reading, node, field, &requirement->range_text))
        return false;
    struct err wrong = ERR_INIT;
    if (!version_range_parse(node->text, &requirement->range, &wrong))
        return node_wrong(node, reading->file, reading->err, "version: %s", wrong.text);
    return true;
}

static const struct field requirement_fields[] = {
    {"name", true, read_name, offsetof(struct manifest_requirement, name), 1, MANIFEST_TEXT_MAX},
    {"version", true, read_range, 0, 1, VERSION_RANGE_TEXT_MAX},
};

static bool read_requirement(const struct reading *reading, const struct node *node,
                             const struct field *field, void *into) {
    (void)field;
    return fields_read(reading, node, "a requirement", requirement_fields,
                       COUNT(requirement_fields), into);
}

static bool read_requires(const struct reading *reading, const struct node *node,
                          const struct field *field, void *into) {
    struct manifest *manifest = into;
    void *at;
    if (!fields_list(reading, node, field, MANIFEST_REQUIRES_MAX,
                     sizeof(struct manifest_requirement), read_requirement, &at,
                     &manifest->require_count))
        return false;
    manifest->requires = at;
    uint32_t i = 0;
    for (const struct node *child = node->first; child != NULL; child = child->next, i++)
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(manifest->requires[i].name, manifest->requires[j].name) == 0)
                return node_wrong(child, reading->file, reading->err,
                                  "\"%s\" is required already; put both ranges into one",
                                  manifest->requires[i].name);
    return true;
}

static int ascending(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static bool read_numbers(const struct reading *reading, const struct node *node,
                         const struct field *field, void *into) {
    struct manifest_formats *formats = into;
    void *at;
    if (!fields_list(reading, node, field, MANIFEST_FORMATS_MAX, sizeof(uint32_t), field_u32, &at,
                     &formats->count))
        return false;
    if (formats->count == 0)
        return node_wrong(node, reading->file, reading->err,
                          "%s is empty; a driver without state of its own says [1]", field->name);
    memcpy(formats->at, at, formats->count * sizeof(uint32_t));
    qsort(formats->at, formats->count, sizeof(uint32_t), ascending);
    for (uint32_t i = 1; i < formats->count; i++)
        if (formats->at[i] == formats->at[i - 1])
            return node_wrong(node, reading->file, reading->err, "%s names %u twice", field->name,
                              formats->at[i]);
    return true;
}

static const struct field format_fields[] = {
    {"reads", true, read_numbers, offsetof(struct manifest, reads), 1, UINT32_MAX},
    {"writes", true, read_numbers, offsetof(struct manifest, writes), 1, UINT32_MAX},
};

static bool reads_format(const struct manifest *manifest, uint32_t format) {
    for (uint32_t i = 0; i < manifest->reads.count; i++)
        if (manifest->reads.at[i] == format)
            return true;
    return false;
}

static bool read_formats(const struct reading *reading, const struct node *node,
                         const struct field *field, void *into) {
    (void)field;
    struct manifest *manifest = into;
    if (!fields_read(reading, node, "formats", format_fields, COUNT(format_fields), into))
        return false;
    for (uint32_t i = 0; i < manifest->writes.count; i++)
        if (!reads_format(manifest, manifest->writes.at[i]))
            return node_wrong(node_get(node, "writes"), reading->file, reading->err,
                              "the driver writes format %u and does not read it; add it to reads",
                              manifest->writes.at[i]);
    return true;
}

/* ---- sandbox -------------------------------------------------------------------------------- */

static bool read_access(const struct reading *reading, const struct node *node,
                        const struct field *field, void *into) {
    if (!field_scalar(reading, node, field->name))
        return false;
    bool write = strcmp(node->text, "read-write") == 0;
    if (!write && strcmp(node->text, "read") != 0)
        return node_wrong(node, reading->file, reading->err, "access must be read or read-write");
    *(bool *)into = write;
    return true;
}

static const struct field path_fields[] = {
    {"path", true, field_text, offsetof(struct manifest_path, path), 1, SLUICE_PATH_MAX - 1},
    {"access", true, read_access, offsetof(struct manifest_path, write), 0, 0},
};

static bool read_path(const struct reading *reading, const struct node *node,
                      const struct field *field, void *into) {
    (void)field;
    return fields_read(reading, node, "a path", path_fields, COUNT(path_fields), into);
}

static bool read_paths(const struct reading *reading, const struct node *node,
                       const struct field *field, void *into) {
    struct manifest *manifest = into;
    void *at;
    if (!fields_list(reading, node, field, MANIFEST_PATHS_MAX, sizeof(struct manifest_path),
                     read_path, &at, &manifest->path_count))
        return false;
    manifest->paths = at;
    return true;
}

static const struct field sandbox_fields[] = {
    {"memory_mib", false, field_u32, offsetof(struct manifest, memory_mib), 16,
     MANIFEST_MEMORY_MIB_MAX},
    {"open_files", false, field_u32, offsetof(struct manifest, open_files), 16,
     MANIFEST_OPEN_FILES_MAX},
    {"paths", false, read_paths, 0, 0, 0},
    {"network", false, field_bool, offsetof(struct manifest, network), 0, 0},
};

static bool read_sandbox(const struct reading *reading, const struct node *node,
                         const struct field *field, void *into) {
    (void)field;
    return fields_read(reading, node, "sandbox", sandbox_fields, COUNT(sandbox_fields), into);
}

/* A pool's runner takes its paths from the pool's bag; other categories have no pools and take them
 * from the driver's own. A secret in a path would be seen in every list of mounts and files. */
static bool judge_placeholder(const struct reading *reading, const struct node *node,
                              const struct manifest *manifest, const struct sandbox_piece *piece) {
    char name[DESCRIPTOR_NAME_MAX + 1] = "(too long)"; /* which is no property's name */
    if (piece->length < sizeof name) {
        memcpy(name, piece->at, piece->length);
        name[piece->length] = '\0';
    }
    bool pools = manifest->category == SLUICE_CATEGORY_STORAGE;
    const struct descriptor *descriptor =
        descriptor_find(pools ? &manifest->properties : &manifest->settings, name);
    if (descriptor == NULL)
        return node_wrong(node, reading->file, reading->err,
                          "there is no entry \"%s\" in %s; declare it there or mend the path", name,
                          pools ? "properties" : "settings");
    if (descriptor->kind != SLUICE_PROPERTY_STRING || descriptor->secret)
        return node_wrong(node, reading->file, reading->err,
                          "\"%s\" cannot be in a path; it must be a string and no secret", name);
    return true;
}

/* Each {property} is put in as the letter x, so that what the driver's author wrote is judged now
 * and not when the first pool is made. */
static bool judge_path(const struct reading *reading, const struct node *node,
                       const struct manifest *manifest) {
    char sample[SLUICE_PATH_MAX + 1] = "";
    size_t length = 0;
    const char *at = node->text;
    struct sandbox_piece piece;
    bool wrong = false;
    while (sandbox_piece_next(&at, &piece, &wrong)) {
        if (piece.property) {
            if (!judge_placeholder(reading, node, manifest, &piece))
                return false;
            if (length == 0)
                sample[length++] = '/';
            sample[length++] = 'x';
            continue;
        }
        memcpy(sample + length, piece.at, piece.length);
        length += piece.length;
    }
    if (wrong)
        return node_wrong(node, reading->file, reading->err,
                          "a brace has no other; write {name} for the value of a property");
    const char *why = sandbox_judge(sample);
    return why == NULL || node_wrong(node, reading->file, reading->err, "path %s", why);
}

static bool judge_paths(const struct reading *reading, const struct node *root,
                        const struct manifest *manifest) {
    const struct node *sandbox = node_get(root, "sandbox");
    const struct node *paths = sandbox != NULL ? node_get(sandbox, "paths") : NULL;
    if (paths == NULL)
        return true;
    for (const struct node *child = paths->first; child != NULL; child = child->next)
        if (!judge_path(reading, node_get(child, "path"), manifest))
            return false;
    return true;
}

/* ---- permissions, metrics ------------------------------------------------------------------- */

static bool read_dotted(const struct reading *reading, const struct node *node,
                        const struct field *field, void *into) {
    if (!field_text(reading, node, field, into))
        return false;
    for (const char *at = node->text; *at != '\0'; at++)
        if (!(*at >= 'a' && *at <= 'z') &&
            (at == node->text || strchr("0123456789._-", *at) == NULL))
            return node_wrong(node, reading->file, reading->err,
                              "%s is a lower-case letter and then lower-case letters, digits, '.', "
                              "'_' and '-'",
                              field->name);
    return true;
}

static const struct field permission_fields[] = {
    {"name", true, read_dotted, offsetof(struct manifest_permission, name), 1, DESCRIPTOR_NAME_MAX},
    {"description", true, field_text, offsetof(struct manifest_permission, description), 1,
     MANIFEST_TEXT_MAX},
};

static bool read_permission(const struct reading *reading, const struct node *node,
                            const struct field *field, void *into) {
    (void)field;
    return fields_read(reading, node, "a permission", permission_fields, COUNT(permission_fields),
                       into);
}

static bool read_permissions(const struct reading *reading, const struct node *node,
                             const struct field *field, void *into) {
    struct manifest *manifest = into;
    void *at;
    if (!fields_list(reading, node, field, MANIFEST_PERMISSIONS_MAX,
                     sizeof(struct manifest_permission), read_permission, &at,
                     &manifest->permission_count))
        return false;
    manifest->permissions = at;
    return true;
}

static bool read_metric_kind(const struct reading *reading, const struct node *node,
                             const struct field *field, void *into) {
    if (!field_scalar(reading, node, field->name))
        return false;
    bool counter = strcmp(node->text, "counter") == 0;
    if (!counter && strcmp(node->text, "gauge") != 0)
        return node_wrong(node, reading->file, reading->err, "kind must be gauge or counter");
    *(bool *)into = counter;
    return true;
}

static const struct field metric_fields[] = {
    {"name", true, read_dotted, offsetof(struct manifest_metric, name), 1, DESCRIPTOR_NAME_MAX},
    {"kind", true, read_metric_kind, offsetof(struct manifest_metric, counter), 0, 0},
    {"unit", true, field_text, offsetof(struct manifest_metric, unit), 0, DESCRIPTOR_NAME_MAX},
    {"description", true, field_text, offsetof(struct manifest_metric, description), 1,
     MANIFEST_TEXT_MAX},
};

static bool read_metric(const struct reading *reading, const struct node *node,
                        const struct field *field, void *into) {
    (void)field;
    return fields_read(reading, node, "a metric", metric_fields, COUNT(metric_fields), into);
}

static bool read_metrics(const struct reading *reading, const struct node *node,
                         const struct field *field, void *into) {
    struct manifest *manifest = into;
    void *at;
    if (!fields_list(reading, node, field, MANIFEST_METRICS_MAX, sizeof(struct manifest_metric),
                     read_metric, &at, &manifest->metric_count))
        return false;
    manifest->metrics = at;
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------ */

#define AT(member) offsetof(struct manifest, member)
static const struct field manifest_fields[] = {
    {"schema", true, read_schema, 0, 0, 0},
    {"name", true, read_name, AT(name), 1, MANIFEST_TEXT_MAX},
    {"version", true, read_version, 0, 1, VERSION_TEXT_MAX},
    {"category", true, read_category, AT(category), 0, 0},
    {"abi", true, read_abi, AT(abi), 0, 0},
    {"vendor", true, field_text, AT(vendor), 1, MANIFEST_TEXT_MAX},
    {"license", true, field_text, AT(license), 1, MANIFEST_TEXT_MAX},
    {"library", true, read_library, AT(library), 1, MANIFEST_TEXT_MAX},
    {"label", true, field_text, AT(label), 1, DESCRIPTOR_KEY_MAX},
    {"description", true, field_text, AT(description), 1, DESCRIPTOR_KEY_MAX},
    {"requires", false, read_requires, 0, 0, 0},
    {"formats", false, read_formats, 0, 0, 0},
    {"sandbox", false, read_sandbox, 0, 0, 0},
    {"settings", false, field_descriptors, AT(settings), 0, 0},
    {"properties", false, field_descriptors, AT(properties), 0, 0},
    {"permissions", false, read_permissions, 0, 0, 0},
    {"metrics", false, read_metrics, 0, 0, 0},
};
#undef AT

/* The schema is judged first: a text of another one has keys that would only mislead. */
static bool read_root(const struct reading *reading, const struct node *root,
                      struct manifest *manifest) {
    const struct node *schema = node_get(root, "schema");
    if (schema != NULL && !read_schema(reading, schema, &manifest_fields[0], NULL))
        return false;
    return fields_read(reading, root, "a driver", manifest_fields, COUNT(manifest_fields),
                       manifest) &&
           judge_paths(reading, root, manifest);
}

bool manifest_parse(const void *bytes, size_t length, const char *file, struct arena *arena,
                    struct manifest *ret, struct err *err) {
    struct manifest manifest = {
        .reads = {.at = {1}, .count = 1},
        .writes = {.at = {1}, .count = 1},
        .memory_mib = MANIFEST_MEMORY_MIB_DEFAULT,
        .open_files = MANIFEST_OPEN_FILES_DEFAULT,
    };
    if (length > MANIFEST_BYTES_MAX)
        return err_set(err, ERR_MANIFEST, "%s: it has more than %d bytes; shorten it", file,
                       MANIFEST_BYTES_MAX);
    struct reading reading = {file, arena, err};
    const struct node *root;
    struct arena scratch; /* the tree is not needed afterwards */
    arena_init(&scratch, DOCUMENT_ARENA_MAX);
    bool good = document_parse(bytes, length, file, &scratch, &root, err) &&
                read_root(&reading, root, &manifest);
    arena_release(&scratch);
    if (good)
        *ret = manifest;
    return good;
}

bool manifest_load(const char *directory, struct arena *arena, struct manifest *ret,
                   struct err *err) {
    char file[ARCHIVE_PATH_MAX + sizeof MANIFEST_PATH + 1];
    if (snprintf(file, sizeof file, "%s/" MANIFEST_PATH, directory) >= (int)sizeof file)
        return err_set(err, ERR_MANIFEST, "%s: the path is longer than %d bytes", directory,
                       ARCHIVE_PATH_MAX);
    struct buf text;
    buf_init(&text, MANIFEST_BYTES_MAX + 1);
    bool good = archive_read(directory, MANIFEST_PATH, MANIFEST_BYTES_MAX, &text, err) &&
                manifest_parse(text.at, text.length, file, arena, ret, err);
    buf_release(&text);
    return good;
}

/* Below 1.0 every minor number may break; from then on we serve all older ones. */
static bool abi_fits(uint32_t abi, uint32_t ours) {
    if (abi >> 16 != ours >> 16)
        return false;
    return ours >> 16 == 0 ? abi == ours : abi <= ours;
}

bool manifest_verify(const struct manifest *manifest, const char *directory, struct err *err) {
    if (!abi_fits(manifest->abi, SLUICE_ABI))
        return err_set(err, ERR_ABI,
                       "%s %s is built for ABI %u.%u and this gateway has %d.%d; get a version of "
                       "the driver for that",
                       manifest->name, manifest->version_text, manifest->abi >> 16,
                       manifest->abi & 0xffff, SLUICE_ABI_MAJOR, SLUICE_ABI_MINOR);
    char library[sizeof "driver/" + MANIFEST_TEXT_MAX];
    snprintf(library, sizeof library, "driver/%s", manifest->library);
    struct err wrong = ERR_INIT;
    if (archive_check_file(directory, library, &wrong))
        return true;
    if (wrong.code == ERR_NOT_FOUND)
        return err_set(err, ERR_MANIFEST, "%s/%s: library names it and it is not there", directory,
                       library);
    return err_set(err, wrong.code, "%s", wrong.text);
}
