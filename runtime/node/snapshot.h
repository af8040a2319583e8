/* snapshot.h - the snapshots of one group: what snapshot.c, transfer.c and stage.c share. */
#ifndef PERI_NODE_SNAPSHOT_H
#define PERI_NODE_SNAPSHOT_H

#include "node/state.h"

/* A snapshot that comes in pieces from a leader. */
struct node_stage {
    bool is_set;
    bool is_writing; /* complete; on its way to the disk */
    struct raft_message message;
    uint64_t total, hash; /* of the state */
    struct node_snapshot snapshot;
    struct rpc_call *call; /* that brought the last piece, and is answered when all is done */
};

struct node_snapshots {
    struct node_group *group;
    uint64_t index, term; /* of the newest one on the disk; 0: none */
    bool is_wanted;       /* somebody asked for one */
    bool is_writing;      /* one of our own is on its way to the disk */

    struct peri_buffer next; /* the state to restore, once that record is durable */
    uint64_t next_index, next_term, next_seq;
    bool has_next;
    struct peri_buffer current; /* that the machine restores */

    struct node_stage stage;
    struct peri_list sends; /* transfer.c */
};

/* Removes files that a newer snapshot replaces, in the background. */
void node_snapshots_tidy(struct node_group *group);

/* Numbers before the bytes of a piece. */
enum { NODE_PIECE_HEAD = 3 * 8 + 4 };

/* ---- stage.c ---- */

/* The group is closed: who waits for an answer gets a failure. */
void node_stage_abandon(struct node_stage *stage);

/* Forgets what was received. */
void node_stage_clear(struct node_stage *stage);

#endif
