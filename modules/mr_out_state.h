/* mr_out_state.h - what mr_out.c (sinks, files, the result) and mr_out_lua.c (the Lua face) share.
 */
#ifndef PERI_MODULES_MR_OUT_STATE_H
#define PERI_MODULES_MR_OUT_STATE_H

#include "mr_held.h"
#include "mr_out.h"
#include "vm/recent.h"

enum { MR_OUT_LEFT_MAX = 64 };

enum mr_sink { SINK_NONE, SINK_EMIT, SINK_FILE, SINK_SPILL, SINK_GROUP, SINK_SAMPLE };

struct mr_named {
    char *name;
    struct mr_output *output;
};

/* Sums that have left vm/recent.h, on their way to emit. */
struct mr_out_left {
    struct mr_tally tallies[MR_OUT_LEFT_MAX];
    char bytes[MR_OUT_LEFT_MAX][VM_RECENT_MAX]; /* of their strings */
    size_t count;
};

struct mr_out {
    struct mr_task *task;
    enum mr_sink sink;
    struct mr_emit *emit;
    int partition; /* registry reference of the user's function, or LUA_NOREF */
    uint32_t partitions;
    bool is_summing; /* frequent strings have their sums in vm/recent.h, not yet in emit */
    struct vm_recent_taker taker; /* of those sums */
    struct mr_out_left left;
    struct mr_output *file;
    struct mr_spill_writer *spill;
    struct mr_combine_out *group;
    struct peri_slice group_key;
    uint64_t sample_limit, records;
    struct peri_buffer sample;             /* keys, each behind its u32 size */
    struct peri_buffer single;             /* group_key's first part as a key of its own */
    struct peri_buffer key, value, packed; /* scratch */
    struct peri_error err;                 /* scratch: of the call under way */
    int counters;                          /* registry reference of name -> count */
    struct mr_held held;                   /* of the record under way */
    struct mr_named named[MR_OUT_NAMED_MAX];
    size_t named_count;
};

/* The format of named outputs. */
const char *mr_out_named_format(const struct mr_out *out);

/* Whether the sink would take the pair, and holds it back. Errors: those of mr_out_put that are the
 * user's doing; PERI_EMEMORY when too much is held. */
int mr_out_hold(struct mr_out *out, const struct mr_held_item *item, struct peri_error *err);

/* Adds n to the counter whose name stands on top of L's stack; pops it. Raises on lack of memory.
 */
void mr_out_count(lua_State *L, struct mr_out *out, lua_Integer n);

/* The named output, opened in that format at its first use. Errors: those of opening files;
 * PERI_ETOOBIG for more than MR_OUT_NAMED_MAX. */
int mr_out_named(struct mr_out *out, const char *name, const char *format,
                 struct mr_output **output, struct peri_error *err);

#endif
