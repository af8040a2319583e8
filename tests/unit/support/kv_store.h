/* kv_store.h - the key/value store over keys in memory, without nodes and disks: whether a read is
 * answered at once and how long pages are is drawn, so that runs begin again at every place. */
#ifndef PERI_TESTS_KV_STORE_H
#define PERI_TESTS_KV_STORE_H

#include "kv/run.h"

/* Starts zeroed but for random, which is not 0; ended by kv_store_deinit. */
struct kv_store {
    struct node_keymap keys;
    struct node_keytail tail; /* told, and not laid yet */
    uint64_t mark;            /* compacted up to there */
    bool lays_late;           /* only when the test says so; else it is drawn, too */
    uint64_t random;
    struct kv_view view;
    struct kv_page *wanted;   /* pages, and ... */
    struct peri_buffer names; /* ... keys, as pairs of store/chunk.h, that come later */
    unsigned runs;
    void (*spare)(bool is_spared); /* test_alloc_spare, around what is not under test; or NULL */
    bool is_dry;                   /* commands have no effect, */
    uint64_t effect;               /* but this is a hash of what it was */
};

/* A number below that. */
uint64_t kv_store_draw(struct kv_store *store, uint64_t below);

/* Carries out a command, or answers a query. out and err are emptied first. */
int kv_store_apply(struct kv_store *store, struct peri_slice bytes, struct peri_buffer *out,
                   struct peri_error *err);
int kv_store_ask(struct kv_store *store, struct peri_slice bytes, struct peri_buffer *out,
                 struct peri_error *err);
/* Makes keys of all that was told. */
void kv_store_lay(struct kv_store *store);
/* Lets all go that is compacted; returns how many steps that took. */
unsigned kv_store_sweep(struct kv_store *store);
void kv_store_deinit(struct kv_store *store);

/* How many keys, after kv_store_lay, with names that begin with that byte there are: 'k' keys, 'e'
 * events, ... */
size_t kv_store_count(struct kv_store *store, char tag);

/* Appends the bytes of a command or a query to buffer. */
void kv_store_encode(const struct kv_command *command, struct peri_buffer *buffer);
void kv_store_encode_query(const struct kv_query *query, struct peri_buffer *buffer);

/* The slice of a text. */
struct peri_slice kv_text(const char *text);

#endif
