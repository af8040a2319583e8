/* log.h - the log of all Raft groups of a node, on one disk, behind one writer.
 *
 * The node hands over what RAFT_PERSIST asks for; the log makes it durable and says so. Whatever
 * all groups have pending becomes one batch with one fsync; while that runs, the next batch
 * gathers. Functions belong to the loop thread and never block; the disk is written by a thread
 * that does nothing else (env_lane), and read in background work.
 *
 *      store_log_write ---> pending ---> one batch, one fsync ---> on_written, in order
 *                             |
 *                             +---> recent entries stay in memory: store_log_recent
 *
 * Nothing is trusted when the log is opened again: every record has a checksum, is chained to the
 * one before, and is numbered; batches are numbered, and a file beside the store witnesses what was
 * synced. What was being written when the machine died is dropped; anything else that is missing is
 * reported as damage and never passed over (README.md says how).
 *
 * When the disk is full the log lives on room that it has kept for that (store_log_is_full), and
 * when that is used up its writes wait until there is room.
 *
 * Any other write or fsync that fails means that nobody knows what is on the disk. The log then
 * fails all open and later writes with PERI_EFENCED, until it is opened anew. */
#ifndef PERI_STORE_LOG_H
#define PERI_STORE_LOG_H

#include "base/list.h"
#include "env/env.h"
#include "raft/raft.h"
#include "store/store.h"

struct store_log; /* opaque: log_internal.h */

struct store_log_options {
    uint64_t cluster, node; /* a directory of another cluster or node is refused; not 0, but both 0
                               for tools: it is whose it says, and has to be there */
    uint64_t generation_max_bytes; /* after so much a new generation begins; 64 MiB */
    uint64_t cache_max_bytes;      /* recent entries in memory, all groups together; 16 MiB */
    uint64_t quiet_us;             /* after so long without a write the log is sealed; 5 ms */
    uint64_t reserve_bytes;        /* of room kept for a full disk; 0: none; 16 MiB */
    enum store_backend backend;    /* STORE_BY_ENV, but for tests */
    /* Runs once, when a batch failed with status, before its requests and all others end with
     * PERI_EFENCED; does not close the log. Or NULL. */
    void (*on_failed)(void *data, int status);
    void *data;
};

/* Reasonable options. */
void store_log_options_init(struct store_log_options *options, uint64_t cluster, uint64_t node);

/* An entry with its payload. That of a RAFT_CONFIGURATION is encoded by configuration.h. */
struct store_log_entry {
    uint64_t term;
    enum raft_entry_type type;
    struct peri_slice payload;
};

enum store_log_health {
    STORE_LOG_CLEAN,
    STORE_LOG_SUSPECT, /* the last record may be lost, with an acknowledgement or a vote: until a
                          leader has brought it up to date the replica neither votes nor acks */
    STORE_LOG_DAMAGED  /* something that was durable is lost for certain */
};

/* What was found of a group. Everything is lent until store_log_open's callback returns. */
struct store_log_found {
    uint64_t group, replica;
    enum store_log_health health;
    bool has_forgotten;    /* a later term or vote than those of boot may be lost, too */
    uint64_t damaged_from; /* entries from here on were lost; 0: none is known to be */
    const char *why;       /* one sentence for people; "" when clean */
    /* For raft_create, but for now_us, snapshot_* (set to base) and last_applied (set to base),
     * which the state store knows better. Of a damaged group: what still can be trusted. */
    struct raft_boot boot;
};

/* Runs once, on the loop. status 0: groups describes count groups, ordered by id; the log may be
 * written to from now on, also inside the callback. Else err says what is wrong, and the log is
 * only good for closing: PERI_ECLUSTER for a directory of another cluster or node, PERI_EVERSION
 * for a newer format, PERI_EBUSY while another process has it open, PERI_ECORRUPT when not even the
 * groups are known any more, errno codes, PERI_ENOMEM. */
typedef void (*store_log_open_cb)(void *data, int status, const struct store_log_found *groups,
                                  size_t count, const struct peri_error *err);

/* Opens the log in directory path, or makes an empty one. The caller owns *out at once and ends it
 * with store_log_close. Errors: PERI_EINVAL for options that cannot be, PERI_ENOMEM. */
int store_log_open(struct store_log **out, struct env *env, const char *path,
                   const struct store_log_options *options, store_log_open_cb on_open, void *data,
                   struct peri_error *err);

/* Has on_closed(data) run when the log was closed and its directory is at rest, so that it can be
 * opened again or removed. Called before store_log_close. */
void store_log_when_closed(struct store_log *log, void (*on_closed)(void *data), void *data);

/* Completes what is open with PERI_ECANCELLED; batches that are with the disk still end there.
 * Accepts NULL. */
void store_log_close(struct store_log *log);

/* A request, which the caller embeds and keeps until on_written: 0, PERI_EFENCED or
 * PERI_ECANCELLED. Of one group they complete in order. The caller sets on_written and data. */
struct store_log_write {
    void (*on_written)(struct store_log_write *write, int status);
    void *data;
    struct peri_list link; /* the log's */
    uint64_t asked_us;     /* the log's */
};

/* Creates a group of which nothing is known: term 0, an empty log after index 0, members as its
 * first configuration. replica is this replica's id there: a (group, replica) that was dropped
 * never comes back. Errors: -EEXIST for a group that is there, PERI_EINVAL for one that was
 * dropped, PERI_EFENCED, PERI_ENOMEM; then on_written does not run. */
int store_log_create_group(struct store_log *log, struct store_log_write *write, uint64_t group,
                           uint64_t replica, const struct raft_configuration *members);

/* Forgets a group with all its entries, for good. Errors: -ENOENT, PERI_EFENCED, PERI_ENOMEM. */
int store_log_drop_group(struct store_log *log, struct store_log_write *write, uint64_t group);

/* Writes one record (raft.h) with its entries, record->first .. record->last, whose bytes are
 * copied. After a snapshot record the log begins after its snapshot_index with the record's
 * configuration. Errors: -ENOENT for an unknown group; PERI_EINVAL for a record that does not fit
 * the log (a hole, a truncation below the base, entries without terms); PERI_ETOOBIG above
 * STORE_LOG_RECORD_MAX bytes; PERI_EFENCED; PERI_ENOMEM. Then nothing was changed. */
int store_log_write(struct store_log *log, struct store_log_write *write, uint64_t group,
                    const struct raft_record *record, const struct store_log_entry *entries);

enum { STORE_LOG_RECORD_MAX = 64 << 20 };

/* Begins the batch of what is pending, when none is with the disk: for a caller who knows that
 * nothing more will come in this round of the loop. Without it the batch begins at its end.
 * on_written does not run before the call returns, unless the batch cannot even begin. */
void store_log_flush(struct store_log *log);

/* Lets go of the entries up to index: the state machine has them durably (the barrier of state.h),
 * or a snapshot has. members is the configuration as of index. Takes effect with the next batch,
 * and needs no answer: entries that are still there harm nobody. Errors: -ENOENT, PERI_EINVAL for
 * an index outside of the log, PERI_EFENCED, PERI_ENOMEM. An index below the base is no error. */
int store_log_cut(struct store_log *log, uint64_t group, uint64_t index, uint64_t term,
                  const struct raft_configuration *members);

/* A damaged or suspect group is well again: the node has repaired it from its peers. Until then
 * every open reports it. Takes effect like store_log_cut. Errors: -ENOENT, PERI_EFENCED,
 * PERI_ENOMEM. */
int store_log_set_repaired(struct store_log *log, uint64_t group);

/* Forgets the entries of a group, which are of no use any more, and only them: its log is empty
 * after index 0 with members as its first configuration, its term and vote stay, and from now on it
 * is STORE_LOG_DAMAGED. Takes effect like store_log_cut; before any write of the group is open.
 * Errors: -ENOENT, PERI_EINVAL, PERI_EFENCED, PERI_ENOMEM. */
int store_log_reset(struct store_log *log, uint64_t group,
                    const struct raft_configuration *members);

/* Whose log it is, once it is open. */
void store_log_owner(const struct store_log *log, uint64_t *cluster, uint64_t *node);

/* The entries first .. last when all are in memory: they are lent until the next call for this log
 * that is not store_log_recent. False when one is not; then store_log_read has it, or nobody. */
bool store_log_recent(struct store_log *log, uint64_t group, uint64_t first, uint64_t last,
                      struct store_log_entry *out);

/* A read of entries first .. last, at most about max_bytes of payload but at least one entry. The
 * caller sets all but the log's members, and keeps it until on_read. Entries come in order, count
 * of them from first on, lent for the call; status is 0, or -ENOENT when first is not in the log
 * (any more), PERI_ECORRUPT when its bytes have gone bad, PERI_ECANCELLED, errno codes,
 * PERI_ENOMEM. */
struct store_log_read {
    uint64_t group, first, last;
    size_t max_bytes;
    void (*on_read)(struct store_log_read *read, int status, const struct store_log_entry *entries,
                    size_t count);
    void *data;
    struct peri_list link;         /* the log's */
    struct store_log_fetch *fetch; /* the log's */
};
int store_log_read(struct store_log *log, struct store_log_read *read);

/* True while the disk is full, or has not yet room for the log's reserve again: records that keep
 * promises are still written, others had better not be asked for. */
bool store_log_is_full(const struct store_log *log);

struct store_log_stats {
    uint64_t payload_bytes;  /* of entries that were written */
    uint64_t stored_bytes;   /* given to the store for them, with keys and all */
    uint64_t batches;        /* one fsync each */
    uint64_t records;        /* in all batches */
    uint64_t batch_records;  /* in the last batch */
    uint64_t pending;        /* requests that are not durable yet */
    uint64_t pending_bytes;  /* of their entries */
    uint64_t pending_us;     /* age of the oldest one: how long the disk has not answered */
    uint64_t sync_us;        /* how long the last batch took */
    uint64_t moved_bytes;    /* of stored_bytes: records that moved out of old generations */
    uint64_t generations;    /* on disk */
    uint64_t live_bytes;     /* of records that are needed, in all generations */
    uint64_t cache_bytes;    /* of recent entries in memory */
    uint64_t blocking_group; /* whose entries keep the oldest generation; 0: none */
};
void store_log_stats(const struct store_log *log, struct store_log_stats *out);

/* True when the oldest generation is so old that what little is needed of it would have moved, and
 * is still kept: *group has most in it, up to entry *index, and should let go of that. */
bool store_log_blocker(const struct store_log *log, uint64_t *group, uint64_t *index);

#endif
