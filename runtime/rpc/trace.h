/* trace.h - tells whoever watches of every call that ended. */
#ifndef PERI_RPC_TRACE_H
#define PERI_RPC_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* One call, cast or stream that has ended. Everything is lent. */
struct rpc_trace_call {
    bool is_ours;     /* we called; else it was served */
    const char *kind; /* "call", "cast", "stream" */
    const char *peer; /* "n2 (127.0.0.1:7110)" */
    struct peri_slice name;
    uint64_t request_bytes; /* on the wire */
    uint64_t answer_bytes;  /* 0: there was none */
    uint64_t duration_us;
    struct peri_slice outcome; /* empty: it succeeded; else the code's name */
};

/* Lent to clients and servers, which look at is_on for every call. */
struct rpc_tracer {
    bool is_on;
    void (*on_call)(struct rpc_tracer *tracer, const struct rpc_trace_call *call);
};

static inline bool rpc_trace_is_on(const struct rpc_tracer *tracer)
{
    return tracer != NULL && tracer->is_on;
}

#endif
