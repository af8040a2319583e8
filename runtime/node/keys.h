/* keys.h - the ordered keys of a machine that keeps its state on disk.
 *
 *      apply ---put, delete---> staged --the command ends well--> dirty --a round--> the store
 *        ^                        |                                 |                   |
 *        +------get, range--------+---------------------------------+--- cache ---------+
 *
 * What a command writes is seen by its own reads at once; when it fails, it leaves nothing. A round
 * (rounds.h) takes what all groups have written since the last one, with how far each has come,
 * into one batch, which is made in the background: what belongs to it does not change until it is
 * written. Until the store has it, reads find it in memory; the log has it all along.
 *
 * A read that memory does not answer is made in the background. What was read or written stays in
 * memory for a while. */
#ifndef PERI_NODE_KEYS_H
#define PERI_NODE_KEYS_H

#include "node/keytable.h"
#include "node/keytail.h"
#include "node/machine.h"
#include "store/state.h"

enum {
    NODE_KEY_MAX = 4 << 10,
    NODE_VALUE_MAX = 8 << 20,
    NODE_EFFECT_MAX = 64 << 20, /* what one command may write, in bytes of memory */
};

struct node_keys;

/* ---- for machines, during a task ---- */

/* Write; key and value are copied. Only while a command is applied. Errors: PERI_ETOOBIG for a key,
 * a value or a command's effect above the limits: the same on all replicas. PERI_EINVAL outside of
 * apply. PERI_ENOMEM: the replica has ended, for it cannot do what the others do. */
int node_keys_put(struct node_keys *keys, struct peri_slice key, struct peri_slice value,
                  struct peri_error *err);
int node_keys_delete(struct node_keys *keys, struct peri_slice key, struct peri_error *err);

/* The same for all entries of a map, by a command that has written nothing else. They are taken,
 * also after an error, and the map is empty then. */
int node_keys_write(struct node_keys *keys, struct node_keymap *written, struct peri_error *err);

/* Appends what a command has said (keytail.h) to the tail: after all that it wrote, and before it
 * ends well. The next round lays it. Errors: PERI_ENOMEM: the replica has ended. */
int node_keys_tell(struct node_keys *keys, const struct node_keytail *items,
                   struct peri_error *err);

/* The tail: what no round has laid yet, and for the length of a task what was there when it began;
 * lent for the task. */
const struct node_keytail *node_keys_tail(const struct node_keys *keys);

/* Has the tail laid soon: long ones are slow to search. */
void node_keys_lay_soon(struct node_keys *keys);

/* What a command says beside that to node_machine.lay; it only grows. As node_keys_tell. */
void node_keys_mark(struct node_keys *keys, uint64_t mark);

/* Where node_machine.lay puts keys. Errors: PERI_ENOMEM. */
struct node_keys_layer {
    int (*put)(struct node_keys_layer *layer, struct peri_slice key, struct peri_slice value);
};

/* What memory has of a key: 1 and its value, lent until the machine's callback returns; 0: it is
 * not there; -1: memory does not know. */
int node_keys_peek(struct node_keys *keys, struct peri_slice key, struct peri_slice *value);

/* A read; the machine fills in the first members. Lent until it is answered or cancelled. */
struct node_keys_read {
    struct peri_slice from; /* the key; of a range, the first */
    struct peri_slice to;   /* of a range: behind its last key; data NULL: no end */
    uint32_t count_max;     /* of a range: pairs in the answer, at least 1 */
    uint32_t size_max;      /* of a range: bytes of them, about */
    bool is_reverse;        /* of a range, which has an end then: from there back */
    void (*on_done)(struct node_keys_read *read, int status); /* see node_keys_get */
    void *data;

    struct peri_buffer found; /* the value, or pairs for store_chunk_next; the machine's to end */
    uint32_t count;           /* of pairs, or 1 for a key that is there */
    bool is_more;             /* the range goes on, count is not 0 then: at next, the first key of
                                 the rest, or where it is_reverse the end of the rest */
    struct peri_buffer next;  /* the machine's to end */
    struct node_keys_job *job;
};

/* Reads a key, or a range in order. Returns 1 when the answer is there at once; 0 when
 * on_done(read, status) will say so, with a status that is not 0 when the disk failed: the replica
 * has ended then. Errors: PERI_ENOMEM: the replica has ended. */
int node_keys_get(struct node_keys *keys, struct node_keys_read *read, struct peri_error *err);
int node_keys_range(struct node_keys *keys, struct node_keys_read *read, struct peri_error *err);

/* Forgets a read under way: on_done will not run. No effect on one that has ended. */
void node_keys_cancel(struct node_keys_read *read);

/* Has a key read into memory that a command will want which is not applied yet. For
 * node_machine.foresee; a matter of speed alone. */
void node_keys_want(struct node_keys *keys, struct peri_slice key);

/* ---- for machines, in the background ---- */

/* What node_machine.sweep sees: the keys as of a round, and what it changes of them. That is no
 * command's effect and not the same on all replicas: it may be of keys alone that no command and no
 * answer depends on, and that no command writes again. */
struct node_keys_sweep {
    /* Appends the value of a key; 1, or 0 when it is not there. Errors: PERI_ECORRUPT, errno codes,
     * PERI_ENOMEM. */
    int (*get)(struct node_keys_sweep *sweep, struct peri_slice key, struct peri_buffer *out,
               struct peri_error *err);
    /* Calls each(data, key, value) for keys that are not below from, in order, until it returns not
     * 0, which is then returned. Errors: as get. */
    int (*scan)(struct node_keys_sweep *sweep, struct peri_slice from,
                int (*each)(void *data, struct peri_slice key, struct peri_slice value), void *data,
                struct peri_error *err);
    /* Seen by the next sweep, all or nothing. Errors: PERI_ENOMEM. */
    int (*put)(struct node_keys_sweep *sweep, struct peri_slice key, struct peri_slice value);
    int (*remove)(struct node_keys_sweep *sweep, struct peri_slice key);
};

/* Has the machine sweep once what is applied is in the store. One that begins is asked for it. */
void node_keys_sweep(struct node_keys *keys);

/* ---- for this folder ---- */

struct node_rounds;
struct node_intake;    /* intake.c */
struct node_source;    /* stream.c */
struct node_keys_want; /* keys_want.c */
struct node_sweeper;   /* keys_sweep.c */
struct store_log_entry;

/* What a round takes from a group. */
struct node_keys_part {
    struct peri_list link;           /* in rounds->parts; to itself: in no round */
    struct node_keys *keys;          /* NULL: they are others now, or the group is closed */
    struct store_applied of;         /* where the keys are; without extra */
    struct peri_list entries;        /* orphans among them: what has been written anew since */
    struct node_keytail_piece piece; /* to be laid: of the keys' tail, or in chunks */
    struct peri_list chunks;         /* of a tail that is gone */
    uint64_t mark;
    int (*lay)(const struct node_keytail_piece *piece, uint64_t mark,
               struct node_keys_layer *layer); /* the machine's */
};

struct node_keys {
    struct node_group *group;
    struct peri_list link;        /* in rounds->groups */
    bool is_ready;                /* epoch is known, and no snapshot is on its way in */
    struct store_applied applied; /* as of the last round that was gathered */
    uint64_t written_index;       /* of the last round that was written */
    uint64_t barrier_index;       /* of the last one before the barrier that runs */
    struct peri_buffer extra;     /* applied.extra: members with addresses */
    struct node_keymap staged;    /* by the command that runs */
    size_t staged_bytes;
    struct node_keytable known;  /* dirty and clean; in order: what ranges may not see yet */
    struct peri_list collecting; /* dirty entries, of the next round */
    uint8_t round;               /* of these; other dirty entries are in part */
    struct node_keys_part *part; /* of the round that is being written */
    struct peri_list clean;      /* the one that was not used for longest first */
    size_t clean_bytes;
    struct node_keytail tail;
    size_t told_bytes;               /* of it, by commands that have ended */
    uint64_t mark, next_mark;        /* by these, and by the one that runs, too */
    struct node_keytail_chunk *laid; /* the last one that the store has; it goes between tasks */
    struct peri_list reads; /* under way: meanwhile no entry is let go of, nor while want reads */
    struct node_keys_want *want;  /* NULL until something is */
    struct node_sweeper *sweeper; /* NULL until something is to be swept */
    bool wants_sweep;             /* after the next round */
    struct node_intake *intake;   /* of a snapshot; NULL until one comes */
    struct node_source *source;   /* of the newest snapshot that was sent; NULL: none */
    struct peri_list sources;     /* all that are open */
};

/* Errors: PERI_ENOMEM. */
int node_keys_open(struct node_group *group);
void node_keys_close(struct node_group *group);

/* This replica cannot do what the others do: it ends. Returns rc. */
int node_keys_end_replica(struct node_keys *keys, int rc, struct peri_error *err);

/* Keeps what the store says of a key, which is not in memory; or does not, without memory. */
void node_keys_keep(struct node_keys *keys, struct peri_slice key, struct peri_slice value,
                    bool is_absent);

/* These entries are on their way to the log: asks the machine what they will want. */
void node_keys_foresee(struct node_group *group, const struct store_log_entry *entries,
                       size_t count);
bool node_keys_want_reads(const struct node_keys *keys); /* something is being read */
void node_keys_want_free(struct node_keys *keys);

/* What is wanted of sweeps is in the store. */
void node_keys_sweep_start(struct node_keys *keys);
void node_keys_sweep_free(struct node_keys *keys);

/* The group is closed: its machine is not used any more. */
void node_keys_abandon(struct node_keys *keys);

/* The command has ended: what it wrote counts, or does not. */
void node_keys_commit(struct node_keys *keys);
void node_keys_discard(struct node_keys *keys);

/* The state is another one now: that of applied, whose extra is copied. Errors: PERI_ENOMEM. */
int node_keys_reset(struct node_keys *keys, const struct store_applied *applied);

/* Begins a round with what has changed since the last one: its part is in rounds->parts then. None
 * of the group's may be in there. Errors: PERI_ENOMEM. */
int node_keys_gather(struct node_keys *keys, struct store_round *round);
/* In the background: adds a part's entries to its round. Errors: PERI_ENOMEM. */
int node_keys_add(const struct node_keys_part *part, struct store_round *round);
/* The round has ended. Takes at most count_max entries out of the part: they are clean when the
 * store has them, else the next round's. Returns how many more it could have taken; a part that is
 * empty then has left the list, and is freed when nobody has it. */
size_t node_keys_settle(struct node_keys_part *part, struct node_rounds *rounds, bool is_written,
                        size_t count_max);
/* keys_tail.c. What was told counts, or does not; the part of a round has it laid; the round has
 * ended; a task has; all of it is forgotten but what the part has to lay. */
void node_keys_tail_commit(struct node_keys *keys);
void node_keys_tail_discard(struct node_keys *keys);
void node_keys_tail_gather(struct node_keys *keys);
int node_keys_tail_add(const struct node_keys_part *part, struct store_round *round);
void node_keys_tail_settle(struct node_keys_part *part, bool is_written);
void node_keys_tail_rest(struct node_keys *keys);
void node_keys_tail_forget(struct node_keys *keys, struct node_keys_part *part);
/* Lets go of clean entries until they take no more than that. */
void node_keys_evict(struct node_keys *keys, size_t bytes_max);

#endif
