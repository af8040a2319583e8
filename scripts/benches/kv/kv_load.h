/* kv_load.h - what all stores are asked by the load generator (rpc/load.h): 100-byte values under
 * 1024 keys.
 *
 * The mode is "put", "get", "mix" (half and half), or "fill", which puts every key once and again.
 * Which key a request has, and whether it is a put, follows from its connection and id alone. */
#ifndef PERI_BENCH_KV_LOAD_H
#define PERI_BENCH_KV_LOAD_H

#include "../rpc/load.h"

enum { KV_LOAD_KEYS = 1024, KV_LOAD_KEY_SIZE = 12, KV_LOAD_VALUE_SIZE = 100 };

struct kv_load_request {
    bool is_put;
    char key[KV_LOAD_KEY_SIZE + 1];
    struct peri_slice value; /* of a put */
};

/* The request with that id on the connection that is being served. */
struct kv_load_request kv_load_request(uint64_t id);
/* True when the request with that id is a put. */
bool kv_load_is_put(uint64_t id);

extern const struct load_protocol kv_load_etcd; /* etcd.c */

#endif
