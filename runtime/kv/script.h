/* script.h - scripts that EVAL runs as one command of the store: all that they do happens, or
 * nothing.
 *
 *      eval.c  --run-->  an engine (modules/kv_script.c)  --command-->  eval.c: operations
 *
 * The engine is another language's; kv knows none. What it does may depend on the call alone: the
 * same on all replicas. */
#ifndef PERI_KV_SCRIPT_H
#define PERI_KV_SCRIPT_H

#include "base/buffer.h"
#include "base/error.h"
#include "kv/resp.h"

struct kv_script_call {
    struct peri_slice text;
    const struct peri_slice *words; /* the keys, then the arguments */
    uint32_t key_count, arg_count;
    int version; /* of the protocol of the reply */
    void *host;
    /* Carries out a command, and appends its reply in version 2 of the protocol, which may be an
     * error. When it returns something else than 0, that is how the script ends, whatever it does
     * about it. */
    int (*command)(void *host, const struct resp_command *command, struct peri_buffer *reply);
};

struct kv_engine {
    /* Runs a script, and appends its reply, which is no error. Errors: those of command; PERI_ELUA,
     * with a text for the client that begins with a code; PERI_ECPU when it did too much;
     * PERI_ENOMEM: this replica lacks memory. */
    int (*run)(struct kv_engine *engine, const struct kv_script_call *call,
               struct peri_buffer *reply, struct peri_error *err);
};

#endif
