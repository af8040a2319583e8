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
#include "wire/pack.h"

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
    KV_EVAL,    /* a script over keys that it names */
    KV_BATCH,   /* commands as of KV_DO, one after the other, each of which happens or not */
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
    KV_SET,       /* a put with a ttl of its own, under a condition */
    KV_FETCH,     /* the value alone */
    KV_SIZE,      /* how many bytes that has */
    KV_TTL,       /* what is left of the key's lease */
    KV_EXPIRE,    /* the key gets a lease of its own */
    KV_PERSIST,   /* the key leaves its lease */
    KV_ADD_FLOAT, /* to a decimal fraction */
    KV_OPERATIONS
};

/* Flags of KV_SET and KV_EXPIRE: when they do anything; and that KV_SET gives the value before. */
enum {
    KV_IF_ABSENT = 1,  /* the key; of expire: its lease */
    KV_IF_PRESENT = 2, /* the same */
    KV_IF_LATER = 4,   /* expire: than it ends now; a key without lease never ends */
    KV_IF_SOONER = 8,
    KV_GIVE_OLD = 16,
    KV_SET_FLAGS = KV_IF_ABSENT | KV_IF_PRESENT | KV_GIVE_OLD,
    KV_EXPIRE_FLAGS = KV_IF_ABSENT | KV_IF_PRESENT | KV_IF_LATER | KV_IF_SOONER
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
    int64_t delta;    /* of an increment; ms of set (0: for ever, -1: as it is) and of expire */
    uint32_t flags;
    struct kv_bounds bounds;
};

enum kv_target {
    KV_REVISION,
    KV_CREATED,
    KV_VERSION,
    KV_LEASE,
    KV_CHANGED, /* when it was set or removed last: kv_find_change */
    KV_VALUE,
    KV_TARGETS
};
enum kv_relation { KV_EQUAL, KV_UNEQUAL, KV_LESS, KV_GREATER, KV_RELATIONS };

/* What is not there has revision, created, version and lease 0, and no value: it is unequal to all
 * and neither less nor greater. Only when it was removed is remembered, until that is compacted. */
struct kv_compare {
    enum kv_target target;
    enum kv_relation relation;
    struct peri_slice key, value;
    uint64_t number;
};

/* True when an operation changes nothing. */
static inline bool kv_operation_reads(const struct kv_operation *operation)
{
    return operation->kind == KV_GET || operation->kind == KV_RANGE ||
           operation->kind == KV_FETCH || operation->kind == KV_SIZE || operation->kind == KV_TTL;
}

/* What EVAL of Redis runs (script.h). */
struct kv_script {
    struct peri_slice text;
    uint64_t wall_ms; /* the wall clock of whoever was asked: for times that are absolute */
    uint32_t version; /* of the protocol of the reply, 2 or 3 */
    uint32_t key_count, arg_count;
    struct peri_slice keys, args; /* lists, as they came: kv_script_words */
};

/* Slices are lent with the bytes. */
struct kv_command {
    uint64_t now_ms;
    uint64_t session, sequence; /* 0, 0: none */
    enum kv_kind kind;
    uint64_t number;
    struct kv_script script;
    uint32_t part_count;
    struct peri_slice parts; /* of a batch, as they came: kv_batch_next */
    uint32_t compare_count, then_count, else_count;
    struct kv_compare compares[KV_COMPARES_MAX];
    struct kv_operation then[KV_OPERATIONS_MAX], otherwise[KV_OPERATIONS_MAX];
};

/* Appends the head of a command with count parts in all; its time is left to whoever leads the
 * group (kv_command_stamp). No session. */
void kv_command_begin(struct wire_packer *out, uint32_t count, const char *kind);
/* Writes log time into a command that began so. Errors: PERI_EINVAL, it did not. */
int kv_command_stamp(struct peri_buffer *command, uint64_t now_ms);

/* Errors: PERI_EINVAL for what is malformed or cannot be, PERI_ETOOBIG for what is beyond a limit,
 * PERI_EVERSION. */
int kv_command_decode(struct peri_slice bytes, struct kv_command *out, struct peri_error *err);

/* Reads the next command of a batch, whose parts begin at in (wire_unpack(command->parts) and the
 * head of the list taken): compares and branches of out. */
void kv_batch_next(struct wire_unpacker *in, struct kv_command *out);

/* The keys of a script, and then its arguments: as many as it says. */
void kv_script_words(const struct kv_script *script, struct peri_slice *out);

enum kv_query_kind {
    KV_ASK_KEY,     /* bounds.from at revision */
    KV_ASK_RANGE,   /* bounds at revision */
    KV_ASK_EVENTS,  /* of keys in bounds, from (revision, number) on */
    KV_ASK_LEASE,   /* revision: the lease */
    KV_ASK_OUTCOME, /* revision: the session; number: the sequence */
    KV_ASK_STATUS,
    KV_ASK_READ, /* operations that change nothing, at once */
    KV_ASKS
};

struct kv_query {
    enum kv_query_kind kind;
    struct kv_bounds bounds;
    uint64_t revision, number; /* revision 0: as it is now */
    uint32_t count;
    struct kv_operation operations[KV_OPERATIONS_MAX];
};

/* Errors: as of kv_command_decode. */
int kv_query_decode(struct peri_slice bytes, struct kv_query *out, struct peri_error *err);

#endif
