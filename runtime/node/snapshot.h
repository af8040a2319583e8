/* snapshot.h - the snapshots of one group: what snapshot.c, transfer.c and stage.c share. */
#ifndef PERI_NODE_SNAPSHOT_H
#define PERI_NODE_SNAPSHOT_H

#include "node/keys.h"
#include "node/parts.h"
#include "node/snapshot_part.h"

/* A snapshot that comes in pieces from a leader. */
struct node_stage {
    bool is_set;
    bool is_busy;          /* on its way to the disk, or from it */
    bool is_damaged;       /* complete, and not what was sent */
    bool keeps_no_part;    /* the disk refuses: a start begins anew */
    struct node_part part; /* of what has come, on the disk */
    uint64_t kept;         /* bytes of the state that it has */
    struct raft_message message;
    uint64_t total, hash; /* of the state */
    struct node_snapshot snapshot;
    struct rpc_call *call; /* that brought the last piece, and is answered when all is done */
};

struct node_snapshots {
    struct node_group *group;
    uint64_t index, term;    /* of the newest one on the disk; 0: none */
    bool is_wanted;          /* somebody asked for one */
    bool is_damaged;         /* its file cannot be read any more: another one takes its place */
    bool is_writing;         /* one of our own is on its way to the disk */
    uint64_t blocking_index; /* entries up to here keep an old generation of the log */

    struct node_task task;    /* of the machine, when is_taking: it makes one */
    bool is_taking, is_taken; /* the second: it has said how that ended */
    int status;
    uint64_t failed_index; /* of the last one that it could not make */

    struct peri_buffer next; /* the state to restore, once that record is durable */
    uint64_t next_index, next_term, next_seq;
    bool has_next;
    struct peri_buffer current; /* that the machine restores */

    struct node_stage stage;
    struct peri_list sends; /* transfer.c */
};

/* compact.c: cuts the log where the newest snapshot allows it. */
void node_compact(struct node_group *group);

/* The file of the snapshot at index cannot be read: if it is the newest one, it is made anew. */
void node_snapshots_redo(struct node_group *group, uint64_t index);

/* Removes files that a newer snapshot replaces, in the background. */
void node_snapshots_tidy(struct node_group *group);

/* The state up to that index is durable, by other means than a file: the log may be cut. */
void node_snapshots_durable(struct node_group *group, uint64_t index);

/* Numbers before the bytes of a piece. */
enum { NODE_PIECE_HEAD = 3 * 8 + 4 };

/* ---- transfer.c ---- */

/* Begins to send the snapshot that the message names to its receiver, in calls of method. */
void node_transfer_start(struct node_group *group, const struct raft_message *message,
                         const char *method);
/* True while one is sent to that node. */
bool node_transfers_to(const struct node_snapshots *snapshots, uint64_t peer);

/* The oldest snapshot that is being sent: its index; UINT64_MAX: none is. */
uint64_t node_transfers_floor(const struct node_snapshots *snapshots);

/* ---- piece.c ---- */

/* A call that brings a piece of a snapshot to another node. The functions run when it has ended,
 * and may free it. */
struct node_piece {
    struct node_group *group;
    const char *method;
    uint64_t timeouts; /* election timeouts that an answer may take */
    struct raft_message message;
    void (*on_position)(struct node_piece *piece, uint64_t position);
    void (*on_failed)(struct node_piece *piece, const char *why);
    struct peri_buffer args;
    struct rpc_request request;
    unsigned attempts;
    bool is_calling;
};

/* Begins args with the message in front. Errors: PERI_ENOMEM. */
int node_piece_begin(struct node_piece *piece);
/* Sends what args hold by now. */
void node_piece_send(struct node_piece *piece);
/* Frees what it holds; a call under way ends without a word. */
void node_piece_deinit(struct node_piece *piece);
/* Says why the snapshot did not get there. */
void node_piece_blame(const struct node_piece *piece, const char *why);
/* Tells the core how the snapshot for peer ended, when the piece is no more. */
void node_piece_ended(struct node_group *group, uint64_t peer, bool success);

/* ---- stage.c ---- */

/* Takes a call's arguments apart: the message, which is an InstallSnapshot for this node, and what
 * stands behind it. Errors: PERI_EFORMAT, PERI_ECLUSTER. */
int node_piece_open(struct node *node, struct peri_slice args, struct node_message *message,
                    struct peri_slice *rest, struct peri_error *err);

/* One piece of transfer.c, lent from the arguments of a call. */
struct node_stage_piece {
    struct node_message message;
    uint64_t total, offset, hash;
    struct peri_slice members, state;
};
/* Reads it. Errors: as node_piece_open. */
int node_stage_read(struct node *node, struct peri_slice args, struct node_stage_piece *out,
                    struct peri_error *err);
/* Puts the piece behind what is there; a snapshot that is not the staged one replaces it. Errors:
 * PERI_ENOMEM; PERI_ECORRUPT when it was the last one, and the whole is not what was sent. */
int node_stage_put(struct node_group *group, struct node_stage *stage,
                   const struct node_stage_piece *piece);

/* Answers where to go on; refuses. */
void node_piece_answer(struct rpc_call *call, uint64_t next);
void node_piece_refuse(struct rpc_call *call, int code, const char *why);

/* The group is closed: who waits for an answer gets a failure. */
void node_stage_abandon(struct node_stage *stage);

/* What a snapshot holds is here already: the core tells the leader, who would send it for ever. */
void node_stage_confirm(struct node_group *group, const struct raft_message *message);

/* Forgets what was received. */
void node_stage_clear(struct node_stage *stage);

/* ---- stream.c: sending the snapshots of machines that keep keys ---- */

/* Begins to send a snapshot to the message's receiver. Called inside of a step. */
void node_stream_start(struct node_group *group, const struct raft_message *message,
                       const char *method);
/* The store was opened again, and views of it have ended: those who begin get a new one. */
void node_streams_renew(struct node_group *group);
/* True while one is on its way to that node. */
bool node_streams_to(const struct node_group *group, uint64_t peer);
/* Ends what is being sent; sets free what would be sent again. */
void node_streams_close(struct node_group *group);
/* As node_transfers_floor. */
uint64_t node_streams_floor(const struct node_group *group);

/* ---- intake.c: receiving them ---- */

/* Serves a chunk; nobody waits for the answer any more. */
void node_intake_on_call(struct rpc_call *call);
/* The same for a chunk of a state that takes the place of a wrong one (rebuild.c). */
void node_intake_on_state(struct rpc_call *call);
void node_intake_on_cancel(struct rpc_call *call, int code, const char *reason);
/* The core has accepted the snapshot that has come: it is installed once its record is durable. */
void node_intake_accept(struct node_keys *keys);
/* Makes the accepted snapshot, if there is one, the state; then the machine is told. */
void node_intake_restore(struct node_group *group);
/* The group is closed; is freed. */
void node_intake_abandon(struct node_keys *keys);
void node_intake_free(struct node_keys *keys);

/* ---- resume.c ---- */

/* Finds out what the state store has of a group; goes on in node_group_begin or node_group_fail.
 * What boot points to, and why, are lent until then; boot is NULL for a group that is new. */
void node_resume(struct node_group *group, const struct raft_boot *boot, const char *why);

#endif
