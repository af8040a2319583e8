#include "vm/recent.h"

#include "base/assert.h"

enum {
    LINE_SIZE = 64, /* of the processor's caches: the slots of a string lie on one */
    BITS_MIN = 10,
    BITS = 13,      /* of an ordinary state: 400 KB */
    BITS_SUMS = 15, /* of one with sums */
    SLOT_COST = 48, /* with its user value */
    SHARE = 8,      /* of the memory that Lua may have: what all pages take */
};

static const char keeper_key = 'k'; /* its address is the key of the userdata in the registry */

static bool has_share(const struct vm_state *vm, size_t slots)
{
    size_t limit = vm->alloc.limit_bytes;
    return limit == 0 || slots * SLOT_COST <= limit / SHARE;
}

static unsigned bits_of(const struct vm_state *vm)
{
    unsigned bits = vm->taker != NULL ? BITS_SUMS : BITS;
    while (bits > BITS_MIN && !has_share(vm, (size_t)1 << bits))
        bits--;
    return bits;
}

/* Pushes the userdata of a page with room for head bytes in front of the slots. Lua has the user
 * values in front of the block. */
static void *push_page(lua_State *L, struct vm_recent_page *page, unsigned bits, size_t head,
                       int more_values)
{
    size_t size = head + LINE_SIZE + (sizeof *page->slots << bits);
    int values = (1 << bits) + more_values;
    char *block = lua_newuserdatauv(L, size, values);
    char *behind = block + head;
    memset(block, 0, size);
    page->slots = (void *)(behind + (LINE_SIZE - (uintptr_t)behind % LINE_SIZE));
    page->values = block - (size_t)values * VM_RECENT_VALUE_SIZE;
    return block;
}

static void create(lua_State *L)
{
    struct vm_state *vm = vm_state_of(L);
    struct vm_recent_page page;
    unsigned bits = bits_of(vm);
    struct vm_recent *recent = push_page(L, &page, bits, sizeof *recent, VM_RECENT_PAGES_MAX - 1);
    recent->pages[0] = page;
    recent->bits = bits;
    recent->last = page.slots;
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &keeper_key);
    vm->recent = recent;
}

struct vm_recent *vm_recent_open(lua_State *L)
{
    if (vm_state_of(L)->recent == NULL)
        create(L);
    else
        (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &keeper_key);
    return vm_state_of(L)->recent;
}

/* ---- growing ---- */

/* Pushes the userdata of a page. */
static void push_page_of(lua_State *L, const struct vm_recent *recent, int keeper, size_t page)
{
    if (page == 0)
        lua_pushvalue(L, keeper);
    else
        (void)lua_getiuservalue(L, keeper, (1 << recent->bits) + (int)page);
}

/* Moves what belongs into the page at the top from the one below it, into the same slots. */
static void split(lua_State *L, struct vm_recent *recent, size_t from, size_t to)
{
    for (int i = 0; i < 1 << recent->bits; i++) {
        struct vm_recent_slot *slot = &recent->pages[from].slots[i];
        if (slot->image.high == 0 || vm_recent_page_of(recent, vm_recent_hash(slot->image)) != to)
            continue;
        recent->pages[to].slots[i] = *slot;
        *slot = (struct vm_recent_slot){0};
        (void)lua_getiuservalue(L, -2, i + 1);
        (void)lua_setiuservalue(L, -2, i + 1);
        lua_pushnil(L);
        (void)lua_setiuservalue(L, -3, i + 1);
    }
}

/* Doubles the pages. Raises when memory is short: then nothing is changed. */
static void grow(lua_State *L, struct vm_recent *recent, int keeper)
{
    size_t pages = recent->page_mask + 1;
    for (size_t i = 0; i < pages; i++) {
        (void)push_page(L, &recent->pages[pages + i], recent->bits, 0, 0);
        (void)lua_setiuservalue(L, keeper, (1 << recent->bits) + (int)(pages + i));
    }
    recent->page_mask = (unsigned)(2 * pages - 1);
    for (size_t i = 0; i < pages; i++) {
        push_page_of(L, recent, keeper, i);
        push_page_of(L, recent, keeper, pages + i);
        split(L, recent, i, pages + i);
        lua_pop(L, 2);
    }
    recent->last = recent->pages[0].slots;
}

/* A string makes way: there will be more pages if that is often so, and most strings do come
 * again. */
static void note_evicted(lua_State *L, struct vm_recent *recent, int keeper)
{
    enum { WINDOW = 64, SELDOM = 32, MOSTLY = 2 };
    size_t slots = (size_t)(recent->page_mask + 1) << recent->bits;
    if (++recent->evicted < slots / WINDOW)
        return;
    bool is_worth_it =
        recent->evicted > recent->given / SELDOM && recent->missed < recent->given / MOSTLY;
    recent->given = recent->missed = recent->evicted = 0;
    if (is_worth_it && recent->page_mask + 1 < VM_RECENT_PAGES_MAX &&
        has_share(vm_state_of(L), 2 * slots))
        grow(L, recent, keeper);
}

/* ---- strings ---- */

uint64_t vm_recent_read_first(struct peri_slice bytes)
{
    uint64_t first = 0;
    memcpy(&first, bytes.data, bytes.size < sizeof first ? bytes.size : sizeof first);
    return first;
}

/* Hands over the sum of a slot, if there is one. The slot's string is in its image. */
static void release(lua_State *L, struct vm_recent *recent, struct vm_recent_slot *slot)
{
    const struct vm_recent_taker *taker = vm_state_of(L)->taker;
    char bytes[sizeof slot->image];
    if (slot->summed == NULL)
        return;
    memcpy(bytes, &slot->image, sizeof bytes);
    slot->summed = NULL;
    recent->sums--;
    size_t size = slot->image.high >> VM_RECENT_SIZE_SHIFT;
    taker->leave(L, taker->data, peri_slice_of(bytes, size), slot->sum);
}

/* The slot that a new string gets: a free one, or that of the smaller sum, whose string was not
 * counted often. */
static struct vm_recent_slot *choose(const struct vm_recent *recent, struct vm_recent_slot *slots)
{
    if (slots[0].image.high == 0 || slots[1].image.high == 0)
        return &slots[slots[0].image.high != 0];
    if (slots[0].sum == slots[1].sum)
        return &slots[recent->evicted % VM_RECENT_WAYS];
    return &slots[slots[1].sum < slots[0].sum];
}

/* Gives the string on top of the stack, whose image it is, a slot. */
static struct vm_recent_slot *place(lua_State *L, struct vm_recent *recent, int keeper,
                                    struct vm_recent_image image)
{
    uint64_t hash = vm_recent_hash(image);
    size_t index = vm_recent_index_of(recent, hash);
    struct vm_recent_slot *slot =
        choose(recent, &recent->pages[vm_recent_page_of(recent, hash)].slots[index]);
    if (slot->image.high != 0) {
        release(L, recent, slot);
        *slot = (struct vm_recent_slot){0};
        note_evicted(L, recent, keeper);
    }
    size_t page = vm_recent_page_of(recent, hash);
    struct vm_recent_slot *slots = recent->pages[page].slots;
    slot = choose(recent, &slots[index]);
    push_page_of(L, recent, keeper, page);
    lua_pushvalue(L, -2);
    (void)lua_setiuservalue(L, -2, (int)(slot - slots) + 1);
    lua_pop(L, 1);
    slot->image = image;
    return slot;
}

void vm_recent_push_new(lua_State *L, struct vm_recent *recent, int keeper,
                        const struct vm_recent_word *word)
{
    lua_pushlstring(L, word->bytes.size == 0 ? "" : word->bytes.data, word->bytes.size);
    if (word->image.high == 0)
        return;
    recent->given++;
    recent->missed++;
    recent->last = place(L, recent, keeper, word->image);
}

/* ---- sums ---- */

void vm_recent_begin_sums(lua_State *L, const struct vm_recent_taker *taker)
{
    PERI_ASSERT(vm_state_of(L)->taker == NULL);
    vm_state_of(L)->taker = taker;
}

static struct vm_recent_slot *nth_slot(const struct vm_recent *recent, size_t n)
{
    size_t page = n >> recent->bits;
    return &recent->pages[page].slots[n - (page << recent->bits)];
}

uint64_t vm_recent_flush(lua_State *L)
{
    struct vm_recent *recent = vm_state_of(L)->recent;
    if (recent == NULL)
        return 0;
    for (size_t i = 0; recent->sums > 0; i++)
        release(L, recent, nth_slot(recent, i));
    uint64_t added = recent->added;
    recent->added = 0;
    return added;
}

void vm_recent_end_sums(lua_State *L)
{
    struct vm_recent *recent = vm_state_of(L)->recent;
    vm_state_of(L)->taker = NULL;
    for (size_t i = 0; recent != NULL && recent->sums > 0; i++) {
        struct vm_recent_slot *slot = nth_slot(recent, i);
        recent->sums -= slot->summed != NULL;
        slot->summed = NULL;
    }
}

/* The word's slot, or NULL. */
static struct vm_recent_slot *find(const struct vm_recent *recent,
                                   const struct vm_recent_word *word)
{
    size_t page = vm_recent_page_of(recent, word->hash);
    struct vm_recent_slot *slots =
        &recent->pages[page].slots[vm_recent_index_of(recent, word->hash)];
    for (int way = 0; way < VM_RECENT_WAYS; way++)
        if (vm_recent_is_at(&slots[way], word->image))
            return &slots[way];
    return NULL;
}

/* Gives the string at index a slot. */
static struct vm_recent_slot *keep(lua_State *L, struct vm_recent *recent, int index,
                                   struct vm_recent_image image)
{
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &keeper_key);
    int keeper = lua_gettop(L);
    lua_pushvalue(L, index);
    struct vm_recent_slot *slot = place(L, recent, keeper, image);
    lua_settop(L, keeper - 1);
    return slot;
}

static struct vm_recent *open_quietly(lua_State *L)
{
    if (vm_state_of(L)->recent == NULL) {
        (void)vm_recent_open(L);
        lua_pop(L, 1);
    }
    return vm_state_of(L)->recent;
}

bool vm_recent_sum(lua_State *L, int index, int64_t integer)
{
    struct peri_slice bytes;
    if (vm_state_of(L)->taker == NULL || lua_type(L, index) != LUA_TSTRING)
        return false;
    bytes.data = lua_tolstring(L, index, &bytes.size);
    if (bytes.size == 0 || bytes.size > VM_RECENT_MAX)
        return false;
    struct vm_recent *recent = open_quietly(L);
    struct vm_recent_word word = vm_recent_word_of(bytes, bytes.data + bytes.size);
    struct vm_recent_slot *slot = find(recent, &word);
    if (slot == NULL)
        slot = keep(L, recent, index, word.image);
    if (slot->summed == NULL) {
        slot->summed = lua_topointer(L, index);
        slot->sum = 0;
        recent->sums++;
    }
    recent->last = slot;
    return vm_recent_add(recent, slot->summed, integer);
}
