/* log_internal.h - what the files of the log share.
 *
 * log.c        open, close, figures           log_load.c    what was on the disk
 * log_write.c  requests become items          log_replay.c  what follows what
 * log_batch.c  items become batches           log_judge.c   and whether it can be trusted
 * log_read.c   entries for those who ask      log_group.c   groups and where their entries are
 * log_chores.c what old generations need      log_format.c log_witness.c  bytes
 * log_item.c   items, and what else is in a batch           log_full.c    when there is no room
 * log_move.c   records that keep old generations            log_source.c log_scan.c  reading it all
 *
 * What writes goes to the log's lane: batches, the witness of a quiet log, opening and closing.
 * Reads and chores, one round at a time, are work for the pool. Both touch what their structs hold
 * and nothing else of the log, which belongs to the loop thread. */
#ifndef PERI_STORE_LOG_INTERNAL_H
#define PERI_STORE_LOG_INTERNAL_H

#include "base/assert.h"
#include "store/log.h"
#include "store/log_format.h"
#include "store/log_witness.h"

enum { LOG_PATH_MAX = 4096 };

#define LOG_DROPPED_SUFFIX ".dropped" /* of a generation that is being removed */

/* A store that holds a stretch of the log. */
struct log_generation {
    uint64_t number;
    struct store *store; /* NULL: closed. Of sealed ones only chores touch it */
    uint64_t bytes;      /* that the store took for it */
    uint64_t live;       /* records of groups that are in it and needed */
    uint64_t live_bytes; /* of them */
    uint64_t readers;    /* reads that need it */
    bool is_sealed;      /* written to no more */
    bool is_heavy;       /* sealed, and the store has all of it in memory: to be closed */
    bool is_doomed;      /* chores remove it */
    bool is_moving;      /* what is needed of it was told to move */
};

/* A record as it was encoded, while somebody needs it in memory. entries point into bytes. */
struct log_value {
    struct peri_list link; /* in store_log.cache, by age, while the group's record points here */
    struct log_group *group;
    uint64_t serial;
    size_t references;
    uint64_t first, count;
    struct peri_buffer bytes;
    struct store_log_entry entries[];
};

/* A record that the group needs: it holds the entries first .. last, unless last < first. What a
 * later record replaced is not counted. */
struct log_record {
    uint64_t first, last;
    uint64_t generation; /* 0: not durable yet */
    struct log_value *value;
    uint64_t size; /* in the store */
};

struct log_group {
    uint64_t group, replica;
    enum store_log_health health;
    bool has_forgotten; /* of one that is not clean: store_log_found */
    uint64_t damaged_from;
    uint64_t term, vote;
    uint64_t base_index, base_term, last_index;
    uint64_t serial, chain;            /* of the last record, durable or not */
    uint64_t head_serial;              /* that the newest head speaks of, durable or not */
    struct raft_configuration members; /* as of base_index */
    /* records[start + i] has serial first_serial + i; the last one has serial. */
    struct log_record *records;
    size_t start, count, capacity;
    uint64_t written_to, written_bytes; /* the generation that it wrote to last, and how much */
    uint64_t touched_batch; /* number of the batch that has a touch of this group, and which */
    size_t touch;
    bool is_dropped; /* waits for its items; not in the table any more */
};

enum log_item_kind { LOG_ITEM_RECORD, LOG_ITEM_HEAD, LOG_ITEM_DROP, LOG_ITEM_COPY };

/* One change on its way to the disk. */
struct log_item {
    struct peri_list link; /* in store_log.pending, then in log_batch.items */
    enum log_item_kind kind;
    uint64_t group, replica, serial;
    struct store_log_write *write; /* or NULL: nobody waits */
    struct log_value *value;       /* of a record */
    bool changes_census;
    struct peri_buffer bytes; /* of a head, of dropped, of a record that moves */
    uint64_t payload_bytes;
    uint64_t asked_us;
};

/* The batch that is being written. */
struct log_batch {
    struct env *env;
    const char *path; /* of the log */
    uint64_t number;
    struct peri_list items;
    struct store_batch changes;
    struct store *store; /* where it goes; NULL: into a new generation, which it opens */
    uint64_t generation;
    struct store_options store_options;
    struct peri_buffer touched, before; /* struct log_touch */
    struct log_witness_writer witness;
    struct peri_buffer census; /* to be written after the batch; empty: nothing */
    uint64_t began_us;
    int status;
    struct peri_error err;
};

struct store_log {
    struct env *env;
    struct store_log_options options;
    store_log_open_cb on_open;
    void *open_data;
    void (*on_closed)(void *data); /* or NULL */
    void *closed_data;
    bool is_open, is_closing;
    int failed;   /* code of what fenced the log */
    size_t holds; /* background jobs, and callbacks that run: the struct stays */

    struct log_group **groups; /* by (group) */
    size_t group_count, group_capacity;
    struct log_generation **generations; /* by number; the last is written to */
    size_t generation_count, generation_capacity;
    struct peri_buffer dropped; /* struct log_touch: groups that never come back */

    struct peri_list pending; /* struct log_item */
    struct peri_list moving;  /* the same: copies that wait for a batch; no hurry */
    uint64_t pending_heads;   /* heads and drops that are not durable */
    struct env_lane *lane;    /* the writer */
    struct env_turn *turn;    /* started: a batch shall begin */
    struct env_timer *quiet;
    struct env_timer *room; /* runs while the log is full */
    bool is_full, has_reserve;
    bool is_stuck;              /* what is pending waits for room */
    uint64_t newest_generation; /* number of the newest that was begun, whatever became of it */
    struct log_batch batch;
    bool is_writing;

    struct peri_list cache; /* struct log_value, the oldest first */
    uint64_t cache_bytes;

    struct peri_list reads;    /* struct store_log_read that no chore serves yet */
    struct log_chores *chores; /* in the background, or NULL */
    struct store_log_stats stats;
    char path[];
};

static inline struct log_touch *log_touches(const struct peri_buffer *buffer)
{
    return (struct log_touch *)(void *)buffer->data;
}

/* ---- log_group.c ---- */

/* The group, or NULL. */
struct log_group *log_group_find(const struct store_log *log, uint64_t group);

/* Enters a group in the table, or takes it out. Errors: PERI_ENOMEM. */
int log_group_add(struct store_log *log, struct log_group *group);
void log_group_remove(struct store_log *log, struct log_group *group);

/* Frees a group and lets go of its records. */
void log_group_free(struct store_log *log, struct log_group *group);

/* The serial of the oldest record that is needed; serial + 1 when none is. */
uint64_t log_group_first_serial(const struct log_group *group);

/* The record that holds the entry at index, or NULL. */
struct log_record *log_group_record(const struct log_group *group, uint64_t index);

/* The record of a serial, or NULL when it is not needed any more. */
struct log_record *log_group_serial(const struct log_group *group, uint64_t serial);

/* Makes room for one more record. Errors: PERI_ENOMEM. */
int log_group_reserve(struct log_group *group);

/* Entries from index on are no more. */
void log_group_truncate(struct log_group *group, uint64_t index);

/* Lets go of the oldest records while their entries are not needed. True when the newest head says
 * that one of them is: then a new head has to follow, before what held it may go. */
bool log_group_trim(struct store_log *log, struct log_group *group);

/* Adds the record after serial, for which there is room. */
struct log_record *log_group_append(struct log_group *group, uint64_t first, uint64_t last);

/* What the group's head says now. */
void log_group_head(const struct log_group *group, struct log_head *out);

/* ---- values ---- */

/* One reference more; one less, and the last frees it. */
struct log_value *log_value_take(struct log_value *value);
void log_value_give(struct log_value *value);

/* Makes record lead to value, in the cache; drops the oldest that are durable when it is full. */
void log_cache_add(struct store_log *log, struct log_record *record, struct log_value *value);
void log_cache_remove(struct store_log *log, struct log_record *record);
void log_cache_shrink(struct store_log *log);

/* ---- generations ---- */

/* The generation of a number, or NULL. */
struct log_generation *log_generation_find(const struct store_log *log, uint64_t number);

/* Adds a generation behind the others. Errors: PERI_ENOMEM. */
int log_generation_add(struct store_log *log, uint64_t number, struct store *store,
                       struct log_generation **out);

/* The generation holds a record that is needed, or does so no more. */
static inline void log_generation_gain(struct log_generation *generation,
                                       const struct log_record *record)
{
    generation->live++;
    generation->live_bytes += record->size;
}

static inline void log_generation_lose(struct log_generation *generation,
                                       const struct log_record *record)
{
    generation->live--;
    generation->live_bytes -= record->size;
}

/* Writes the path of a generation's store to out, LOG_PATH_MAX bytes. */
void log_generation_path(char *out, const char *log_path, uint64_t number);

/* How generations are opened, but for their numbers; log->path is lent. */
struct store_options log_generation_options(const struct store_log *log);

/* Opens the store of a generation, or makes it. Errors: as store_open. */
int log_generation_open(struct env *env, const char *log_path, uint64_t number,
                        const struct store_options *options, struct store **out,
                        struct peri_error *err);

/* Dooms generations that nobody needs, and has chores remove them. */
void log_generation_retire(struct store_log *log);

/* ---- log_item.c ---- */

/* Hands an item over, whose members are set. */
void log_item_push(struct store_log *log, struct log_item *item);
void log_item_free(struct log_item *item);

/* Completes items with status; true when the log was closed meanwhile. */
bool log_items_complete(struct store_log *log, struct peri_list *items, int status);

/* Completes the writes of items that stay, because a batch that runs needs them. */
void log_items_disown(const struct peri_list *items, int status);

/* Puts an item into a batch. Errors: PERI_ENOMEM. */
int log_batch_put_item(const struct log_item *item, struct store_batch *out);

/* Writes a summary into a batch. Errors: PERI_ENOMEM. */
int log_batch_put_summary(const struct log_summary *summary, struct store_batch *out);

/* Puts identity, heads and dropped groups, with which a generation begins, into a batch. Errors:
 * PERI_ENOMEM. */
int log_batch_put_heads(struct store_log *log, uint64_t generation, uint64_t batch,
                        struct store_batch *out);

/* Encodes the census of the groups that there are. Errors: PERI_ENOMEM. */
int log_batch_take_census(struct store_log *log);

/* ---- log_batch.c ---- */

/* on_turn and on_timer of the log. */
void log_batch_on_turn(void *data);
void log_batch_on_quiet(void *data);

/* What the witness says of the batch, once that is durable. */
void log_batch_testify(struct log_batch *batch);

/* What the batch touched is what the next one says of the batch before it. */
void log_batch_remember(struct log_batch *batch);

/* ---- log_full.c ---- */

/* Room that is kept for a full disk. Blocking. Errors: errno codes, PERI_ENOMEM. */
int log_reserve_take(struct env *env, const char *log_path, uint64_t size, struct peri_error *err);
int log_reserve_drop(struct env *env, const char *log_path, struct peri_error *err);

/* Takes the reserve of a log that is being opened; without one the log goes on. Blocking. Errors:
 * PERI_ENOMEM. */
int log_reserve_begin(struct store_log *log, struct peri_error *err);

/* True when the batch failed for want of room: its items then wait for the next one. */
bool log_full_takes_batch(struct store_log *log);

/* on_timer of the log. */
void log_full_on_timer(void *data);

/* ---- log_move.c ---- */

/* True when records of the generation at that place of the table should move. */
bool log_move_is_due(const struct store_log *log, size_t at);

/* Appends an item for each record that is to move from the generation. Errors: PERI_ENOMEM; then
 * for some. */
int log_move_choose(struct store_log *log, struct log_generation *generation,
                    struct peri_list *copies);
void log_copies_free(struct peri_list *copies);

/* Blocking. Gives each copy its bytes; what cannot be read is left out, and err says why. */
void log_copies_read(struct store *store, struct peri_list *copies, struct peri_error *err);

/* Has copies written, a few with each batch. Takes them. */
void log_move_begin(struct store_log *log, struct peri_list *copies);
void log_move_into_batch(struct store_log *log);

/* A copy is durable in generation. */
void log_move_settle(struct store_log *log, const struct log_item *item,
                     struct log_generation *generation);

/* ---- log_chores.c ---- */

/* Starts chores if there are any and none are under way. Errors: PERI_ENOMEM, PERI_ECANCELLED. */
int log_chores_start(struct store_log *log);

/* Blocking, for chores. Opens the store of a sealed generation, unless it is open. Errors: those of
 * the store. */
int log_chores_open(struct log_chores *chores, struct log_generation *generation);

/* Completes all reads with status, those under way too. */
void log_chores_refuse_reads(struct store_log *log, int status);

/* ---- log_read.c ---- */

/* The next read that waits, NULL when none does; a round that does not come puts it back. */
struct store_log_fetch *log_read_take(struct store_log *log);
void log_read_put_back(struct store_log *log, struct store_log_fetch *fetch);

/* Blocking, for chores. Reads the entries. */
void log_read_serve(struct store_log_fetch *fetch, struct log_chores *chores,
                    struct peri_error *err);

/* Tells whoever asked what was read, or status when that is not 0, and frees the fetch. */
void log_read_finish(struct store_log_fetch *fetch, int status);

/* Tells whoever asked, who is not told again, of a fetch that is under way; of all that wait. */
void log_read_refuse(struct store_log_fetch *fetch, int status);
void log_read_refuse_waiting(struct store_log *log, int status);

/* ---- log.c ---- */

/* A hold keeps the struct; letting go of the last one of a closed log frees it. */
void log_hold(struct store_log *log);
void log_release(struct store_log *log);

/* 0, or why requests are refused. */
int log_refusal(const struct store_log *log);

#endif
