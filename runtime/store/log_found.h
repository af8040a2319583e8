/* log_found.h - what a start finds of a log, and what it makes of it.
 *
 * log_load.c lists and begins; log_source.c opens generations; log_scan.c reads them; log_replay.c
 * puts records together; log_judge.c says what is missing. Not for others. */
#ifndef PERI_STORE_LOG_FOUND_H
#define PERI_STORE_LOG_FOUND_H

#include "store/log_internal.h"

/* A record that was found, without its bytes. */
struct log_meta {
    uint64_t generation, size;
    bool is_bad; /* its bytes do not fit their check: only key and generation mean something */
    struct log_record_info info;
    struct peri_buffer runs;           /* struct raft_run, of its entries */
    struct peri_buffer configurations; /* struct raft_history, of its entries */
};

/* What was found of a replica. */
struct log_finding {
    uint64_t group, replica;
    bool has_head, is_dropped, has_bad_head;
    struct log_head head; /* from the newest generation that has it */
    uint64_t head_generation;
    uint64_t known_serial;  /* somebody says that this record was durable */
    uint64_t touched_batch; /* the newest batch that says so */
    struct log_meta *metas;
    size_t count, capacity;
    /* The verdict, and what is left. */
    struct log_group *entered;
    char why[160];
    struct peri_buffer runs;           /* struct raft_run */
    struct peri_buffer configurations; /* struct raft_history; [0] as of base */
};

/* A generation as it was found. */
struct log_source {
    uint64_t number;
    struct store *store; /* NULL: it cannot be read at all */
    bool has_identity, is_damaged, is_empty;
    struct log_identity identity;
};

struct log_found {
    struct log_finding *findings; /* by (group, replica) */
    size_t count, capacity;
    struct log_source *sources; /* by number */
    size_t source_count;
    struct peri_buffer batches; /* u64, those that the last source has, in order */
    uint64_t last_batch;        /* the newest that anybody speaks of */
    struct log_witness witness;
    bool is_census_lost;
    struct store_log_found *groups; /* for the callback */
    size_t group_count;
};

/* Blocking. Reads all generations at log->path into log, begins a new one, and says what was found
 * in *out, which the caller frees. Errors: as store_log_open's callback. */
int log_load(struct store_log *log, struct log_found **out, struct peri_error *err);
void log_found_free(struct log_found *found); /* accepts NULL */

/* The finding of a replica, which it adds. NULL without memory. */
struct log_finding *log_found_replica(struct log_found *found, uint64_t group, uint64_t replica);

/* Lists the generations that are there, by number, and goes on removing those that were being
 * removed. Errors: errno codes, PERI_ENOMEM. */
int log_sources_list(struct store_log *log, struct log_found *found, struct peri_error *err);

/* Opens a generation as far as it can be read. Errors: errno codes, PERI_EBUSY, PERI_ENOMEM. */
int log_source_open(struct store_log *log, struct log_source *source, struct peri_error *err);

/* Errors: PERI_ECLUSTER for a generation of another cluster or node. */
int log_source_check(const struct store_log *log, const struct log_source *source,
                     struct peri_error *err);

/* Opens and reads the generations that there are. Errors: as store_log_open's callback. */
int log_scan(struct store_log *log, struct log_found *found, struct peri_error *err);

/* What holds for all groups. */
struct log_circumstances {
    uint64_t last_generation; /* that could be read; 0: none */
    bool is_last_lost;        /* and there was a later one, or it lost its beginning */
    bool is_tail_doubtful;    /* damage that nothing explains */
    bool is_witness_lost;     /* there may have been more at the end */
    uint64_t hole;            /* the newest batch that is missing without a trace; 0: none */
};

/* What is missing of the log as a whole. */
struct log_circumstances log_judge_all(const struct log_found *found);

/* Gives the group that the finding entered at least that health, with the reason for the worst. */
void log_judge_blame(struct log_finding *finding, enum store_log_health health, const char *format,
                     ...) __attribute__((format(printf, 3, 4)));

/* Judges a group of which record missing, and whatever comes behind it, could not be replayed. */
void log_judge_group(struct log_finding *finding, const struct log_circumstances *all,
                     uint64_t missing);

/* True when the last term and vote of a damaged group cannot be told: its newest record is lost, or
 * nobody knows which one that was. */
bool log_judge_has_forgotten(const struct log_finding *finding,
                             const struct log_circumstances *all);

/* The last generation that was begun; NULL when none was. */
const struct log_source *log_judge_last_source(const struct log_found *found);

/* Replays and judges each finding, and enters those that are not dropped in log with what is left.
 * Errors: PERI_ECORRUPT when not even the groups are known, PERI_ENOMEM. */
int log_replay(struct store_log *log, struct log_found *found, struct peri_error *err);

#endif
