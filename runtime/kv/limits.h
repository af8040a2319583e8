/* limits.h - how large things may be. What is above is an error that names the limit, and has no
 * effect: the same on all replicas. */
#ifndef PERI_KV_LIMITS_H
#define PERI_KV_LIMITS_H

enum {
    KV_KEY_MAX = 1024,                /* bytes of a key; at least 1 */
    KV_VALUE_MAX = (8 << 20) - 8192,  /* bytes of a value: with its key below NODE_COMMAND_MAX */
    KV_OPERATIONS_MAX = 128,          /* in each branch of a command */
    KV_COMPARES_MAX = 128,            /* of a command */
    KV_BATCH_MAX = 128,               /* commands of a batch */
    KV_BATCH_BYTES = 16 << 20,        /* that one reads or writes, after which it stops early */
    KV_SCRIPT_MAX = 1 << 20,          /* bytes of a script */
    KV_SCRIPT_KEYS_MAX = 128,         /* that it names */
    KV_SCRIPT_ARGS_MAX = 1024,        /* and its arguments */
    KV_RANGE_MAX = 1000,              /* pairs that one range gives, or one command deletes */
    KV_RANGE_BYTES_MAX = 1 << 20,     /* and bytes, but for the first pair */
    KV_RESULT_MAX = (8 << 20) - 1024, /* bytes of the result of a command */
    KV_READ_MAX = 80 << 20,           /* bytes that a command or query may read */
    KV_STEP_BYTES = 8 << 20,          /* read, after which a range stops early, and can go on */
    KV_EFFECT_MAX = 48 << 20,         /* bytes that a command may write */
    KV_CHANGES_MAX = 8192,            /* of keys, by one command */
    KV_EVENTS_MAX = 256,              /* events that one query looks at */
    KV_LEASE_KEYS_MAX = 4096,         /* keys of a lease: they all end with one command */
    KV_LEASES_MAX = 1 << 20,          /* of a store */
    KV_SESSIONS_MAX = 1 << 20,        /* of a store */
    KV_TTL_MIN_MS = 100,              /* of leases and sessions */
    KV_TTL_MAX_MS = 24 * 24 * 3600 * 1000, /* 24 days */
    KV_TICK_MAX = 64,                      /* leases and sessions that one tick looks at */
    KV_SWEEP_MAX = 512,                    /* events that one step takes off the disk */
};

/* The latest log time: what is beyond is no clock. */
#define KV_CLOCK_MAX_MS (UINT64_C(1) << 53)

#endif
