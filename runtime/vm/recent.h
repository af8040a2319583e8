/* recent.h - strings given to Lua lately, given again for less, and the sums that go with them.
 *
 * Text repeats its words. lua_pushlstring hashes all bytes, walks Lua's string table, and often
 * allocates what the collector has just freed; a small cache keeps the latest short strings alive
 * and finds them by a product.
 *
 * What is given is often counted next. A sum may lie beside each string: Lua has a short string
 * only once, and one that is kept stays where it is, so the address of the string given last tells
 * whether it is the one to add to. Nothing is hashed or compared, and the words that make up most
 * of a text stay in the processor's caches. A string that makes way for another one hands its sum
 * to whoever asked for sums. */
#ifndef PERI_VM_RECENT_H
#define PERI_VM_RECENT_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"
#include "vm/state.h"

enum { VM_RECENT_MAX = 15 }; /* bytes of a kept string: longer ones do not come often */

/* The bytes and the size of a short string: the first eight bytes in low and the others in high,
 * padded with zeros; the last byte of high is the size. All zeros: none. */
struct vm_recent_image {
    uint64_t low, high;
};

enum { VM_RECENT_SIZE_SHIFT = 56 };

/* One string; user value number 1 + the slot's index keeps it alive. */
struct vm_recent_slot {
    struct vm_recent_image image;
    const void *summed; /* lua_topointer's, once there is a sum; else NULL */
    int64_t sum;        /* wraps, as in Lua */
};

/* Takes over the sum of a string, which is lent for the call. May raise. */
typedef void vm_recent_leave(lua_State *L, void *data, struct peri_slice string, int64_t sum);

/* Who wants sums. */
struct vm_recent_taker {
    vm_recent_leave *leave;
    void *data;
};

/* Of one state, which closes it; vm_state.recent, made when it is first needed. */
struct vm_recent {
    struct vm_recent_slot *slots; /* 2^bits */
    unsigned bits;
    size_t sums;                 /* slots that have one */
    struct vm_recent_slot *last; /* of the latest string: where to add is tried first */
    uint64_t added;              /* so many times since the latest flush */
};

/* Pushes the userdata that keeps the strings of this state alive, made by the first call; what it
 * returns is part of it. Raises when memory is short. */
struct vm_recent *vm_recent_open(lua_State *L);

/* From now on there may be sums, for which taker is lent until vm_recent_end_sums. Nobody has asked
 * in this state before. */
void vm_recent_begin_sums(lua_State *L, const struct vm_recent_taker *taker);

/* Hands all sums over. Returns how many integers were added since the latest flush. Raises what
 * leave raises. */
uint64_t vm_recent_flush(lua_State *L);

/* Forgets the sums; nothing is added or handed over any more. Does nothing when nobody asked. */
void vm_recent_end_sums(lua_State *L);

/* Adds integer to the sum of the string at stack index, which is kept from now on; false when
 * nobody wants sums, or it is no string that is short enough. Raises what leave raises, and when
 * memory is short. */
bool vm_recent_sum(lua_State *L, int index, int64_t integer);

/* The same when string is what lua_topointer gives for the string given last and it has a sum
 * already, which is the most frequent case; false in all others. */
static inline bool vm_recent_add(struct vm_recent *recent, const void *string, int64_t integer)
{
    struct vm_recent_slot *slot = recent->last;
    if (slot->summed != string || string == NULL)
        return false;
    slot->sum = (int64_t)((uint64_t)slot->sum + (uint64_t)integer);
    recent->added++;
    return true;
}

/* The parts of vm_recent_push that are not inlined. */
void vm_recent_push_new(lua_State *L, struct vm_recent *recent, int keeper, struct peri_slice bytes,
                        struct vm_recent_image image);
void vm_recent_push_any(lua_State *L, struct vm_recent *recent, int keeper,
                        struct peri_slice bytes);

/* bytes has 1 to VM_RECENT_MAX bytes; first is the eight bytes that begin there, whatever lies
 * behind the string's end. */
static inline struct vm_recent_image vm_recent_image_of(struct peri_slice bytes, uint64_t first)
{
    enum { WORD = 8 };
    struct vm_recent_image image = {first, (uint64_t)bytes.size << VM_RECENT_SIZE_SHIFT};
    if (bytes.size > WORD) {
        uint64_t last;
        memcpy(&last, bytes.data + bytes.size - WORD, WORD);
        image.high |= last >> 8 * (2 * WORD - bytes.size);
    } else {
        image.low &= UINT64_MAX >> (64 - 8 * bytes.size);
    }
    return image;
}

/* The only slot where the image may be. */
static inline struct vm_recent_slot *vm_recent_slot_of(const struct vm_recent *recent,
                                                       struct vm_recent_image image)
{
    uint64_t mixed = (image.low ^ image.high * 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u;
    return &recent->slots[mixed >> (64 - recent->bits)];
}

static inline bool vm_recent_is_at(const struct vm_recent_slot *slot, struct vm_recent_image image)
{
    return slot->image.low == image.low && slot->image.high == image.high;
}

/* Pushes bytes as a string. keeper is the index of the userdata that vm_recent_open pushed; end is
 * the end of the memory around bytes that may be read. Raises when memory is short, and what leave
 * raises. */
static inline void vm_recent_push(lua_State *L, struct vm_recent *recent, int keeper,
                                  struct peri_slice bytes, const char *end)
{
    uint64_t first;
    if (bytes.size - 1 >= VM_RECENT_MAX || end - bytes.data < (ptrdiff_t)sizeof first) {
        vm_recent_push_any(L, recent, keeper, bytes);
        return;
    }
    memcpy(&first, bytes.data, sizeof first);
    struct vm_recent_image image = vm_recent_image_of(bytes, first);
    struct vm_recent_slot *slot = vm_recent_slot_of(recent, image);
    recent->last = slot;
    if (vm_recent_is_at(slot, image))
        (void)lua_getiuservalue(L, keeper, (int)(slot - recent->slots) + 1);
    else
        vm_recent_push_new(L, recent, keeper, bytes, image);
}

#endif
