/* vm_replica.h - a sandbox of replicated machines, and scripts that run in it.
 *
 * Scripts get draw(n), a number from 1 to n of the replica's own stream; encode(value), its
 * MessagePack or why there is none; stock_length(table). Failures fail the test that runs. */
#ifndef PERI_TESTS_VM_REPLICA_H
#define PERI_TESTS_VM_REPLICA_H

#include <stdint.h>

#include "env/env.h"
#include "vm/deterministic.h"
#include "vm/state.h"

#define BUDGET UINT64_C(10000000)   /* instructions: more than a test needs */
#define BYTES_MAX ((size_t)1 << 24) /* of an encoded state */

struct replica {
    struct vm_options options;
    struct vm_state *vm;
    lua_State *L;
    uint64_t random;
    char printed[256];
};

extern struct env *replica_env; /* from replica_setup to replica_teardown */

/* For cmocka_run_group_tests. */
int replica_setup(void **state);
int replica_teardown(void **state);

/* A replica whose draws begin with the seed; its end. */
void replica_init(struct replica *replica, uint64_t seed);
void replica_deinit(struct replica *replica);

/* Loads and calls text in a budget; the results are on the stack. Returns what
 * vm_deterministic_call does; use may be NULL. */
int replica_run(struct replica *replica, const char *text, uint64_t budget,
                struct vm_deterministic_use *use);

/* The same with a file, which must not fail. */
void replica_run_file(struct replica *replica, const char *path);

#endif
