/* resp_plan.h - Redis' commands on keys as operations of the store (command.h), and what those
 * answer as replies. Pure.
 *
 *      GET a          read    ["fetch", a]                       value or nil
 *      SET a b EX 5   do      ["set", a, b, 5000, 0]             OK
 *      MULTI .. EXEC  do      all of their operations, at once
 */
#ifndef PERI_KV_RESP_PLAN_H
#define PERI_KV_RESP_PLAN_H

#include "kv/resp.h"
#include "wire/pack.h"

/* How the results of a command's operations become its reply. */
enum resp_shape {
    RESP_OK,
    RESP_OK_OR_NIL,   /* SET under a condition */
    RESP_HAPPENED,    /* SETNX: 1 or 0 */
    RESP_OLD,         /* SET with GET, GETSET: the value before */
    RESP_VALUE,       /* one value; of several results, the first */
    RESP_VALUES,      /* MGET */
    RESP_PART,        /* GETRANGE: of a value, from a to b */
    RESP_NUMBER,      /* as it is; true is 1 */
    RESP_SUM,         /* of numbers */
    RESP_THERE,       /* EXISTS: how many have a ttl */
    RESP_TTL_SECONDS, /* ms, rounded to seconds */
    RESP_TTL_MS,
    RESP_END_SECONDS, /* the wall clock's time, a, and the ttl */
    RESP_END_MS,
    RESP_BYTES, /* a text that an operation made */
    RESP_TYPE,
};

enum resp_flags {
    RESP_READS = 1,  /* changes nothing */
    RESP_WRITES = 2, /* both: on keys, so that it can stand in a transaction */
    RESP_ALONE = 4,  /* waits until all before it are answered, and what comes after waits for it */
};

struct resp_planner; /* resp_plan.c */

/* What there is to know of a command by its name. */
struct resp_word {
    const char *name;
    int arity; /* arguments with the name; -n: at least n */
    unsigned flags;
    int first, last, step; /* where its keys are; last -1: up to the end */
    int (*plan)(struct resp_planner *planner);
};

/* The command of that name, or NULL. Lent for ever. */
const struct resp_word *resp_word_find(struct peri_slice name);
/* All of them, and how many. */
const struct resp_word *resp_words(size_t *count);
/* True when a command with so many arguments, its name among them, can be. */
bool resp_word_takes(const struct resp_word *word, uint32_t count);

/* What is left to know when the results come. */
struct resp_plan {
    enum resp_shape shape;
    uint32_t operations;
    int64_t a, b;
    int64_t idle_ms; /* how long ago log time, by which ttls are answered, stood where it stands */
};

/* Fills plan, and appends its operations to out; the command has as many arguments as it takes, and
 * its word is one that reads or writes. wall_ms: now, for times that are absolute. absent: keys
 * that must not be there are appended as compares (MSETNX), or NULL where that cannot be. Errors:
 * PERI_EINVAL with the error's text for the client, code and all. */
int resp_plan_make(const struct resp_word *word, const struct resp_command *command,
                   int64_t wall_ms, struct resp_plan *plan, struct wire_packer *out,
                   struct wire_packer *absent, uint32_t *absent_count, struct peri_error *err);

/* resp_answer.c: reads the results of the plan's operations, and writes the reply. */
void resp_plan_answer(const struct resp_plan *plan, struct wire_unpacker *results,
                      struct resp_writer *writer);

/* What Redis says instead of an error's text, or that text. */
const char *resp_error_text(const char *text);

/* Appends an operation with a key alone. */
void resp_pack_key(struct wire_packer *out, const char *operation, struct peri_slice key);

#endif
