/* SPDX-License-Identifier: Apache-2.0
 *
 * openapi.yaml and the core speak of the same things: operations, parameters, permissions, records.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/core.h"
#include "core/records.h"
#include "routes/routes.h"

/* Parameters that are not members: the object that the URL names, and what only fills a shape. */
static bool is_internal(const char *name) {
    return strcmp(name, "target") == 0 || strcmp(name, "reserved") == 0;
}

static const struct shape_field *shape_find(const struct shape *shape, const char *name) {
    for (uint16_t i = 0; i < shape->count; i++)
        if (strcmp(shape->fields[i].name, name) == 0)
            return &shape->fields[i];
    return NULL;
}

static const struct route_field *field_find(const struct route_field *fields, size_t count,
                                            const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

static void test_operations(void **state) {
    (void)state;
    size_t submits = 0;
    for (size_t i = 0; i < route_count; i++) {
        if (routes[i].action != ROUTE_SUBMIT)
            continue;
        enum core_kind kind = core_kind_find(routes[i].operation);
        if (kind == CORE_KINDS)
            fail_msg("%s: there is no operation %s", routes[i].id, routes[i].operation);
        assert_string_equal(core_noun_name(core_kind_noun(kind)), routes[i].noun);
        submits++;
    }
    for (unsigned kind = 0; kind < CORE_KINDS; kind++) {
        size_t found = 0;
        for (size_t i = 0; i < route_count; i++)
            found += strcmp(routes[i].operation, core_kind_name(kind)) == 0;
        if (found != 1)
            fail_msg("operation %s has %zu routes", core_kind_name(kind), found);
    }
    assert_int_equal(submits, CORE_KINDS);
}

static void test_nouns_and_permissions(void **state) {
    (void)state;
    for (size_t i = 0; i < route_count; i++) {
        const struct route *route = &routes[i];
        if (route->noun[0] != '\0' && core_noun_find(route->noun) == CORE_NOUNS)
            fail_msg("%s: there is no noun %s", route->id, route->noun);
        if (route->permission[0] != '\0' && core_permission_role(route->permission) == ROLE_NONE)
            fail_msg("%s: there is no permission %s", route->id, route->permission);
        /* Only health may be asked for by everybody. */
        if (route->permission[0] == '\0')
            assert_true(strcmp(route->path, "/healthz") == 0 ||
                        strcmp(route->path, "/readyz") == 0);
    }
    static const char *const permissions[] = {
#define PERMISSION(name, role, sentence) name,
#include "core/permission.def"
#undef PERMISSION
    };
    for (size_t i = 0; i < sizeof permissions / sizeof permissions[0]; i++) {
        size_t found = 0;
        for (size_t j = 0; j < route_count; j++)
            found += strcmp(routes[j].permission, permissions[i]) == 0;
        if (found == 0)
            fail_msg("no route needs the permission %s", permissions[i]);
    }
}

static bool member_fits(const struct route_field *member, const struct shape_field *field) {
    switch (field->kind) {
    case SHAPE_BOOL:
        return member->kind == ROUTE_BOOLEAN;
    case SHAPE_U32:
        return member->kind == ROUTE_NUMBER && member->max <= UINT32_MAX;
    case SHAPE_U64:
        return (member->kind == ROUTE_NUMBER || member->kind == ROUTE_SIZE) &&
               member->max <= INT64_MAX;
    case SHAPE_TEXT:
        return member->kind == ROUTE_TEXT && member->max == field->max;
    case SHAPE_PAIRS:
        return member->kind == ROUTE_PAIRS && member->max == field->max;
    default:
        return false;
    }
}

static void check_members(const struct route *route, const struct route_field *members,
                          size_t count, const struct shape *shape) {
    for (size_t i = 0; i < count; i++) {
        const struct shape_field *field = shape_find(shape, members[i].name);
        if (field == NULL || is_internal(members[i].name))
            fail_msg("%s: %s has no field %s", route->id, shape->name, members[i].name);
        if (!member_fits(&members[i], field))
            fail_msg("%s: %s and %s.%s differ in type or maximum", route->id, members[i].name,
                     shape->name, field->name);
    }
}

static void test_params(void **state) {
    (void)state;
    for (size_t i = 0; i < route_count; i++) {
        const struct route *route = &routes[i];
        if (route->action != ROUTE_SUBMIT)
            continue;
        const struct shape *shape = core_kind_params(core_kind_find(route->operation));
        check_members(route, route->body, route->body_count, shape);
        check_members(route, route->query, route->query_count, shape);
        const struct shape_field *target = shape_find(shape, "target");
        assert_int_equal(target != NULL, route->target != NULL);
        if (target != NULL)
            assert_true(route->target->max <= target->max);
        for (uint16_t j = 0; j < shape->count; j++) {
            const char *name = shape->fields[j].name;
            if (!is_internal(name) && field_find(route->body, route->body_count, name) == NULL &&
                field_find(route->query, route->query_count, name) == NULL)
                fail_msg("%s: nobody can say %s.%s", route->id, shape->name, name);
        }
    }
}

/* ---- records -------------------------------------------------------------------------------- */

static const struct {
    const char *schema;
    const struct shape *shape;
} records[] = {
    {"Driver", &driver_record_shape},       {"Pool", &pool_record_shape},
    {"Volume", &volume_record_shape},       {"Snapshot", &snapshot_record_shape},
    {"Host", &host_record_shape},           {"Attachment", &attachment_record_shape},
    {"Operation", &operation_record_shape}, {"Event", &event_record_shape},
    {"Token", &token_record_shape},
};

static const struct route_schema *schema_find(const char *name) {
    for (size_t i = 0; i < route_schema_count; i++)
        if (strcmp(route_schemas[i].name, name) == 0)
            return &route_schemas[i];
    fail_msg("there is no schema %s", name);
    return NULL;
}

static bool answer_fits(const struct route_field *member, const struct shape_field *field) {
    bool text = member->kind == ROUTE_TEXT;
    switch (field->kind) {
    case SHAPE_TIME:
        return text && strcmp(member->format, "date-time") == 0 && member->nullable;
    case SHAPE_UUID:
        return text && strcmp(member->format, "uuid") == 0;
    case SHAPE_BYTES:
        return false;
    default:
        return member_fits(member, field);
    }
}

static void test_records(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
        const struct route_schema *schema = schema_find(records[i].schema);
        const struct shape *shape = records[i].shape;
        for (uint16_t j = 0; j < shape->count; j++) {
            const struct shape_field *field = &shape->fields[j];
            const struct route_field *member =
                field_find(schema->fields, schema->count, field->name);
            if (field->kind == SHAPE_BYTES && member == NULL)
                continue;
            if (member == NULL || member->derived || !member->required)
                fail_msg("%s: %s belongs to it", schema->name, field->name);
            if (!answer_fits(member, field))
                fail_msg("%s: %s differs in type or maximum", schema->name, field->name);
        }
        for (size_t j = 0; j < schema->count; j++) {
            const struct route_field *member = &schema->fields[j];
            if (!member->derived && shape_find(shape, member->name) == NULL)
                fail_msg("%s: the record has no %s", schema->name, member->name);
        }
        /* A record that has more members than it says would break who validates. */
        assert_false(schema->open);
    }
}

static void test_answers(void **state) {
    (void)state;
    for (size_t i = 0; i < route_count; i++) {
        const struct route *route = &routes[i];
        if (route->answer[0] != '\0')
            schema_find(route->answer);
        if (route->action == ROUTE_LIST) {
            const struct route_field *items = schema_find(route->answer)->fields;
            assert_string_equal(items->name, "items");
            assert_non_null(field_find(route->query, route->query_count, "after"));
            assert_int_equal(field_find(route->query, route->query_count, "limit")->max,
                             CORE_PAGE_MAX);
            assert_int_equal(field_find(route->query, route->query_count, "after")->max,
                             CORE_TOKEN_MAX - 1);
        }
        /* What is created or changed is shown; what is gone is not. */
        if (route->action == ROUTE_SUBMIT)
            assert_int_equal(route->deletes, route->answer[0] == '\0');
        if (route->creates)
            assert_null(route->target);
    }
}

/* Everything that a client sends has a limit. */
static void check_bounded(const struct route_field *fields, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (fields[i].kind != ROUTE_BOOLEAN)
            assert_true(fields[i].max > 0);
        if (fields[i].kind == ROUTE_PAIRS)
            assert_true(fields[i].name_max > 0 && fields[i].value_max > 0);
    }
}

static void test_bounded(void **state) {
    (void)state;
    for (size_t i = 0; i < route_count; i++) {
        check_bounded(routes[i].body, routes[i].body_count);
        check_bounded(routes[i].query, routes[i].query_count);
        check_bounded(routes[i].target, routes[i].target != NULL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations), cmocka_unit_test(test_nouns_and_permissions),
        cmocka_unit_test(test_params),     cmocka_unit_test(test_records),
        cmocka_unit_test(test_answers),    cmocka_unit_test(test_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
