/* A peer that knows the secret and means ill, at the port of nodes in a simulated world: bytes that
 * are no messages, messages of others or for others, messages that no correct peer sends, and lies.
 * What cannot be is refused and changes nothing; lies may confuse a group, but nobody crashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/parts.h"
#include "node_cluster.h"

enum { S = CLUSTER_S, MS = CLUSTER_MS, SEEDS = 10, ROUNDS = 300, BYTES_MAX = 3000, FAR = 1000000 };

static const char *const methods[] = {"raft.messages", "raft.snapshot", "raft.chunk",
                                      "raft.repair"};

static uint64_t state_of_random;

static uint64_t draw(uint64_t below)
{
    uint64_t z = state_of_random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    return (z ^ z >> 31) % below;
}

/* ---- the peer ---- */

struct evil {
    struct cluster *cluster;
    struct sim_node *sim;
    struct rpc_identity self;
    struct rpc_client *clients[CLUSTER_MAX];
    struct peri_buffer last; /* what was said before */
};

static int on_start(void *data, struct sim_node *sim)
{
    struct evil *evil = data;
    evil->self = evil->cluster->hosts[0].self;
    evil->self.node = peri_slice_of("evil", 4);
    for (size_t i = 0; i < evil->cluster->count; i++)
        assert_int_equal(rpc_client_open(&evil->clients[i], sim_node_env(sim), &evil->self,
                                         evil->cluster->hosts[i].name, NULL),
                         0);
    return 0;
}

static void on_down(void *data, struct sim_node *sim, enum sim_down how)
{
    struct evil *evil = data;
    (void)sim;
    (void)how;
    for (size_t i = 0; i < evil->cluster->count; i++)
        rpc_client_close(evil->clients[i]);
}

static void join(struct evil *evil, struct cluster *cluster)
{
    static const struct sim_node_events events = {on_start, on_down};
    *evil = (struct evil){.cluster = cluster};
    assert_int_equal(sim_node_create(cluster->world, "evil", &events, evil, &evil->sim, NULL), 0);
    cluster_commit(cluster, "a");
    assert_int_equal(sim_node_start(evil->sim, NULL), 0);
    cluster_run(cluster, 100 * (uint64_t)MS);
}

/* Says the bytes to a node. */
static void say(struct evil *evil, const struct cluster_host *to, const char *method,
                struct peri_slice bytes)
{
    struct peri_buffer args = {NULL, 0, 0};
    char head[NODE_ARGS_HEAD];
    node_args_put_head(head, bytes.size);
    assert_int_equal(peri_buffer_append(&args, head, sizeof head), 0);
    assert_int_equal(peri_buffer_append(&args, bytes.data, bytes.size), 0);
    uint64_t due_us = env_now_us(sim_node_env(evil->sim)) + S;
    (void)rpc_client_cast(evil->clients[to->id - 1], peri_slice_of(method, strlen(method)),
                          peri_buffer_slice(&args), due_us, true, NULL);
    peri_buffer_deinit(&args);
}

/* ---- envelopes ---- */

/* As the node from would write it, all of whom run. */
static void begin(const struct evil *evil, struct peri_buffer *out, uint64_t from, uint64_t to)
{
    const struct cluster_host *hosts = evil->cluster->hosts;
    const struct node_envelope envelope = {.cluster = hosts[0].node->cluster,
                                           .from = from,
                                           .to = to,
                                           .incarnation = 1,
                                           .from_disk = hosts[from - 1].node->disk_birth,
                                           .from_age = hosts[from - 1].node->disk_age,
                                           .to_disk = hosts[to - 1].node->disk_birth,
                                           .address = peri_slice_of("evil", 4)};
    out->size = 0;
    assert_int_equal(node_envelope_begin(out, &envelope), 0);
}

static void put(struct peri_buffer *out, const struct raft_message *message,
                enum raft_entry_type type, uint64_t entry_term)
{
    struct store_log_entry entries[4];
    for (size_t i = 0; i < 4; i++)
        entries[i] = (struct store_log_entry){entry_term, type, peri_slice_of("garbage", 7)};
    assert_int_equal(node_message_put(out, 1, message, entries), 0);
}

static uint64_t draw_number(uint64_t near)
{
    switch (draw(6)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX - draw(2);
    case 2:
        return draw(UINT64_MAX);
    default:
        return near + draw(5) - (near > 2 ? 2 : 0);
    }
}

/* A message with fields from anywhere. */
static struct raft_message draw_message(const struct raft_status *status, uint64_t from,
                                        uint64_t to)
{
    struct raft_message message = {.type = (enum raft_message_type)draw(RAFT_READ_INDEX_REPLY + 1),
                                   .from = from,
                                   .to = to,
                                   .success = draw(2) == 0,
                                   .is_transfer = draw(4) == 0,
                                   .is_sleepy = draw(4) == 0,
                                   .term = draw_number(status->term),
                                   .index = draw_number(status->last_index),
                                   .log_term = draw_number(status->term),
                                   .commit = draw_number(status->commit_index),
                                   .round = draw_number(10),
                                   .sent_us = draw_number(S)};
    message.last = draw_number(message.index);
    if (message.type == RAFT_APPEND_ENTRIES && message.last - message.index > 4)
        message.last = message.index + draw(5);
    return message;
}

/* ---- what cannot be ---- */

static void garbage(struct evil *evil, const struct cluster_host *to)
{
    char bytes[BYTES_MAX];
    size_t size = draw(BYTES_MAX);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)draw(256);
    say(evil, to, methods[draw(4)], peri_slice_of(bytes, size));
}

/* What a real message says, but for another cluster or node, of another version, or cut. */
static void strange(struct evil *evil, const struct cluster_host *to)
{
    struct peri_buffer out = {NULL, 0, 0};
    struct raft_message message = {.type = RAFT_REQUEST_VOTE, .from = 2, .to = to->id, .term = 50};
    uint64_t choice = draw(4), other = to->id % 3 + 1;
    begin(evil, &out, other, choice == 1 ? other : to->id);
    put(&out, &message, RAFT_COMMAND, 1);
    if (choice == 0)
        out.data[1] ^= 0x40;
    else if (choice == 2)
        out.data[0] ^= 0x40;
    else if (choice == 3)
        out.size -= 1 + draw(out.size - 1);
    say(evil, to, methods[draw(4)], peri_buffer_slice(&out));
    peri_buffer_deinit(&out);
}

/* Messages that contradict what everybody knows of the term, the log or the members. */
static void impossible(struct evil *evil, const struct cluster_host *leader)
{
    struct peri_buffer out = {NULL, 0, 0};
    struct raft_status status;
    raft_status(leader->machines[0].group->raft, &status);
    const struct cluster_host *follower = &evil->cluster->hosts[leader->id % 3];
    struct raft_message to_leader = {.from = follower->id, .to = leader->id, .term = status.term};
    struct raft_message to_follower = {.from = leader->id, .to = follower->id, .term = status.term};
    uint64_t choice = draw(7);
    begin(evil, &out, choice < 5 ? follower->id : leader->id,
          choice < 5 ? leader->id : follower->id);
    switch (choice) {
    case 0: /* a second leader of the term */
        to_leader.type = RAFT_APPEND_ENTRIES;
        to_leader.index = status.last_index;
        to_leader.log_term = status.term;
        to_leader.last = status.last_index + 1 + draw(3);
        put(&out, &to_leader, RAFT_COMMAND, status.term);
        break;
    case 1: /* holds what was never written */
        to_leader.type = RAFT_APPEND_ENTRIES_REPLY;
        to_leader.success = true;
        to_leader.index = status.last_index + 1 + draw(FAR);
        put(&out, &to_leader, RAFT_COMMAND, status.term);
        break;
    case 2: /* knows a round that was never asked */
        to_leader.type = RAFT_HEARTBEAT_REPLY;
        to_leader.success = true;
        to_leader.round = FAR;
        put(&out, &to_leader, RAFT_COMMAND, status.term);
        break;
    case 3: /* a second leader's heartbeat */
        to_leader.type = RAFT_HEARTBEAT;
        to_leader.commit = status.last_index + FAR;
        put(&out, &to_leader, RAFT_COMMAND, status.term);
        break;
    case 4: /* nobody */
        to_leader.type = RAFT_REQUEST_VOTE_REPLY;
        to_leader.term = 0;
        put(&out, &to_leader, RAFT_COMMAND, status.term);
        break;
    case 5: /* members that are none */
        to_follower.type = RAFT_APPEND_ENTRIES;
        to_follower.index = status.last_index;
        to_follower.log_term = raft_term_at(leader->machines[0].group->raft, status.last_index);
        to_follower.last = status.last_index + 1;
        put(&out, &to_follower, RAFT_CONFIGURATION, status.term);
        break;
    default: /* an entry of a later term than its message */
        to_follower.type = RAFT_APPEND_ENTRIES;
        to_follower.index = status.last_index;
        to_follower.log_term = raft_term_at(leader->machines[0].group->raft, status.last_index);
        to_follower.last = status.last_index + 1;
        put(&out, &to_follower, RAFT_COMMAND, status.term + FAR);
        break;
    }
    say(evil, choice < 5 ? leader : follower, methods[0], peri_buffer_slice(&out));
    peri_buffer_deinit(&out);
}

/* What all nodes heard, and what of that they refused. */
static void count(const struct cluster *cluster, uint64_t *heard, uint64_t *refused)
{
    *heard = *refused = 0;
    for (size_t i = 0; i < cluster->count; i++) {
        struct node_stats stats;
        node_stats(cluster->hosts[i].node, &stats);
        *heard += stats.messages_heard;
        *refused += stats.messages_refused;
    }
}

/* Whatever comes, the group goes on: under the same leader, and with the same term. */
static void test_what_cannot_be(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *cluster = cluster_create(seed, 3, 3);
        struct evil evil;
        struct raft_status before, after;
        char text[16];
        state_of_random = seed;
        join(&evil, cluster);
        struct cluster_host *leader = cluster_leader(cluster, NULL);
        raft_status(leader->machines[0].group->raft, &before);
        for (int i = 0; i < ROUNDS; i++) {
            switch (draw(3)) {
            case 0:
                garbage(&evil, &cluster->hosts[draw(3)]);
                break;
            case 1:
                strange(&evil, &cluster->hosts[draw(3)]);
                break;
            default:
                impossible(&evil, leader);
                break;
            }
            if (i % 30 == 0) {
                (void)snprintf(text, sizeof text, "%d", i);
                cluster_commit(cluster, text);
            }
            cluster_run(cluster, draw(5 * (uint64_t)MS));
        }
        raft_status(leader->machines[0].group->raft, &after);
        assert_int_equal(after.role, RAFT_LEADER);
        assert_int_equal(after.term, before.term);
        uint64_t heard, refused;
        count(cluster, &heard, &refused);
        assert_in_range(refused, ROUNDS / 3, ROUNDS * 2);
        assert_string_equal(cluster_settle(cluster), "a;0;30;60;90;120;150;180;210;240;270;");
        cluster_close(cluster);
        peri_buffer_deinit(&evil.last);
    }
}

/* ---- lies ---- */

static void lie(struct evil *evil, const struct cluster_host *to)
{
    struct raft_status status;
    struct node_status node_status;
    struct peri_buffer *out = &evil->last;
    if (out->size == 0 || draw(8) != 0) { /* else the same again */
        node_group_status(to->machines[0].group, &node_status);
        status = node_status.raft;
        uint64_t from = to->id % 3 + 1;
        begin(evil, out, from, to->id);
        for (uint64_t i = draw(3); i < 4; i++) {
            struct raft_message message = draw_message(&status, from, to->id);
            put(out, &message, (enum raft_entry_type)draw(3), draw_number(status.term));
        }
        if (draw(4) == 0) { /* the rest of a piece of a snapshot, or of a chunk */
            char bytes[64];
            for (size_t i = 0; i < sizeof bytes; i++)
                bytes[i] = (char)draw(draw(2) == 0 ? 256 : 3);
            assert_int_equal(peri_buffer_append(out, bytes, draw(sizeof bytes)), 0);
        }
    }
    say(evil, to, methods[draw(2) == 0 ? 0 : draw(4)], peri_buffer_slice(out));
}

/* HOSTILE_SEEDS=N: so many. */
static void test_lies(void **state)
{
    (void)state;
    const char *text = getenv("HOSTILE_SEEDS");
    uint64_t seeds = text != NULL ? strtoull(text, NULL, 10) : 4 * SEEDS;
    uint64_t all_heard = 0, all_refused = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct cluster *cluster = cluster_prepare(seed, 3, 3, 1);
        struct evil evil;
        cluster->is_lied_to = true;
        cluster->keeps_keys = seed % 2 == 0;
        cluster_start_all(cluster);
        state_of_random = seed;
        join(&evil, cluster);
        for (int i = 0; i < ROUNDS; i++) {
            static struct cluster_request request;
            struct cluster_host *host = &cluster->hosts[draw(3)];
            lie(&evil, host);
            if (i % 10 == 0) {
                cluster_propose(host, &request, "b", 50 * (uint64_t)MS);
                cluster_await(cluster, &request);
            }
            cluster_run(cluster, draw(20 * (uint64_t)MS));
        }
        cluster_run(cluster, S);
        uint64_t heard, refused;
        count(cluster, &heard, &refused);
        all_heard += heard;
        all_refused += refused;
        cluster_close(cluster);
        peri_buffer_deinit(&evil.last);
    }
    print_message("  %d messages heard, %d refused\n", (int)all_heard, (int)all_refused);
    assert_true(all_refused > seeds * ROUNDS / 3 && all_heard > 2 * all_refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_cannot_be),
        cmocka_unit_test(test_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
