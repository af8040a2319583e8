/* log_format.h - the log's keys and values as bytes (README.md draws them). Pure.
 *
 * Every value ends with a check: XXH3-64 of the bytes before it, seeded with the hash of its key,
 * so that a value under another's key does not pass. A record's seed is also mixed with the check
 * of the record before it: that is the chain. */
#ifndef PERI_STORE_LOG_FORMAT_H
#define PERI_STORE_LOG_FORMAT_H

#include "base/buffer.h"
#include "store/log.h"

enum { LOG_FORMAT_VERSION = 1, LOG_KEY_MAX = 25, LOG_CHECK_BYTES = 8, LOG_HEAD_MAX_BYTES = 512 };

/* In the order in which keys stand in a generation. */
enum log_key_kind {
    LOG_KEY_BATCH = 'B',    /* batch number: whose records it wrote */
    LOG_KEY_DROPPED = 'D',  /* group, replica: never comes back */
    LOG_KEY_HEAD = 'H',     /* group, replica: what the group is without its records */
    LOG_KEY_IDENTITY = 'I', /* whose generation this is */
    LOG_KEY_RECORD = 'R'    /* group, replica, serial */
};

/* A key. number is the serial of a record, the number of a batch. */
struct log_key {
    enum log_key_kind kind;
    uint64_t group, replica, number;
};

/* Writes a key to out, LOG_KEY_MAX bytes; the slice is of out. */
struct peri_slice log_key_write(const struct log_key *key, char *out);
bool log_key_read(struct peri_slice bytes, struct log_key *out);

struct log_identity {
    uint64_t cluster, node;
    uint64_t generation;
    uint64_t first_batch; /* the batch that the generation begins with */
};

/* What a group is, but for the records of serials above serial. */
struct log_head {
    uint64_t group, replica;
    enum store_log_health health;
    bool has_forgotten; /* store_log_found; of a group that is not clean */
    uint64_t damaged_from;
    uint64_t serial;       /* of the last record before this head; 0: none */
    uint64_t first_serial; /* of the oldest record that is needed; serial + 1: none is */
    uint64_t chain;        /* check of the record serial */
    uint64_t term, vote;
    uint64_t base_index, base_term, last_index;
    struct raft_configuration members; /* as of base_index; none when they were lost */
};

/* Which record of which group a batch wrote last. */
struct log_touch {
    uint64_t group, replica, serial;
};

/* What a batch says of itself and of the one before it, and the witness of the last. */
struct log_summary {
    uint64_t batch;
    const struct log_touch *touched, *before;
    size_t touched_count, before_count;
};

/* Append a value with its check. Errors: PERI_ENOMEM, PERI_ETOOBIG, out unchanged. */
int log_identity_encode(const struct log_identity *identity, struct peri_buffer *out);
int log_head_encode(const struct log_head *head, struct peri_buffer *out);
int log_dropped_encode(uint64_t group, uint64_t replica, struct peri_buffer *out);
int log_summary_encode(const struct log_summary *summary, struct peri_buffer *out);

/* Check and read a value. Errors: PERI_ECORRUPT; PERI_EVERSION for an intact one of a newer format.
 */
int log_identity_decode(struct peri_slice bytes, struct log_identity *out);
int log_head_decode(uint64_t group, uint64_t replica, struct peri_slice bytes,
                    struct log_head *out);
int log_dropped_check(uint64_t group, uint64_t replica, struct peri_slice bytes);

/* The same; appends the touches to two buffers of struct log_touch. Errors: also PERI_ENOMEM. */
int log_summary_decode(uint64_t batch, struct peri_slice bytes, struct peri_buffer *touched,
                       struct peri_buffer *before);

/* A record: one raft_record with its entries. */
struct log_record_info {
    uint64_t group, replica, serial;
    uint64_t chain; /* check of the record before */
    uint64_t check; /* of this one; set by encode and decode */
    uint64_t term, vote;
    uint64_t snapshot_index, snapshot_term, truncate_from;
    uint64_t first, count;             /* of entries; count 0: none */
    struct raft_configuration members; /* as of snapshot_index, when that is not 0 */
};

/* Appends a record's value; entries are info->count. Sets info->check. starts[i], count of them,
 * are where the payloads stand in out. Errors: PERI_ENOMEM, PERI_ETOOBIG. */
int log_record_encode(struct log_record_info *info, const struct store_log_entry *entries,
                      struct peri_buffer *out, uint32_t *starts);

/* Checks the value under (group, replica, serial) that info holds, fills the rest of info, and sets
 * *entries_at for log_record_next. Errors as above. */
int log_record_decode(struct peri_slice bytes, struct log_record_info *info, size_t *entries_at);

/* The entry at *at of a record that was decoded; term is that of the entry before it, or anything.
 * Moves *at behind it. Errors: PERI_ECORRUPT. */
int log_record_next(struct peri_slice bytes, size_t *at, uint64_t *term,
                    struct store_log_entry *out);

#endif
