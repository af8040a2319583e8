/* log_limit.h - log lines that others can cause as often as they like.
 *
 * At most one line a second for each pair of who caused it and what kind it is; the next one of the
 * pair says how many were left out. The table is bounded: pairs that find it full within a second
 * share one entry, so that a second never has more than ENV_LOG_LIMIT_PAIRS lines. */
#ifndef PERI_ENV_LOG_LIMIT_H
#define PERI_ENV_LOG_LIMIT_H

#include "env/log.h"

enum { ENV_LOG_LIMIT_PAIRS = 16 };

/* Starts zeroed; owns nothing. For one thread. */
struct env_log_limit {
    struct env_log_pair {
        uint64_t key;       /* of the pair; the first entry is the one that is shared */
        uint64_t logged_us; /* when it had its last line; 0: never */
        uint64_t left_out;  /* since then */
    } pairs[ENV_LOG_LIMIT_PAIRS];
};

/* Is env_log, unless the pair of who and kind had a line within the last second. */
void env_log_limited(struct env *env, struct env_log_limit *limit, struct peri_slice who, int kind,
                     enum env_log_level level, const char *component, const char *format, ...)
    __attribute__((format(printf, 7, 8)));

/* Writes how many lines were left out and not told of yet, if any were: what limit is for ends. */
void env_log_limit_end(struct env *env, struct env_log_limit *limit, enum env_log_level level,
                       const char *component);

#endif
