/* kv_model.h - a key/value store that is obviously right, to compare the real one with: what each
 * command results in and each query is answered, byte by byte, and random ones over few keys, with
 * sessions, leases, time and compaction. */
#ifndef PERI_TESTS_KV_MODEL_H
#define PERI_TESTS_KV_MODEL_H

#include "kv_store.h"
#include "wire/pack.h"

enum {
    KV_MODEL_COMMANDS = 300, /* so many at the most */
    KV_MODEL_KEYS = 7,
    KV_MODEL_VALUE = 48,
    KV_MODEL_RESULT = 16384,
    KV_MODEL_IDS = 400,
    KV_MODEL_EVENTS = 8000,
    KV_MODEL_REVISIONS = KV_MODEL_COMMANDS + 200
};

extern const struct peri_slice kv_model_names[KV_MODEL_KEYS];

struct kv_model_key {
    uint64_t revision, created, version, lease; /* revision 0: it is not there */
    size_t size;
    char value[KV_MODEL_VALUE];
};

struct kv_model_event {
    uint64_t revision, number;
    int key;
    bool is_delete;
    struct kv_model_key entry;
};

/* A lease or a session. */
struct kv_model_id {
    bool is_there, is_session, has_due, is_skipped;
    uint64_t ttl_ms, expires_ms, due_ms, sequence;
    size_t result_size;
    char *result;
};

struct kv_model_state {
    struct kv_model_key now[KV_MODEL_KEYS];
    uint64_t revision, compacted, clock_ms, last_id;
    size_t event_count;
    uint32_t changes; /* of the command */
    struct kv_model_id ids[KV_MODEL_IDS];
};

/* Large: static. Ended by kv_model_end. */
struct kv_model {
    struct kv_store *store; /* which draws; lent */
    struct kv_model_state is, before;
    struct kv_model_key past[KV_MODEL_REVISIONS][KV_MODEL_KEYS];
    struct kv_model_event events[KV_MODEL_EVENTS];
    struct peri_buffer expected; /* the result, or the answer */
    struct peri_buffer parts;
    struct wire_packer result; /* to parts */
    uint64_t now_ms;           /* when the next command comes */
};

/* An empty store. */
void kv_model_begin(struct kv_model *model, struct kv_store *store);
void kv_model_end(struct kv_model *model);

/* What becomes of a command, and what a query is answered: 0 and model->expected, or an error, and
 * the model is as before. */
int kv_model_apply(struct kv_model *model, const struct kv_command *command);
int kv_model_ask(struct kv_model *model, const struct kv_query *query);

/* What comes next. */
void kv_model_draw_command(struct kv_model *model, struct kv_command *command);
struct kv_query kv_model_draw_query(struct kv_model *model);

/* ---- for kv_model_*.c ---- */

int kv_model_key_of(struct peri_slice name);
bool kv_model_is_inside(const struct kv_bounds *bounds, int key);
bool kv_model_has_id(const struct kv_model *model, uint64_t id, bool is_session);
/* The one that is due first: leases before sessions; 0: none is. */
uint64_t kv_model_first_due(const struct kv_model *model, uint64_t until_ms);
void kv_model_pack_key(struct wire_packer *out, const struct kv_model_key *key, bool has_value);
void kv_model_pack_range(struct wire_packer *out, const struct kv_model_key *keys,
                         const struct kv_bounds *bounds);

#endif
