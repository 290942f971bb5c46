/* SPDX-License-Identifier: Apache-2.0
 *
 * hostile.c: a driver that means harm, for the tests of the runner's sandbox and of the gateway.
 *
 * Without a mode it is a small driver whose volumes are only names and sizes. The property `mode`
 * says what it does when the call named by `when` comes; what can be denied answers ACCESS with the
 * reason when it was denied, INTERNAL and "<mode>: it worked" when it was not.
 *
 * It is careful where a sandbox that does not hold would hurt the machine that runs the tests:
 * children end at once, bombs are bounded, and signals to everybody are signal 0.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sluice/driver.h>

#ifndef HOSTILE_NAME
#define HOSTILE_NAME "hostile"
#define HOSTILE_THREADS SLUICE_THREADS_PER_VOLUME
#endif

#define VOLUMES_MAX 256
#define SIZE_MAX_BYTES (UINT64_C(1) << 40)
#define FLOOD_LINES 20000
#define FORKS_MAX 64
#define THREADS_MAX 4000
#define EAT_MAX_MIB 4096
#define SOCKET_FD 3 /* the runner's end of its socket to the gateway */

struct pool {
    const struct sluice_services *services;
    pthread_mutex_t mutex;
    struct sluice_volume volumes[VOLUMES_MAX]; /* ascending by id */
    uint32_t count;
    char mode[32];
    char when[32];
    char name_prefix[64];
    char target_path[SLUICE_PATH_MAX];
    pid_t target_pid;
};

static const struct sluice_services *services;

/* ---- what it does --------------------------------------------------------------------------- */

static int32_t outcome(struct pool *pool, struct sluice_call *call, bool worked, int number) {
    char text[128];
    snprintf(text, sizeof text, "%s: %s", pool->mode, worked ? "it worked" : strerror(number));
    return pool->services->fail(pool->services, call, worked ? SLUICE_INTERNAL : SLUICE_ACCESS,
                                text);
}

static int32_t do_crash(struct pool *pool, struct sluice_call *call) {
    (void)pool;
    (void)call;
    /* Volatile twice, so that the compiler neither sees through it nor leaves the store out. */
    volatile int *volatile nowhere = NULL;
    *nowhere = 1;
    return SLUICE_OK;
}

static int32_t do_abort(struct pool *pool, struct sluice_call *call) {
    (void)pool;
    (void)call;
    abort();
}

static int32_t do_exit(struct pool *pool, struct sluice_call *call) {
    (void)pool;
    (void)call;
    _exit(3);
}

static int32_t do_hang(struct pool *pool, struct sluice_call *call) {
    (void)pool;
    (void)call;
    while (pause() != 0) /* it only ever returns -1 */
        ;
    return -1;
}

static int32_t do_spin(struct pool *pool, struct sluice_call *call) {
    (void)pool;
    (void)call;
    volatile unsigned turning = 1;
    while (turning != 0)
        turning |= 1;
    return -1;
}

static int32_t do_garbage(struct pool *pool, struct sluice_call *call) {
    (void)pool;
    (void)call;
    unsigned char bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 37 + 11);
    for (size_t length = 1; length <= sizeof bytes; length *= 2)
        send(SOCKET_FD, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    return -1;
}

static int32_t do_flood(struct pool *pool, struct sluice_call *call) {
    (void)call;
    char line[SLUICE_TEXT_MAX];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    for (int i = 0; i < FLOOD_LINES; i++) {
        pool->services->log(pool->services, SLUICE_LOG_ERROR, line);
        pool->services->event(pool->services, SLUICE_EVENT_CAPACITY, NULL, i, "flood");
    }
    return -1;
}

/* A REPLY of status OK with an empty result, as gateway/wire/message.h lays it out. */
static void send_reply(uint64_t call_id) {
    unsigned char packet[16 + 4 + 4 + 4 + 8 + 8 + 4 + 4] = {0x53, 0x4c, 9, 0, 36};
    for (size_t i = 0; i < 8; i++)
        packet[8 + i] = (unsigned char)(call_id >> (8 * i));
    packet[16] = 1; /* version */
    packet[18] = 6; /* fields */
    send(SOCKET_FD, packet, sizeof packet, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Answers to calls that were answered, to this one, and to those that nobody made. */
static int32_t do_wrong_reply(struct pool *pool, struct sluice_call *call) {
    (void)pool;
    (void)call;
    for (uint64_t incarnation = 1; incarnation <= 3; incarnation++)
        for (uint64_t n = 1; n <= 32; n++)
            send_reply(incarnation << 32 | n);
    send_reply(UINT64_MAX);
    return -1;
}

static int32_t do_pending(struct pool *pool, struct sluice_call *call) {
    (void)pool;
    (void)call;
    return SLUICE_PENDING;
}

static int32_t do_lie_status(struct pool *pool, struct sluice_call *call) {
    (void)pool;
    (void)call;
    return 4711;
}

/* What it eats it keeps. */
static int32_t do_eat_memory(struct pool *pool, struct sluice_call *call) {
    size_t mib = 0;
    while (mib < EAT_MAX_MIB) {
        char *bite = malloc(1 << 20);
        if (bite == NULL)
            break;
        memset(bite, 1, 1 << 20);
        mib++;
    }
    return mib < EAT_MAX_MIB
               ? pool->services->fail(pool->services, call, SLUICE_NO_MEMORY, "eat-memory: enough")
               : outcome(pool, call, true, 0);
}

static void *idle(void *unused) {
    (void)unused;
    for (;;)
        pause();
    return NULL;
}

static int32_t do_fork_bomb(struct pool *pool, struct sluice_call *call) {
    int forks = 0;
    int number = 0;
    for (int i = 0; i < FORKS_MAX; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        if (child > 0) {
            forks++;
            waitpid(child, NULL, 0);
        } else {
            number = errno;
        }
    }
    int threads = 0;
    pthread_t thread;
    while (threads < THREADS_MAX && pthread_create(&thread, NULL, idle, NULL) == 0)
        threads++;
    return outcome(pool, call, forks > 0 || threads == THREADS_MAX, number);
}

static int32_t do_signal_sibling(struct pool *pool, struct sluice_call *call) {
    bool worked = pool->target_pid > 0 && kill(pool->target_pid, SIGTERM) == 0;
    int number = errno;
    worked = kill(-1, 0) == 0 || worked;
    worked = kill(0, 0) == 0 || worked;
    return outcome(pool, call, worked, number);
}

static int32_t do_read_other(struct pool *pool, struct sluice_call *call) {
    int file = open(pool->target_path, O_RDONLY);
    return outcome(pool, call, file >= 0, errno);
}

static int32_t do_write_other(struct pool *pool, struct sluice_call *call) {
    int file = open(pool->target_path, O_WRONLY | O_CREAT, 0600);
    bool worked = file >= 0 && write(file, "x", 1) == 1;
    return outcome(pool, call, worked, errno);
}

static int32_t do_exec(struct pool *pool, struct sluice_call *call) {
    char *arguments[] = {"true", NULL};
    execve("/bin/true", arguments, arguments + 1);
    return outcome(pool, call, false, errno); /* when it works, nobody is there to say so */
}

static int32_t do_stop_heartbeat(struct pool *pool, struct sluice_call *call) {
    (void)pool;
    (void)call;
    raise(SIGSTOP);
    return -1;
}

/* -1 goes on with the call. lie-size and lie-name spoil the result afterwards. */
static const struct {
    const char *mode;
    int32_t (*act)(struct pool *pool, struct sluice_call *call);
} acts[] = {
    {"crash", do_crash},
    {"abort", do_abort},
    {"exit", do_exit},
    {"hang", do_hang},
    {"spin", do_spin},
    {"garbage", do_garbage},
    {"flood", do_flood},
    {"wrong-reply", do_wrong_reply},
    {"pending-forever", do_pending},
    {"lie-status", do_lie_status},
    {"eat-memory", do_eat_memory},
    {"fork-bomb", do_fork_bomb},
    {"signal-sibling", do_signal_sibling},
    {"read-other", do_read_other},
    {"write-other", do_write_other},
    {"exec", do_exec},
    {"stop-heartbeat", do_stop_heartbeat},
};

static int32_t act(struct pool *pool, struct sluice_call *call, const char *when) {
    if (strcmp(pool->when, when) != 0)
        return -1;
    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++)
        if (strcmp(pool->mode, acts[i].mode) == 0)
            return acts[i].act(pool, call);
    return -1;
}

static void spoil(const struct pool *pool, const char *when, struct sluice_volume *ret) {
    if (strcmp(pool->when, when) != 0)
        return;
    if (strcmp(pool->mode, "lie-size") == 0)
        ret->size_bytes = UINT64_MAX;
    if (strcmp(pool->mode, "lie-name") == 0)
        memset(ret->name, 0xff, sizeof ret->name);
}

/* ---- what it is otherwise ------------------------------------------------------------------- */

static const struct sluice_property *property(const struct sluice_properties *bag,
                                              const char *name) {
    for (uint64_t i = 0; i < bag->count; i++)
        if (strcmp(bag->at[i].name, name) == 0)
            return &bag->at[i];
    return NULL;
}

static void take_text(const struct sluice_properties *bag, const char *name, char *ret,
                      size_t capacity) {
    const struct sluice_property *found = property(bag, name);
    snprintf(ret, capacity, "%s", found != NULL ? found->text : "");
}

static int32_t start(const struct sluice_services *given, struct sluice_call *call,
                     const struct sluice_properties *settings, void **ret_driver) {
    (void)call;
    (void)settings;
    services = given;
    *ret_driver = NULL;
    return SLUICE_OK;
}

static void stop(void *driver) {
    (void)driver;
}

static int32_t pool_open(void *driver, struct sluice_call *call,
                         const struct sluice_pool_open *args, struct sluice_pool *ret,
                         void **ret_pool) {
    (void)driver;
    struct pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return services->fail(services, call, SLUICE_NO_MEMORY, "no memory for the pool");
    pool->services = services;
    pthread_mutex_init(&pool->mutex, NULL);
    take_text(args->properties, "mode", pool->mode, sizeof pool->mode);
    take_text(args->properties, "when", pool->when, sizeof pool->when);
    take_text(args->properties, "name_prefix", pool->name_prefix, sizeof pool->name_prefix);
    take_text(args->properties, "target_path", pool->target_path, sizeof pool->target_path);
    const struct sluice_property *pid = property(args->properties, "target_pid");
    pool->target_pid = pid != NULL ? (pid_t)pid->integer : 0;
    int32_t status = act(pool, call, "pool_open");
    if (status > SLUICE_OK) {
        free(pool);
        return status;
    }
    ret->caps = SLUICE_CAP_MASK(GROW) | SLUICE_CAP_MASK(SHRINK) | SLUICE_CAP_MASK(THIN);
    ret->volume_size_min = 1;
    ret->volume_size_max = SIZE_MAX_BYTES;
    ret->volume_size_step = 1;
    ret->name_max = SLUICE_NAME_MAX - 1;
    ret->lanes_max = 1;
    snprintf(ret->formats, sizeof ret->formats, "raw");
    *ret_pool = pool;
    return SLUICE_OK;
}

static void pool_close(void *argument) {
    struct pool *pool = argument;
    act(pool, NULL, "pool_close");
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

static int32_t pool_stat(void *argument, struct sluice_call *call, struct sluice_capacity *ret) {
    struct pool *pool = argument;
    int32_t status = act(pool, call, "pool_stat");
    if (status >= 0)
        return status;
    ret->total = SIZE_MAX_BYTES;
    return SLUICE_OK;
}

static int32_t pool_probe(void *pool, struct sluice_call *call) {
    int32_t status = act(pool, call, "pool_probe");
    return status >= 0 ? status : SLUICE_OK;
}

static int32_t pool_release(void *pool, struct sluice_call *call) {
    int32_t status = act(pool, call, "pool_release");
    return status >= 0 ? status : SLUICE_OK;
}

static int compare(const struct sluice_uuid *a, const struct sluice_uuid *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

/* The first volume whose id is not below; with the pool's lock held. */
static uint32_t place(const struct pool *pool, const struct sluice_uuid *id) {
    uint32_t at = 0;
    while (at < pool->count && compare(&pool->volumes[at].volume, id) < 0)
        at++;
    return at;
}

static struct sluice_volume *find(struct pool *pool, const struct sluice_uuid *id) {
    uint32_t at = place(pool, id);
    bool is_there = at < pool->count && compare(&pool->volumes[at].volume, id) == 0;
    return is_there ? &pool->volumes[at] : NULL;
}

static struct sluice_volume *add(struct pool *pool, const struct sluice_volume_create *args) {
    if (pool->count == VOLUMES_MAX)
        return NULL;
    uint32_t at = place(pool, &args->volume);
    memmove(&pool->volumes[at + 1], &pool->volumes[at],
            (pool->count - at) * sizeof pool->volumes[0]);
    pool->count++;
    struct sluice_volume *added = &pool->volumes[at];
    *added = (struct sluice_volume){.size = sizeof *added,
                                    .volume = args->volume,
                                    .size_bytes = args->size_bytes,
                                    .format = "raw"};
    snprintf(added->name, sizeof added->name, "%s", args->name);
    return added;
}

static int32_t volume_create(void *argument, struct sluice_call *call,
                             const struct sluice_volume_create *args, struct sluice_volume *ret) {
    struct pool *pool = argument;
    bool is_meant = strncmp(args->name, pool->name_prefix, strlen(pool->name_prefix)) == 0;
    int32_t status = is_meant ? act(pool, call, "volume_create") : -1;
    if (status >= 0)
        return status;
    pthread_mutex_lock(&pool->mutex);
    struct sluice_volume *found = find(pool, &args->volume);
    if (found == NULL)
        found = add(pool, args);
    if (found != NULL)
        *ret = *found;
    pthread_mutex_unlock(&pool->mutex);
    if (found == NULL)
        return services->fail(services, call, SLUICE_NO_SPACE, "no room for another volume");
    if (is_meant)
        spoil(pool, "volume_create", ret);
    return SLUICE_OK;
}

static int32_t volume_delete(void *argument, struct sluice_call *call,
                             const struct sluice_uuid *volume) {
    struct pool *pool = argument;
    int32_t status = act(pool, call, "volume_delete");
    if (status >= 0)
        return status;
    pthread_mutex_lock(&pool->mutex);
    struct sluice_volume *found = find(pool, volume);
    if (found != NULL) {
        pool->count--;
        memmove(found, found + 1, (size_t)(&pool->volumes[pool->count] - found) * sizeof *found);
    }
    pthread_mutex_unlock(&pool->mutex);
    return SLUICE_OK;
}

static int32_t volume_get(void *argument, struct sluice_call *call,
                          const struct sluice_uuid *volume, struct sluice_volume *ret) {
    struct pool *pool = argument;
    int32_t status = act(pool, call, "volume_get");
    if (status >= 0)
        return status;
    pthread_mutex_lock(&pool->mutex);
    struct sluice_volume *found = find(pool, volume);
    if (found != NULL)
        *ret = *found;
    pthread_mutex_unlock(&pool->mutex);
    if (found == NULL)
        return SLUICE_NOT_FOUND;
    spoil(pool, "volume_get", ret);
    return SLUICE_OK;
}

static int32_t volume_list(void *argument, struct sluice_call *call, struct sluice_list *list) {
    struct pool *pool = argument;
    int32_t status = act(pool, call, "volume_list");
    if (status >= 0)
        return status;
    struct sluice_volume *entries = list->entries;
    pthread_mutex_lock(&pool->mutex);
    list->count = 0;
    for (uint32_t i = 0; i < pool->count && list->count < list->capacity; i++)
        if (compare(&pool->volumes[i].volume, &list->after) > 0)
            entries[list->count++] = pool->volumes[i];
    pthread_mutex_unlock(&pool->mutex);
    if (list->count > 0)
        spoil(pool, "volume_list", &entries[0]);
    return SLUICE_OK;
}

static int32_t volume_resize(void *argument, struct sluice_call *call,
                             const struct sluice_uuid *volume, uint64_t size_bytes,
                             struct sluice_volume *ret) {
    struct pool *pool = argument;
    int32_t status = act(pool, call, "volume_resize");
    if (status >= 0)
        return status;
    pthread_mutex_lock(&pool->mutex);
    struct sluice_volume *found = find(pool, volume);
    if (found != NULL) {
        found->size_bytes = size_bytes;
        *ret = *found;
    }
    pthread_mutex_unlock(&pool->mutex);
    if (found == NULL)
        return SLUICE_NOT_FOUND;
    spoil(pool, "volume_resize", ret);
    return SLUICE_OK;
}

static const struct sluice_storage storage = {
    .size = sizeof storage,
    .version = SLUICE_STORAGE_VERSION,
    .pool_open = pool_open,
    .pool_close = pool_close,
    .pool_stat = pool_stat,
    .pool_probe = pool_probe,
    .pool_release = pool_release,
    .volume_create = volume_create,
    .volume_delete = volume_delete,
    .volume_get = volume_get,
    .volume_list = volume_list,
    .volume_resize = volume_resize,
};

static const void *table(const char *name, uint32_t version) {
    return strcmp(name, "storage") == 0 && version == SLUICE_STORAGE_VERSION ? &storage : NULL;
}

static const struct sluice_driver driver = {
    .size = sizeof driver,
    .abi = SLUICE_ABI,
    .category = SLUICE_CATEGORY_STORAGE,
    .threads = HOSTILE_THREADS,
    .name = HOSTILE_NAME,
    .version = "0.1.0",
    .start = start,
    .stop = stop,
    .table = table,
};

SLUICE_EXPORT const struct sluice_driver *sluice_driver(void) {
    return &driver;
}
