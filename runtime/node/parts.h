/* parts.h - what the files of this folder do for each other; state.h has what they share.
 *
 *   node.c      opening and closing, the timer, the turn at the end of each round of the loop
 *   inbox.c     what other nodes say
 *   peer.c      what is said to them: one envelope a peer and round
 *   group.c     a replica: steps of its core, and what follows from them
 *   actions.c   carrying out what a step wants: records, messages, windows
 *   apply.c     the machine's tasks, one at a time
 *   request.c   requests from their start to their outcome
 *   disk.c      the one place that talks to the log of the store
 *   snapshot.c  taking snapshots, beginning from them; transfer.c moving them; snapshot_file.c
 * files timers.c    groups by when they are due members.c   configurations with addresses, as bytes
 *   fault.c     what is kept of a replica that cannot go on
 *   explain.c   why a group does not do what it was asked for
 *   births.c    which disk a node is on; birth.c: which this one is on
 *   repair.c    replicas whose disk has lost something
 *   recorder.c  the last events of a core, to be replayed */
#ifndef PERI_NODE_PARTS_H
#define PERI_NODE_PARTS_H

#include "node/state.h"

/* ---- node.c ---- */

/* Has the turn come, in this round of the loop. */
void node_wake(struct node *node);
/* Starts the timer for the group that is due first. */
void node_arm(struct node *node);
/* Tells observers. */
void node_tell(struct node *node, const struct node_event *event);
/* The disk has failed: fences every group. */
void node_fence(struct node *node, int status);
/* Says of a fenced node why it is. Returns PERI_EFENCED. */
int node_fail_fenced(const struct node *node, uint64_t group, struct peri_error *err);
/* Keeps the node, or lets it end when it was closed. */
void node_hold(struct node *node);
void node_release(struct node *node);
void node_group_link(struct node_group *group);

/* ---- group.c ---- */

/* Steps the core and carries out its actions; what follows is node_group_run's. */
int node_group_step(struct node_group *group, struct node_step *step);
/* Does what can be done: sends, applies, answers. */
void node_group_run(struct node_group *group);
/* Has the group's turn come. */
void node_group_wake(struct node_group *group);
/* Puts the group's timer where its core and its requests want it. */
void node_group_schedule(struct node_group *group);
/* Its time has come. */
void node_group_on_time(struct node_group *group, uint64_t now_us);
/* The replica cannot go on: its requests end, its core is gone. */
void node_group_fail(struct node_group *group, const struct peri_error *err);
/* One operation of the group ended; frees a closed one with the last. */
void node_group_hold(struct node_group *group);
void node_group_release(struct node_group *group);
/* The core begins with what was found on the disk; why: what is wrong with that, if anything. */
void node_group_begin(struct node_group *group, const struct raft_boot *boot, const char *why);

/* ---- explain.c ---- */

/* Says why the core refused: who leads, who is missing since when, what helps. Returns rc. */
int node_group_explain(const struct node_group *group, int rc, struct peri_error *err);

/* ---- actions.c ---- */

/* Carries out the actions of the step that has just been made, in their order. */
void node_carry_out(struct node_group *group, const struct node_step *step);
/* Sends what waited for records that are durable now. */
void node_release_held(struct node_group *group);
/* There was no memory to send or to read what the core counts as under way, whoever it was for. */
void node_lose(struct node_group *group, bool is_snapshot);
/* Tells the core of that, which then finds out where its followers stand. */
void node_tell_lost(struct node_group *group);

/* ---- apply.c ---- */

/* Does one thing for the machine; false when there is nothing to do but wait. */
bool node_apply_advance(struct node_group *group);
/* The machine's state is now that of a snapshot. */
void node_apply_restored(struct node_group *group, uint64_t index, uint64_t term);
/* Entry (index, type) comes from the disk. */
void node_apply_on_entry(struct node_group *group, uint64_t index,
                         const struct store_log_entry *entry);

/* ---- request.c ---- */

/* Steps what is queued. */
void node_requests_place(struct node_group *group);
/* There is a leader: those that wait for one are queued. */
void node_requests_resume(struct node_group *group);
/* Entry (index, term) was applied: ends whoever proposed it, or another one in its place. */
void node_requests_applied(struct node_group *group, uint64_t index, uint64_t term, int status,
                           const struct node_task *task);
/* All entries up to index stand in a snapshot whose last has that term. */
void node_requests_overtaken(struct node_group *group, uint64_t index, uint64_t term);
void node_requests_reads_ready(struct node_group *group, uint64_t last);
void node_requests_reads_dropped(struct node_group *group, uint64_t first, uint64_t last);
/* Ends those that are due; *requests_due_us is when the next is. */
void node_requests_expire(struct node_group *group, uint64_t now_us);
void node_requests_fail_all(struct node_group *group, const struct peri_error *err);
/* Takes the request out of its list and tells its owner. */
void node_request_end(struct node_request *request, enum node_certainty certainty,
                      struct peri_slice result, const struct peri_error *err);

/* Ends it as failed, as one that may have happened when it has a place in the log. */
void node_request_fail(struct node_request *request, const struct peri_error *err);
/* Of a list that is not empty. */
struct node_request *node_requests_first(struct peri_list *list);

/* ---- peer.c ---- */

/* Notes where a node is; a new address replaces the old one. Errors: PERI_EINVAL, PERI_ENOMEM. */
int node_peer_set(struct node *node, uint64_t id, struct peri_slice address,
                  struct peri_error *err);
struct node_peer *node_peer_find(const struct node *node, uint64_t id);
/* Connects to the members of a group, before there is anything to say: votes are asked for once,
 * and not again within an election timeout. */
void node_peers_connect(const struct node_group *group);
/* Starts an envelope for a node at the end of out. Errors: PERI_ENOMEM, out unchanged. */
int node_peer_envelope(const struct node *node, uint64_t to, struct peri_buffer *out);
/* Puts a message into the envelope for its peer; what cannot be sent is lost. */
void node_peer_send(struct node_group *group, const struct raft_message *message,
                    const struct store_log_entry *entries);
/* Says on which disk this node is, now or once there is a connection. */
void node_peer_introduce(struct node_peer *peer);
/* Says nothing but that this node is there. */
void node_peer_ping(struct node_peer *peer);
/* Sends the envelopes. */
void node_peers_flush(struct node *node);
void node_peers_close(struct node *node);
/* The client of a peer; NULL when its address is not known or there is no memory. */
struct rpc_client *node_peer_client(struct node_peer *peer);

/* ---- liveness.c ---- */

/* Errors: PERI_ENOMEM. */
int node_liveness_open(struct node *node);
/* An envelope has come. */
void node_liveness_heard(struct node *node, uint64_t id, uint64_t incarnation);
/* Tells the group which of its members are up. */
void node_liveness_tell(struct node_group *group);

/* ---- births.c ---- */

/* Reads, or makes, the birth of this disk, and what is known of the others'. Blocks. Errors:
 * PERI_ECORRUPT, errno codes, PERI_ENOMEM. */
int node_births_load(struct node *node, struct peri_error *err);
/* Blocking. A birth of which no copy is intact is forgotten, so that the next start makes another:
 * for data that go on without those who knew it. Errors: errno codes, PERI_ENOMEM. */
int node_births_renew(struct env *env, const char *data, struct peri_error *err);
/* The birth of another node's disk, and the last known age; 0 when it is not known. */
uint64_t node_births_of(const struct node *node, uint64_t id, uint64_t *age);
/* Looks whose disk an envelope comes from, and for whose it is; remembers one that is new. Errors:
 * PERI_EPROTOCOL when one of the two is not the one that was known, or an older copy of it: it may
 * not be heard. */
int node_births_check(struct node *node, const struct node_envelope *envelope,
                      struct peri_error *err);
/* Opens the envelope that is the argument of a call which says `what`; it is lent as args are.
 * Errors: PERI_EFORMAT, PERI_ECLUSTER for another's, those of node_births_check. */
int node_envelope_take(struct node *node, struct peri_slice args, const char *what,
                       struct node_envelope *out, struct peri_error *err);

/* ---- inbox.c ---- */

/* Serves what other nodes call. Errors: PERI_ENOMEM. */
int node_inbox_serve(struct node *node, struct peri_error *err);
/* Gives a message to its group. */
void node_inbox_take(struct node_group *group, const struct node_message *message);
/* The bytes in a call's arguments, [bytes]. Errors: PERI_EFORMAT. */
int node_args_get(struct peri_slice args, struct peri_slice *out, struct peri_error *err);
/* Bytes before those of an argument, and their place in [bytes]. */
enum { NODE_ARGS_HEAD = 6 };
void node_args_put_head(char out[NODE_ARGS_HEAD], size_t size);

/* ---- disk.c ---- */

/* Opens the log; ends in node_opened. Errors: PERI_ENOMEM, ... */
int node_disk_open(struct node *node, struct peri_error *err);
void node_disk_close(struct node *node);
/* Finds out what the disk has of a group, creating it when there is nothing; ends in
 * node_group_begin or node_group_fail. */
void node_disk_begin(struct node_group *group);
/* The group has ended, and so have its writes: it may be opened again. */
void node_disk_end(struct node_group *group);
/* Writes a record; its entries and members are copied. */
void node_disk_write(struct node_group *group, const struct raft_record *record,
                     const struct store_log_entry *entries);
/* Begins to write what was handed over, with no wait for the end of the round. */
void node_disk_flush(struct node *node);
/* The entries first .. last, when all are in memory; payloads are lent until the next write. */
bool node_disk_recent(struct node_group *group, uint64_t first, uint64_t last,
                      struct store_log_entry *out);

typedef void (*node_disk_read_cb)(struct node_group *group, void *data, int status, uint64_t first,
                                  const struct store_log_entry *entries, size_t count);
/* Reads entries first..last, at least one and no more than size_max bytes; entries are lent for the
 * the callback, which runs once, with PERI_ECANCELLED when the node is closed. Errors: PERI_ENOMEM;
 * PERI_ECANCELLED when it is being closed; with nothing started. */
int node_disk_read(struct node_group *group, uint64_t first, uint64_t last, uint64_t size_max,
                   node_disk_read_cb callback, void *data);
/* True while commands are refused for want of room (store_log_is_full). */
bool node_disk_is_full(const struct node *node);
/* As store_log_blocker. */
bool node_disk_blocker(const struct node *node, uint64_t *group, uint64_t *index);
/* The group, which was suspect or damaged, is well again. */
void node_disk_set_repaired(struct node_group *group);
/* The term that a log had at an index when it was found; 0 outside of it. */
uint64_t node_disk_term_in(const struct raft_boot *boot, uint64_t index);
/* Says of a directory whose log did not open with status what people can do about it. */
void node_disk_explain(const char *path, int status, struct peri_error *err);
/* What the log holds of the group is of no use: *boot becomes that of an empty one, and the group
 * damaged. Errors: as store_log_reset. */
int node_disk_reset(struct node_group *group, struct raft_boot *boot, struct raft_history *first);
/* Entries up to index, which lies in the core's log, are not needed any more. */
void node_disk_cut(struct node_group *group, uint64_t index);

/* compact.c: looks, now and then, which group keeps an old generation of the log, and asks it for a
 * snapshot. */
void node_compact_blocker(struct node *node);
void node_opened(struct node *node, int status, const struct peri_error *err);

/* ---- repair.c ---- */

/* The group's disk has lost something, which why says. Errors: PERI_ENOMEM. */
int node_repair_begin(struct node_group *group, const char *why);
void node_repair_close(struct node_group *group);
/* When it has something to do, and does it. */
uint64_t node_repair_due_us(const struct node_group *group);
void node_repair_on_time(struct node_group *group, uint64_t now_us);
/* An entry was applied: the group may be whole now. */
void node_repair_advance(struct node_group *group);
/* True when the group may hear the message. */
bool node_repair_hears(struct node_group *group, const struct raft_message *message);
/* True while the group hears none. */
bool node_repair_is_deaf(const struct node_group *group);
/* What its disk has lost; "" of a whole group. */
const char *node_repair_why(const struct node_group *group);
/* True when that replica said lately that its disk has lost something. */
bool node_repair_is_ailing(const struct node_group *group, uint64_t id,
                           enum store_log_health *health);
/* Serves a question of such a replica. */
void node_repair_on_call(struct rpc_call *call);

/* ---- members.c ---- */

/* Appends a configuration with the addresses that the node knows. Errors: PERI_ENOMEM. */
int node_members_put(const struct node *node, const struct raft_configuration *members,
                     struct peri_buffer *out);
/* Reads one. Errors: PERI_EFORMAT. */
int node_members_get(struct peri_slice bytes, struct raft_configuration *out,
                     struct peri_slice *addresses, struct peri_error *err);
/* Notes the addresses that came with a configuration. Errors: PERI_EFORMAT, PERI_ENOMEM. */
int node_members_learn(struct node *node, struct peri_slice bytes, struct peri_error *err);

/* Looks up, in the background, the addresses that stand in the log: a member that is not committed
 * yet may lead. What cannot be read is learned when it is applied. */
void node_members_recall(struct node_group *group, const struct raft_boot *boot);

/* ---- fault.c ---- */

/* Writes the group's flight recorder to a file, in the background. */
void node_fault_keep(struct node_group *group);

/* ---- snapshot.c ---- */

/* The group has no snapshots yet. Errors: PERI_ENOMEM. */
int node_snapshots_open(struct node_group *group);
void node_snapshots_close(struct node_group *group);
/* Looks for the newest snapshot that fits to the log; goes on in node_group_begin or
 * node_group_fail. What boot points to, and why, are lent until then. */
void node_snapshots_boot(struct node_group *group, const struct raft_boot *boot, const char *why);
/* True when a snapshot shall be taken now. */
bool node_snapshots_are_due(const struct node_group *group);
/* Has the machine write its state, which it may do beside what else it is asked for. */
void node_snapshots_take(struct node_group *group);
/* It has written it, or could not. */
void node_snapshots_taken(struct node_group *group);
/* A snapshot shall go to a peer. */
void node_snapshots_send(struct node_group *group, const struct raft_message *message);
/* A record installs the snapshot that was staged for the step. */
void node_snapshots_install(struct node_group *group, const struct raft_record *record);
/* True when the machine shall be restored now, from *state, which is lent until that is done; a
 * machine that keeps keys, from what the state store has. */
bool node_snapshots_to_restore(struct node_group *group, struct peri_slice *state, uint64_t *index,
                               uint64_t *term);
/* The machine has been restored from it. */
void node_snapshots_restored(struct node_group *group);
/* Ends what is being sent and received. */
void node_transfers_close(struct node_snapshots *snapshots);
/* Serves a piece of a snapshot; nobody waits for the answer any more. */
void node_snapshots_on_call(struct rpc_call *call);
void node_snapshots_on_cancel(struct rpc_call *call, int code, const char *reason);

#endif
