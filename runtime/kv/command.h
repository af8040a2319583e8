/* command.h - commands and queries as bytes. MessagePack; README.md has the whole grammar.
 *
 *      command   [1, now_ms, session, sequence, kind, ...]
 *      query     [1, kind, ...]
 *
 * They come from clients: what is not exactly as the grammar says is refused. Pure, fuzzed. */
#ifndef PERI_KV_COMMAND_H
#define PERI_KV_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "kv/limits.h"

enum { KV_COMMAND_VERSION = 1 };

enum kv_kind {
    KV_DO,      /* compares, then, else: operations over many keys */
    KV_OPEN,    /* a session; number: ttl_ms */
    KV_CLOSE,   /* the session that the command belongs to */
    KV_RESOLVE, /* what became of the sequence; it never happens when it has not yet */
    KV_GRANT,   /* a lease; number: ttl_ms */
    KV_KEEP,    /* number: the lease that goes on */
    KV_REVOKE,  /* number: the lease that ends, with its keys */
    KV_TICK,    /* ends leases and sessions that are due */
    KV_COMPACT, /* number: the revision up to which history goes */
    KV_KINDS
};

enum kv_operation_kind {
    KV_GET,
    KV_PUT,
    KV_DELETE,
    KV_APPEND,
    KV_INCREMENT,
    KV_RANGE,
    KV_DELETE_RANGE,
    KV_OPERATIONS
};

enum { KV_KEYS_ONLY = 1, KV_COUNT_ONLY = 2, KV_FLAGS = 3 };

/* Keys from from up to and without to; to is empty: to the end. */
struct kv_bounds {
    struct peri_slice from, to;
    uint32_t limit; /* 1 .. KV_RANGE_MAX */
    uint32_t flags;
};

struct kv_operation {
    enum kv_operation_kind kind;
    struct peri_slice key, value;
    uint64_t lease;   /* of a put; 0: none */
    bool keeps_lease; /* a put leaves the key on the lease that it has */
    int64_t delta;
    struct kv_bounds bounds;
};

enum kv_target { KV_REVISION, KV_CREATED, KV_VERSION, KV_LEASE, KV_VALUE, KV_TARGETS };
enum kv_relation { KV_EQUAL, KV_UNEQUAL, KV_LESS, KV_GREATER, KV_RELATIONS };

/* What is not there has revision, created, version and lease 0, and no value: it is unequal to all
 * and neither less nor greater. */
struct kv_compare {
    enum kv_target target;
    enum kv_relation relation;
    struct peri_slice key, value;
    uint64_t number;
};

/* Slices are lent with the bytes. */
struct kv_command {
    uint64_t now_ms;
    uint64_t session, sequence; /* 0, 0: none */
    enum kv_kind kind;
    uint64_t number;
    uint32_t compare_count, then_count, else_count;
    struct kv_compare compares[KV_COMPARES_MAX];
    struct kv_operation then[KV_OPERATIONS_MAX], otherwise[KV_OPERATIONS_MAX];
};

/* Errors: PERI_EINVAL for what is malformed or cannot be, PERI_ETOOBIG for what is beyond a limit,
 * PERI_EVERSION. */
int kv_command_decode(struct peri_slice bytes, struct kv_command *out, struct peri_error *err);

enum kv_query_kind {
    KV_ASK_KEY,     /* bounds.from at revision */
    KV_ASK_RANGE,   /* bounds at revision */
    KV_ASK_EVENTS,  /* of keys in bounds, from (revision, number) on */
    KV_ASK_LEASE,   /* revision: the lease */
    KV_ASK_OUTCOME, /* revision: the session; number: the sequence */
    KV_ASK_STATUS,
    KV_ASKS
};

struct kv_query {
    enum kv_query_kind kind;
    struct kv_bounds bounds;
    uint64_t revision, number; /* revision 0: as it is now */
};

/* Errors: as of kv_command_decode. */
int kv_query_decode(struct peri_slice bytes, struct kv_query *out, struct peri_error *err);

#endif
