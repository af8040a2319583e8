/* kv_script.h - Lua as the language of EVAL's scripts: the sandbox of replicated machines
 * (vm/deterministic.h) for the store (kv/script.h).
 *
 * Each script has a Lua state of its own, made for it and closed behind it: nothing of an earlier
 * one is there. It has KEYS, ARGV, unpack, and redis with call, pcall, error_reply, status_reply.
 * What it may do is bounded, the same on all replicas. */
#ifndef PERI_MODULES_KV_SCRIPT_H
#define PERI_MODULES_KV_SCRIPT_H

#include "env/env.h"
#include "kv/script.h"

enum {
    KV_SCRIPT_INSTRUCTIONS = 1000000, /* see vm/budget.h; some 10 ms */
    KV_SCRIPT_BYTES = 32 << 20,       /* that it may make, garbage included */
};

/* Embedded. */
struct kv_script_engine {
    struct kv_engine engine;
    struct env *env;
};

/* engine is for a store of that env (kv_machine_set_engine); it holds nothing. */
void kv_script_engine_init(struct kv_script_engine *engine, struct env *env);

#endif
