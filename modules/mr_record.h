/* mr_record.h - records and slices as Lua userdata, for the modules that run map functions.
 *
 *   mr_records_create(L);                         pushes the pool; keep it on the stack
 *   struct mr_records *pool = mr_records_at(L, pool_index);
 *   while (mr_reader_next(reader, mr_records_next(pool), &err) == 1) {
 *       lua_pushvalue(L, map_index);
 *       mr_records_push(L, pool, pool_index);     the record that was read
 *       lua_pushvalue(L, out_index);
 *       lua_call(L, 2, 0);
 *   }
 *   mr_records_retire(pool);                      before the last record's bytes go away
 *
 * A few userdata are used in turn, so that a record kept from an earlier call is known to be stale
 * rather than showing the bytes of the newer one. */
#ifndef PERI_MODULES_MR_RECORD_H
#define PERI_MODULES_MR_RECORD_H

#include <lua.h>
#include <stdbool.h>

#include "base/slice.h"
#include "mapreduce/record.h"
#include "mr_feed.h"
#include "mr_seek.h"
#include "mr_text.h"

/* How many userdata take turns. A prime, so that keeping every second, fourth or tenth record is
 * noticed as well. */
enum { MR_RECORDS_COUNT = 7 };

struct mr_records {
    struct mr_record_box *boxes[MR_RECORDS_COUNT]; /* user values 1 to MR_RECORDS_COUNT */
    int current;
    struct mr_feed feed; /* of the words of records that follow one another */
    struct mr_seek seek; /* of what is looked for in such */
};

/* Pushes a new pool of record userdata. Raises when memory is short. */
void mr_records_create(lua_State *L);

/* The pool at index. Lent while Lua keeps it. */
struct mr_records *mr_records_at(lua_State *L, int index);

/* Makes the record pushed last stale. */
static inline void mr_records_retire(struct mr_records *pool)
{
    struct mr_record_box *box = pool->boxes[pool->current];
    box->is_live = false;
    box->generation++;
}

/* Makes the record pushed before stale, and lends the next userdata's record to be filled. */
static inline struct mr_record *mr_records_next(struct mr_records *pool)
{
    mr_records_retire(pool);
    pool->current = pool->current + 1 == MR_RECORDS_COUNT ? 0 : pool->current + 1;
    return &pool->boxes[pool->current]->record;
}

/* Pushes the userdata that mr_records_next has chosen of the pool at pool_index; the bytes of its
 * record are lent until it is stale. Allocates nothing, so it never raises. */
static inline void mr_records_push(lua_State *L, struct mr_records *pool, int pool_index)
{
    pool->boxes[pool->current]->is_live = true;
    (void)lua_getiuservalue(L, pool_index, pool->current + 1);
}

/* Reads a record or slice at index. False when the value is neither; raises when it is stale. The
 * bytes are lent until the record is stale or the slice's iterator moves on. */
bool mr_record_slice(lua_State *L, int index, struct peri_slice *out);

/* Opens perilune.mr_text: the record methods as functions that take strings as well. */
int luaopen_perilune_mr_text(lua_State *L);

#endif
