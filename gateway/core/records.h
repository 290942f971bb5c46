/* SPDX-License-Identifier: Apache-2.0
 *
 * records.h: what the catalogue holds, and what operations are asked with, as shapes.
 *
 * A record's fields are also the members of its JSON in the API, in this order; what the API shows
 * beyond them (a pool's runner, a driver's descriptors) is added by query.c. Fields are only
 * appended. Names of fields are names of the API: openapi.yaml is checked against these lists.
 */
#ifndef SLUICE_CORE_RECORDS_H
#define SLUICE_CORE_RECORDS_H

#include "base/shape.h"

#define RECORD_NAME_MAX 255
#define RECORD_LABELS_MAX 32
#define RECORD_PROPERTIES_MAX 128
#define RECORD_IDENTITIES_MAX 16

/* Of a volume or snapshot that the catalogue has and its backend has not (reconcile.h). */
#define STATE_MISSING "missing"

#define DRIVER_RECORD_FIELDS(F, T)                                                            \
    F(T, TEXT, name, 63, "")                                                                  \
    F(T, TEXT, version, 63, "")                                                               \
    F(T, TEXT, category, 15, "network, storage or hypervisor")                                \
    F(T, TEXT, state, 15, "lifecycle state")                                                  \
    F(T, TEXT, wanted, 15, "running, suspended or stopped: what the operator asked for last") \
    F(T, TEXT, cause, 511, "why it is failed or blocked")                                     \
    F(T, TEXT, directory, 1023, "of the unpacked archive")                                    \
    F(T, TIME, changed_at, 0, "of the last transition")

#define POOL_RECORD_FIELDS(F, T)                                                         \
    F(T, UUID, id, 0, "")                                                                \
    F(T, TEXT, name, RECORD_NAME_MAX, "unique")                                          \
    F(T, TEXT, driver, 63, "name of the driver")                                         \
    F(T, TEXT, driver_version, 63, "the version it is bound to")                         \
    F(T, TEXT, state, 15, "creating, enabled, disabled, drained, deleting")              \
    F(T, PAIRS, properties, RECORD_PROPERTIES_MAX, "without the secret ones")            \
    F(T, BYTES, sealed_properties, 65536, "the secret ones, typed pairs, sealed for id") \
    F(T, PAIRS, labels, RECORD_LABELS_MAX, "")                                           \
    F(T, U32, uid, 0, "account that its runner runs under")                              \
    F(T, TIME, created_at, 0, "")                                                        \
    F(T, TIME, updated_at, 0, "")

#define VOLUME_RECORD_FIELDS(F, T)                                                       \
    F(T, UUID, id, 0, "")                                                                \
    F(T, UUID, pool, 0, "")                                                              \
    F(T, TEXT, name, RECORD_NAME_MAX, "unique in the pool")                              \
    F(T, TEXT, state, 15, "creating, available, resizing, reverting, deleting, missing") \
    F(T, U64, size_bytes, 0, "")                                                         \
    F(T, U64, used_bytes, 0, "on the backend when last asked")                           \
    F(T, TEXT, format, 15, "raw, qcow2, vhdx or native")                                 \
    F(T, TEXT, source_kind, 15, "none, snapshot or volume")                              \
    F(T, UUID, source, 0, "what it was made from")                                       \
    F(T, PAIRS, labels, RECORD_LABELS_MAX, "")                                           \
    F(T, U32, attachments, 0, "how many there are")                                      \
    F(T, U32, snapshots, 0, "how many there are")                                        \
    F(T, TIME, created_at, 0, "")                                                        \
    F(T, TIME, updated_at, 0, "")

#define SNAPSHOT_RECORD_FIELDS(F, T)                                \
    F(T, UUID, id, 0, "")                                           \
    F(T, UUID, pool, 0, "")                                         \
    F(T, UUID, volume, 0, "of which it is; that one may be gone")   \
    F(T, TEXT, name, RECORD_NAME_MAX, "unique for the volume")      \
    F(T, TEXT, state, 15, "creating, available, deleting, missing") \
    F(T, U64, size_bytes, 0, "")                                    \
    F(T, U64, used_bytes, 0, "")                                    \
    F(T, PAIRS, labels, RECORD_LABELS_MAX, "")                      \
    F(T, U32, attachments, 0, "how many there are")                 \
    F(T, TIME, created_at, 0, "")                                   \
    F(T, TIME, updated_at, 0, "")

#define HOST_RECORD_FIELDS(F, T)                                                          \
    F(T, UUID, id, 0, "")                                                                 \
    F(T, TEXT, name, RECORD_NAME_MAX, "unique")                                           \
    F(T, PAIRS, identities, RECORD_IDENTITIES_MAX, "uid, user, ... as drivers want them") \
    F(T, PAIRS, labels, RECORD_LABELS_MAX, "")                                            \
    F(T, U32, attachments, 0, "how many there are")                                       \
    F(T, TIME, created_at, 0, "")                                                         \
    F(T, TIME, updated_at, 0, "")                                                         \
    F(T, TEXT, group, RECORD_NAME_MAX, "whose hosts may share a volume in mode rw-cluster")

#define ATTACHMENT_RECORD_FIELDS(F, T)                        \
    F(T, UUID, id, 0, "")                                     \
    F(T, UUID, pool, 0, "")                                   \
    F(T, UUID, volume, 0, "")                                 \
    F(T, UUID, snapshot, 0, "null: the volume itself")        \
    F(T, UUID, host, 0, "")                                   \
    F(T, TEXT, mode, 15, "as in attached.h")                  \
    F(T, TEXT, state, 15, "attaching, attached, revoking")    \
    F(T, TEXT, protocol, 15, "")                              \
    F(T, PAIRS, connection, 16, "how the host opens it")      \
    F(T, TEXT, note, 511, "what the protocol cannot enforce") \
    F(T, TIME, created_at, 0, "")                             \
    F(T, TIME, updated_at, 0, "")                             \
    F(T, BOOL, served, 0, "by the gateway, over NBD")         \
    F(T, U64, iops_max, 0, "0: no limit")                     \
    F(T, U64, bytes_s_max, 0, "0: no limit")                  \
    F(T, TIME, expires_at, 0, "of rw-migrate; null: it stays")

#define OPERATION_RECORD_FIELDS(F, T)                                               \
    F(T, UUID, id, 0, "")                                                           \
    F(T, TEXT, kind, 31, "as in operation.def")                                     \
    F(T, TEXT, state, 15, "running, undoing, done, failed, cancelled")              \
    F(T, TEXT, noun, 15, "of the object")                                           \
    F(T, UUID, object, 0, "")                                                       \
    F(T, TEXT, object_name, RECORD_NAME_MAX, "for people; a driver's name@version") \
    F(T, UUID, pool, 0, "null: none")                                               \
    F(T, TEXT, principal, 127, "who asked")                                         \
    F(T, U32, error, 0, "err_code; 0: none")                                        \
    F(T, TEXT, error_text, 511, "")                                                 \
    F(T, BYTES, params, 131072, "the kind's params shape, secrets sealed")          \
    F(T, BYTES, before, 65536, "the object as it was, for undoing")                 \
    F(T, TIME, created_at, 0, "")                                                   \
    F(T, TIME, ended_at, 0, "")

#define EVENT_RECORD_FIELDS(F, T)                           \
    F(T, TEXT, type, 63, "volume.create.done, pool.health") \
    F(T, TEXT, noun, 15, "")                                \
    F(T, UUID, object, 0, "")                               \
    F(T, TEXT, object_name, RECORD_NAME_MAX, "")            \
    F(T, UUID, pool, 0, "")                                 \
    F(T, UUID, operation, 0, "")                            \
    F(T, TEXT, principal, 127, "")                          \
    F(T, TEXT, text, 511, "for people")                     \
    F(T, TIME, at, 0, "")

#define TOKEN_RECORD_FIELDS(F, T)                           \
    F(T, UUID, id, 0, "")                                   \
    F(T, TEXT, name, RECORD_NAME_MAX, "unique")             \
    F(T, TEXT, role, 15, "viewer, tenant, operator, admin") \
    F(T, BYTES, hash, 32, "SHA-256 of the token")           \
    F(T, TIME, created_at, 0, "")

#define KEY_RECORD_FIELDS(F, T)       \
    F(T, BYTES, request_hash, 32, "") \
    F(T, UUID, operation, 0, "")      \
    F(T, TIME, created_at, 0, "")

/* ---- what operations are asked with; TARGET is the object that the URL names ------------------
 */
#define PARAMS_TARGET(F, T) F(T, TEXT, target, 600, "id, or name as core_resolve takes it")
#define DRIVER_SCAN_PARAMS(F, T) F(T, BOOL, reserved, 0, "")
#define POOL_CREATE_PARAMS(F, T)                                                        \
    F(T, TEXT, name, RECORD_NAME_MAX, "no ':' or '@'")                                  \
    F(T, TEXT, driver, 63, "")                                                          \
    F(T, TEXT, driver_version, 127, "a version or range; empty: the highest that runs") \
    F(T, PAIRS, properties, RECORD_PROPERTIES_MAX, "")                                  \
    F(T, PAIRS, labels, RECORD_LABELS_MAX, "")                                          \
    F(T, U32, uid, 0, "0: the next free one of the range, in turn")                     \
    F(T, BOOL, take_over, 0, "replace another pool's marker")
#define POOL_UPDATE_PARAMS(F, T)                                                              \
    PARAMS_TARGET(F, T)                                                                       \
    F(T, PAIRS, properties, RECORD_PROPERTIES_MAX, "those to change; an empty value removes") \
    F(T, PAIRS, labels, RECORD_LABELS_MAX, "likewise")
#define POOL_UPGRADE_PARAMS(F, T) \
    PARAMS_TARGET(F, T)           \
    F(T, TEXT, driver_version, 127, "a version or range")
#define POOL_DELETE_PARAMS(F, T) \
    PARAMS_TARGET(F, T)          \
    F(T, BOOL, forget, 0, "drop the pool and its objects from the catalogue, backend untouched")
#define POOL_REBUILD_PARAMS(F, T) \
    PARAMS_TARGET(F, T)           \
    F(T, TEXT, volume, 36, "id; empty: all that there is")
#define VOLUME_CREATE_PARAMS(F, T)                    \
    F(T, TEXT, pool, 300, "id or name")               \
    F(T, TEXT, name, RECORD_NAME_MAX, "")             \
    F(T, U64, size_bytes, 0, "0: that of the source") \
    F(T, TEXT, format, 15, "empty: the pool's first") \
    F(T, TEXT, source_snapshot, 600, "")              \
    F(T, TEXT, source_volume, 600, "")                \
    F(T, PAIRS, labels, RECORD_LABELS_MAX, "")
#define LABELS_UPDATE_PARAMS(F, T)                       \
    PARAMS_TARGET(F, T)                                  \
    F(T, TEXT, name, RECORD_NAME_MAX, "empty: as it is") \
    F(T, PAIRS, labels, RECORD_LABELS_MAX, "those to change; an empty value removes")
#define VOLUME_RESIZE_PARAMS(F, T) \
    PARAMS_TARGET(F, T)            \
    F(T, U64, size_bytes, 0, "")   \
    F(T, BOOL, shrink, 0, "allow less than now: what is beyond is lost")
#define VOLUME_REVERT_PARAMS(F, T) \
    PARAMS_TARGET(F, T)            \
    F(T, TEXT, snapshot, 600, "")
#define VOLUME_ADOPT_PARAMS(F, T)                           \
    F(T, TEXT, pool, 300, "")                               \
    F(T, TEXT, name, RECORD_NAME_MAX, "")                   \
    F(T, TEXT, reference, 1023, "what the driver calls it") \
    F(T, PAIRS, labels, RECORD_LABELS_MAX, "")
#define SNAPSHOT_CREATE_PARAMS(F, T)      \
    F(T, TEXT, volume, 600, "")           \
    F(T, TEXT, name, RECORD_NAME_MAX, "") \
    F(T, PAIRS, labels, RECORD_LABELS_MAX, "")
#define HOST_CREATE_PARAMS(F, T)                       \
    F(T, TEXT, name, RECORD_NAME_MAX, "")              \
    F(T, PAIRS, identities, RECORD_IDENTITIES_MAX, "") \
    F(T, PAIRS, labels, RECORD_LABELS_MAX, "")         \
    F(T, TEXT, group, RECORD_NAME_MAX, "empty: none")
#define HOST_UPDATE_PARAMS(F, T)                                                              \
    PARAMS_TARGET(F, T)                                                                       \
    F(T, PAIRS, identities, RECORD_IDENTITIES_MAX, "those to change; an empty value removes") \
    F(T, PAIRS, labels, RECORD_LABELS_MAX, "likewise")                                        \
    F(T, TEXT, group, RECORD_NAME_MAX, "empty: as it is; -: none")
#define ATTACHMENT_CREATE_PARAMS(F, T)                          \
    F(T, TEXT, volume, 600, "")                                 \
    F(T, TEXT, snapshot, 600, "instead of a volume: read-only") \
    F(T, TEXT, host, 300, "")                                   \
    F(T, TEXT, mode, 15, "as in attached.h")                    \
    F(T, TEXT, protocol, 15, "empty: the driver's own; or nbd") \
    F(T, U64, iops_max, 0, "with nbd; 0: no limit")             \
    F(T, U64, bytes_s_max, 0, "likewise")                       \
    F(T, U32, expires_in_s, 0, "of rw-migrate; 0: EXPIRY_DEFAULT_S")
#define TOKEN_CREATE_PARAMS(F, T)         \
    F(T, TEXT, name, RECORD_NAME_MAX, "") \
    F(T, TEXT, role, 15, "")

SHAPE_STRUCT(driver_record, DRIVER_RECORD_FIELDS)
SHAPE_STRUCT(pool_record, POOL_RECORD_FIELDS)
SHAPE_STRUCT(volume_record, VOLUME_RECORD_FIELDS)
SHAPE_STRUCT(snapshot_record, SNAPSHOT_RECORD_FIELDS)
SHAPE_STRUCT(host_record, HOST_RECORD_FIELDS)
SHAPE_STRUCT(attachment_record, ATTACHMENT_RECORD_FIELDS)
SHAPE_STRUCT(operation_record, OPERATION_RECORD_FIELDS)
SHAPE_STRUCT(event_record, EVENT_RECORD_FIELDS)
SHAPE_STRUCT(token_record, TOKEN_RECORD_FIELDS)
SHAPE_STRUCT(key_record, KEY_RECORD_FIELDS)

SHAPE_STRUCT(driver_scan_params, DRIVER_SCAN_PARAMS)
SHAPE_STRUCT(target_params, PARAMS_TARGET)
SHAPE_STRUCT(pool_create_params, POOL_CREATE_PARAMS)
SHAPE_STRUCT(pool_update_params, POOL_UPDATE_PARAMS)
SHAPE_STRUCT(pool_upgrade_params, POOL_UPGRADE_PARAMS)
SHAPE_STRUCT(pool_delete_params, POOL_DELETE_PARAMS)
SHAPE_STRUCT(pool_rebuild_params, POOL_REBUILD_PARAMS)
SHAPE_STRUCT(volume_create_params, VOLUME_CREATE_PARAMS)
SHAPE_STRUCT(labels_update_params, LABELS_UPDATE_PARAMS)
SHAPE_STRUCT(volume_resize_params, VOLUME_RESIZE_PARAMS)
SHAPE_STRUCT(volume_revert_params, VOLUME_REVERT_PARAMS)
SHAPE_STRUCT(volume_adopt_params, VOLUME_ADOPT_PARAMS)
SHAPE_STRUCT(snapshot_create_params, SNAPSHOT_CREATE_PARAMS)
SHAPE_STRUCT(host_create_params, HOST_CREATE_PARAMS)
SHAPE_STRUCT(host_update_params, HOST_UPDATE_PARAMS)
SHAPE_STRUCT(attachment_create_params, ATTACHMENT_CREATE_PARAMS)
SHAPE_STRUCT(token_create_params, TOKEN_CREATE_PARAMS)

#endif
