/* node.c - opening and closing, the timer of all groups, and the turn that ends each round of the
 * loop: queued requests are stepped, groups go on, and what they said leaves together. */
#include "node/node.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/assert.h"
#include "env/log.h"
#include "node/parts.h"
#include "node/rounds.h"

enum { US_PER_MS = 1000 };

void node_options_init(struct node_options *options, uint64_t id)
{
    *options = (struct node_options){
        .id = id,
        .requests_max = 4096,
        .snapshot_entries = 10000,
        .trailing_entries = 1000,
        .snapshot_max_bytes = UINT64_C(256) << 20,
        .recorder_bytes = 64 << 10,
    };
    raft_options_init(&options->raft, id, 0);
    options->raft.message_max_bytes = NODE_ENVELOPE_MAX;
}

/* ---- life ---- */

void node_hold(struct node *node)
{
    node->references++;
}

/* The environment may be gone before the last background work comes back. */
static void close_handles(struct node *node)
{
    env_timer_close(node->timer);
    env_timer_close(node->liveness);
    env_turn_close(node->turn);
    node->timer = node->liveness = NULL;
    node->turn = NULL;
}

static void free_node(struct node *node)
{
    close_handles(node);
    rpc_server_close(node->server);
    node_rounds_free(node);
    node_timers_deinit(&node->timers);
    free(node->entries);
    free(node->bare);
    free(node->configurations);
    peri_buffer_deinit(&node->births);
    free(node->path);
    free(node->listen);
    free(node->snapshots_path);
    void (*on_closed)(void *closed_data) = node->on_closed;
    void *closed_data = node->closed_data;
    free(node);
    if (on_closed != NULL)
        on_closed(closed_data);
}

void node_release(struct node *node)
{
    PERI_ASSERT(node->references > 0);
    if (--node->references == 0)
        free_node(node);
}

void node_opened(struct node *node, int status, const struct peri_error *err)
{
    struct peri_error own = PERI_ERROR_INIT;
    if (node->is_closing)
        return;
    if (status == 0) {
        status = node_inbox_serve(node, &own);
        if (status == 0)
            status = node_liveness_open(node);
        err = &own;
    }
    node->is_open = status == 0;
    node->on_open(node->open_data, status, status == 0 ? NULL : err);
}

static char *join(const char *a, const char *b)
{
    char *text = malloc(strlen(a) + strlen(b) + 1);
    if (text != NULL) {
        memcpy(text, a, strlen(a));
        memcpy(text + strlen(a), b, strlen(b) + 1);
    }
    return text;
}

/* Makes the directories, unless they are there, so that they survive a loss of power. */
static int make_directories(struct node *node, struct peri_error *err)
{
    char *log_path = join(node->path, "/log");
    if (log_path == NULL)
        return peri_fail(err, PERI_ENOMEM, "node %" PRIu64, node->options.id);
    int rc = store_make_directory(node->env, node->path, err);
    if (rc == 0)
        rc = env_path_mkdir(node->env, node->snapshots_path, err);
    if (rc == 0 || rc == -EEXIST) /* what it syncs, both stand in */
        rc = store_make_directory(node->env, log_path, err);
    free(log_path);
    return rc;
}

struct opening {
    struct node *node;
    struct peri_error err;
    int rc;
};

static void run_open(void *data)
{
    struct opening *opening = data;
    struct node *node = opening->node;
    opening->rc = make_directories(node, &opening->err);
    if (opening->rc == 0)
        opening->rc = node_births_load(node, &opening->err);
}

static void on_directories(void *data, int status)
{
    struct opening *opening = data;
    struct node *node = opening->node;
    if (status == 0 && opening->rc == 0 && !node->is_closing)
        opening->rc = node_disk_open(node, &opening->err);
    if (status == 0 && opening->rc != 0)
        node_opened(node, opening->rc, &opening->err);
    free(opening);
    node_release(node);
}

static int check_options(const struct node_options *options, struct peri_error *err)
{
    if (options->id == 0 || options->path == NULL || options->listen == NULL ||
        options->requests_max == 0)
        return peri_fail_plain(
            err, PERI_EINVAL, "a node has an id above 0, a path, an address and room for requests");
    if (options->raft.heartbeat_us < US_PER_MS)
        return peri_fail_plain(err, PERI_EINVAL, "heartbeats are at least 1 ms apart");
    return 0;
}

static void on_timer(void *data);
static void on_turn(void *data);

static int init(struct node *node, struct env *env, const struct node_options *options)
{
    struct peri_slice cluster = options->self.cluster;
    node->env = env;
    node->options = *options;
    /* A directory's cluster is not 0 (store/log.h). */
    node->cluster = XXH3_64bits(cluster.data, cluster.size) | 1;
    node->references = 1;
    node->armed_us = UINT64_MAX;
    env_random(env, &node->incarnation, sizeof node->incarnation);
    struct peri_list *lists[] = {&node->groups, &node->peers, &node->dirty_peers,
                                 &node->dirty_groups};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        peri_list_init(lists[i]);
    for (size_t i = 0; i < NODE_BUCKETS; i++)
        peri_list_init(&node->buckets[i]);
    node->path = join(options->path, "");
    node->listen = join(options->listen, "");
    node->snapshots_path = join(options->path, "/snapshots");
    if (node->path == NULL || node->listen == NULL || node->snapshots_path == NULL)
        return PERI_ENOMEM;
    int rc = env_timer_create(env, on_timer, node, &node->timer);
    return rc == 0 ? env_turn_create(env, on_turn, node, &node->turn) : rc;
}

/* An address that somebody else has is found before anything is made on the disk: a directory
 * belongs to a node once it was born. What is said before the node is open is lost. */
static int start_opening(struct opening *opening, struct env *env,
                         const struct node_options *options, struct peri_error *err)
{
    struct node *node = opening->node;
    int rc = init(node, env, options);
    if (rc != 0)
        return peri_fail(err, rc, "node %" PRIu64, options->id);
    rc = rpc_server_open(&node->server, env, &node->options.self, node->listen, err);
    if (rc != 0)
        return rc;
    rc = env_work(env, run_open, on_directories, opening);
    return rc == 0 ? 0 : peri_fail(err, rc, "node %" PRIu64, options->id);
}

int node_open(struct node **out, struct env *env, const struct node_options *options,
              void (*on_open)(void *data, int status, const struct peri_error *err), void *data,
              struct peri_error *err)
{
    int rc = check_options(options, err);
    if (rc != 0)
        return rc;
    struct node *node = calloc(1, sizeof *node);
    struct opening *opening = calloc(1, sizeof *opening);
    if (node == NULL || opening == NULL) {
        free(node);
        free(opening);
        return peri_fail(err, PERI_ENOMEM, "node %" PRIu64, options->id);
    }
    opening->node = node;
    node->on_open = on_open;
    node->open_data = data;
    rc = start_opening(opening, env, options, err);
    if (rc != 0) {
        free(opening);
        free_node(node);
        return rc;
    }
    node_hold(node);
    *out = node;
    return 0;
}

void node_close(struct node *node, void (*on_closed)(void *data), void *data)
{
    if (node == NULL)
        return;
    node->is_closing = true;
    node->on_closed = on_closed;
    node->closed_data = data;
    while (!peri_list_is_empty(&node->groups))
        node_group_close(container_of(node->groups.next, struct node_group, link));
    rpc_server_close(node->server);
    node->server = NULL;
    node_peers_close(node);
    node_rounds_close(node);
    node_disk_close(node);
    close_handles(node);
    node_release(node);
}

/* ---- groups by id ---- */

static struct peri_list *bucket_of(const struct node *node, uint64_t id)
{
    uint64_t mixed = id * UINT64_C(0x9e3779b97f4a7c15);
    return (struct peri_list *)&node->buckets[mixed >> 32 & (NODE_BUCKETS - 1)];
}

struct node_group *node_group_find(struct node *node, uint64_t id)
{
    struct peri_list *bucket = bucket_of(node, id);
    for (struct peri_list *at = bucket->next; at != bucket; at = at->next) {
        struct node_group *group = container_of(at, struct node_group, bucket);
        if (group->id == id)
            return group;
    }
    return NULL;
}

void node_group_link(struct node_group *group)
{
    peri_list_append(&group->node->groups, &group->link);
    peri_list_append(bucket_of(group->node, group->id), &group->bucket);
}

/* ---- time and turns ---- */

void node_arm(struct node *node)
{
    const struct node_group *group = node_timers_first(&node->timers);
    uint64_t due_us = group != NULL ? group->due_us : UINT64_MAX;
    if (due_us == node->armed_us || node->is_closing)
        return;
    node->armed_us = due_us;
    if (due_us == UINT64_MAX) {
        env_timer_stop(node->timer);
        return;
    }
    uint64_t now_us = env_now_us(node->env);
    env_timer_start(node->timer, due_us > now_us ? due_us - now_us : 0);
}

static void on_timer(void *data)
{
    struct node *node = data;
    uint64_t now_us = env_now_us(node->env);
    struct node_group *group = node_timers_first(&node->timers);
    node->armed_us = UINT64_MAX;
    node_hold(node);
    while (group != NULL && group->due_us <= now_us) {
        node_timers_set(&node->timers, group, UINT64_MAX);
        node_group_on_time(group, now_us);
        group = node_timers_first(&node->timers);
    }
    node_arm(node);
    node_release(node);
}

void node_wake(struct node *node)
{
    if (node->is_closing || node->is_turning)
        return;
    node->is_turning = true;
    env_turn_start(node->turn);
}

/* Whatever woke the groups has been served; new work for the same group comes next turn. */
static void on_turn(void *data)
{
    struct node *node = data;
    struct peri_list now;
    peri_list_init(&now);
    node_hold(node);
    if (!node->is_closing)
        node_disk_flush(node); /* what a leader sent, while what it committed is applied */
    while (!peri_list_is_empty(&node->dirty_groups)) {
        struct peri_list *first = node->dirty_groups.next;
        peri_list_remove(first);
        peri_list_append(&now, first);
    }
    while (!peri_list_is_empty(&now)) {
        struct node_group *group = container_of(now.next, struct node_group, dirty);
        peri_list_remove(&group->dirty);
        node_group_hold(group);
        node_requests_place(group);
        node_group_run(group);
        node_requests_place(group); /* what was asked by those whose requests have just ended */
        node_group_release(group);
    }
    /* The disk begins before the network is told: that takes longer, and then nobody waits. */
    if (!node->is_closing)
        node_disk_flush(node);
    if (!node->is_closing)
        node_peers_flush(node);
    if (!node->is_closing && peri_list_is_empty(&node->dirty_groups) &&
        peri_list_is_empty(&node->dirty_peers)) {
        node->is_turning = false;
        env_turn_stop(node->turn);
    }
    node_release(node);
}

/* ---- the rest ---- */

void node_tell(struct node *node, const struct node_event *event)
{
    if (node->options.on_event != NULL && !node->is_closing)
        node->options.on_event(node->options.data, event);
}

void node_fence(struct node *node, int status)
{
    if (node->is_fenced || node->is_closing)
        return;
    node->is_fenced = true;
    node->fenced_by = status;
    env_log(node->env, ENV_LOG_ERROR, "node",
            "the disk of node %" PRIu64 " failed (%s): it is fenced, and takes part in nothing",
            node->options.id, peri_strerror(status));
    for (struct peri_list *at = node->groups.next; at != &node->groups; at = at->next) {
        struct node_group *group = container_of(at, struct node_group, link);
        group->is_failing = true;
        node_group_wake(group);
    }
    node_tell(node, &(struct node_event){.type = NODE_FENCED, .status = status});
}

int node_fail_fenced(const struct node *node, uint64_t group, struct peri_error *err)
{
    return peri_fail_plain(
        err, PERI_EFENCED,
        "group %" PRIu64 ": the disk of node %" PRIu64
        " failed (%s), and the node was fenced: see to the disk and start it again",
        group, node->options.id, peri_strerror(node->fenced_by));
}

const char *node_address(const struct node *node)
{
    return node->server != NULL ? rpc_server_address(node->server) : node->listen;
}

void node_stats(const struct node *node, struct node_stats *out)
{
    *out = node->stats;
    out->groups = 0;
    for (const struct peri_list *at = node->groups.next; at != &node->groups; at = at->next)
        out->groups++;
}
