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
 * to whoever asked for sums.
 *
 * A text of many different words makes the cache grow, page by page, as long as strings make way
 * too often. Then it is larger than the processor's caches: whoever knows several strings in
 * advance says so with vm_recent_expect, and the memory is there when they are pushed. */
#ifndef PERI_VM_RECENT_H
#define PERI_VM_RECENT_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"
#include "vm/state.h"

enum {
    VM_RECENT_MAX = 15, /* bytes of a kept string: longer ones do not come often */
    VM_RECENT_WAYS = 2, /* slots where a string may be: what a line of the caches has room for */
    VM_RECENT_PAGES_BITS = 4,
    VM_RECENT_PAGES_MAX = 1 << VM_RECENT_PAGES_BITS,
    VM_RECENT_VALUE_SIZE = 2 * sizeof(void *), /* of a user value in Lua's memory */
};

/* The bytes and the size of a short string: the first eight bytes in low and the others in high,
 * padded with zeros; the last byte of high is the size. All zeros: none. */
struct vm_recent_image {
    uint64_t low, high;
};

enum { VM_RECENT_SIZE_SHIFT = 56 };

/* One string; a user value of its page keeps it alive. */
struct vm_recent_slot {
    struct vm_recent_image image;
    const void *summed; /* lua_topointer's, once there is a sum; else NULL */
    int64_t sum;        /* wraps, as in Lua */
};

/* A userdata: user value number 1 + a slot's index is its string. */
struct vm_recent_page {
    struct vm_recent_slot *slots; /* 2^bits, in the userdata */
    const char *values; /* where Lua should have user value 1: asked for ahead, never read */
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
    struct vm_recent_page pages[VM_RECENT_PAGES_MAX]; /* the first is the keeper */
    unsigned bits;                                    /* of a slot's index in its page */
    unsigned page_mask;                               /* pages in use - 1 */
    struct vm_recent_slot *last; /* of the latest string: where to add is tried first */
    uint64_t added;              /* so many times since the latest flush */
    size_t sums;                 /* slots that have one */
    uint64_t given;              /* strings, since growth was last thought about */
    uint64_t missed, evicted;    /* that were new then, that made way then */
};

/* A string that is going to be pushed. */
struct vm_recent_word {
    struct peri_slice bytes;
    struct vm_recent_image image; /* zeros: it is not one to keep */
    uint64_t hash;
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

/* The part of vm_recent_push_word that is not inlined. */
void vm_recent_push_new(lua_State *L, struct vm_recent *recent, int keeper,
                        const struct vm_recent_word *word);

/* Reads the first eight bytes, or as many as there are, padded with zeros. */
uint64_t vm_recent_read_first(struct peri_slice bytes);

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

static inline uint64_t vm_recent_hash(struct vm_recent_image image)
{
    return (image.low ^ image.high * 0x9E3779B97F4A7C15u) * 0xD6E8FEB86659FD93u;
}

static inline size_t vm_recent_page_of(const struct vm_recent *recent, uint64_t hash)
{
    return hash >> (64 - VM_RECENT_PAGES_BITS - recent->bits + 1) & recent->page_mask;
}

/* The first of the slots in the page where the string may be. */
static inline size_t vm_recent_index_of(const struct vm_recent *recent, uint64_t hash)
{
    return VM_RECENT_WAYS * (hash >> (64 - recent->bits + 1));
}

static inline bool vm_recent_is_at(const struct vm_recent_slot *slot, struct vm_recent_image image)
{
    return slot->image.low == image.low && slot->image.high == image.high;
}

/* Makes a word of bytes; end is the end of the memory around them that may be read. */
static inline struct vm_recent_word vm_recent_word_of(struct peri_slice bytes, const char *end)
{
    struct vm_recent_word word = {.bytes = bytes};
    uint64_t first;
    if (bytes.size - 1 >= VM_RECENT_MAX)
        return word;
    if (end - bytes.data >= (ptrdiff_t)sizeof first)
        memcpy(&first, bytes.data, sizeof first);
    else
        first = vm_recent_read_first(bytes);
    word.image = vm_recent_image_of(bytes, first);
    word.hash = vm_recent_hash(word.image);
    return word;
}

/* The same, and asks for the memory that pushing the word will need: for use some words ahead. (A
 * function that did nothing else would be left out by the compiler.) */
static inline struct vm_recent_word vm_recent_expect(const struct vm_recent *recent,
                                                     struct peri_slice bytes, const char *end)
{
    struct vm_recent_word word = vm_recent_word_of(bytes, end);
    const struct vm_recent_page *page = &recent->pages[vm_recent_page_of(recent, word.hash)];
    size_t index = vm_recent_index_of(recent, word.hash);
    __builtin_prefetch(&page->slots[index]);
    __builtin_prefetch(page->values + index * VM_RECENT_VALUE_SIZE);
    return word;
}

/* Pushes the word as a string; another value may lie below it then. keeper is the index of the
 * userdata that vm_recent_open pushed. Raises when memory is short, and what leave raises. */
static inline void vm_recent_push_word(lua_State *L, struct vm_recent *recent, int keeper,
                                       const struct vm_recent_word *word)
{
    size_t page = vm_recent_page_of(recent, word->hash);
    size_t index = vm_recent_index_of(recent, word->hash);
    struct vm_recent_slot *slots = recent->pages[page].slots;
    index += vm_recent_is_at(&slots[index + 1], word->image);
    struct vm_recent_slot *slot = &slots[index];
    if (word->image.high == 0 || !vm_recent_is_at(slot, word->image)) {
        vm_recent_push_new(L, recent, keeper, word);
        return;
    }
    recent->last = slot;
    recent->given++;
    if (page != 0) {
        (void)lua_getiuservalue(L, keeper, (1 << recent->bits) + (int)page);
        keeper = -1;
    }
    (void)lua_getiuservalue(L, keeper, (int)index + 1);
}

/* The same with bytes; end is the end of the memory around them that may be read. */
static inline void vm_recent_push(lua_State *L, struct vm_recent *recent, int keeper,
                                  struct peri_slice bytes, const char *end)
{
    struct vm_recent_word word = vm_recent_word_of(bytes, end);
    vm_recent_push_word(L, recent, keeper, &word);
}

#endif
