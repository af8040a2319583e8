#include "vm/recent.h"

#include "base/assert.h"

enum {
    LINE_SIZE = 64, /* of the processor's caches: no slot lies on two */
    BITS_MIN = 10,
    BITS = 13,      /* of an ordinary state: 400 KB */
    BITS_SUMS = 15, /* of one with sums */
};

static const char keeper_key = 'k'; /* its address is the key of the userdata in the registry */

/* Takes at most an eighth of the memory that Lua may have. */
static unsigned bits_of(const struct vm_state *vm)
{
    enum { SHARE = 8, SLOT_COST = 48 };
    size_t limit = vm->alloc.limit_bytes;
    unsigned bits = vm->taker != NULL ? BITS_SUMS : BITS;
    while (limit != 0 && bits > BITS_MIN && ((size_t)SLOT_COST << bits) > limit / SHARE)
        bits--;
    return bits;
}

static void create(lua_State *L)
{
    struct vm_state *vm = vm_state_of(L);
    unsigned bits = bits_of(vm);
    size_t size = sizeof(struct vm_recent) + LINE_SIZE + (sizeof(struct vm_recent_slot) << bits);
    struct vm_recent *recent = lua_newuserdatauv(L, size, 1 << bits);
    memset(recent, 0, size);
    char *behind = (char *)(recent + 1);
    recent->slots = (void *)(behind + (LINE_SIZE - (uintptr_t)behind % LINE_SIZE));
    recent->bits = bits;
    recent->last = recent->slots;
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

/* ---- strings ---- */

static struct vm_recent_image read_image(struct peri_slice bytes)
{
    uint64_t first = 0;
    memcpy(&first, bytes.data, bytes.size < sizeof first ? bytes.size : sizeof first);
    return vm_recent_image_of(bytes, first);
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

/* Gives the string on top of the stack, whose image it is, a slot. */
static struct vm_recent_slot *place(lua_State *L, struct vm_recent *recent, int keeper,
                                    struct vm_recent_image image)
{
    struct vm_recent_slot *slot = vm_recent_slot_of(recent, image);
    release(L, recent, slot);
    lua_pushvalue(L, -1);
    (void)lua_setiuservalue(L, keeper, (int)(slot - recent->slots) + 1);
    slot->image = image;
    return slot;
}

void vm_recent_push_new(lua_State *L, struct vm_recent *recent, int keeper, struct peri_slice bytes,
                        struct vm_recent_image image)
{
    lua_pushlstring(L, bytes.data, bytes.size);
    recent->last = place(L, recent, keeper, image);
}

void vm_recent_push_any(lua_State *L, struct vm_recent *recent, int keeper, struct peri_slice bytes)
{
    if (bytes.size == 0 || bytes.size > VM_RECENT_MAX) {
        lua_pushlstring(L, bytes.size == 0 ? "" : bytes.data, bytes.size);
        return;
    }
    struct vm_recent_image image = read_image(bytes);
    recent->last = vm_recent_slot_of(recent, image);
    if (vm_recent_is_at(recent->last, image))
        (void)lua_getiuservalue(L, keeper, (int)(recent->last - recent->slots) + 1);
    else
        vm_recent_push_new(L, recent, keeper, bytes, image);
}

/* ---- sums ---- */

void vm_recent_begin_sums(lua_State *L, const struct vm_recent_taker *taker)
{
    PERI_ASSERT(vm_state_of(L)->taker == NULL);
    vm_state_of(L)->taker = taker;
}

uint64_t vm_recent_flush(lua_State *L)
{
    struct vm_recent *recent = vm_state_of(L)->recent;
    if (recent == NULL)
        return 0;
    for (size_t i = 0; recent->sums > 0; i++)
        release(L, recent, &recent->slots[i]);
    uint64_t added = recent->added;
    recent->added = 0;
    return added;
}

void vm_recent_end_sums(lua_State *L)
{
    struct vm_recent *recent = vm_state_of(L)->recent;
    vm_state_of(L)->taker = NULL;
    for (size_t i = 0; recent != NULL && recent->sums > 0; i++) {
        recent->sums -= recent->slots[i].summed != NULL;
        recent->slots[i].summed = NULL;
    }
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
    struct vm_recent_image image = read_image(bytes);
    struct vm_recent_slot *slot = vm_recent_slot_of(recent, image);
    if (!vm_recent_is_at(slot, image))
        slot = keep(L, recent, index, image);
    if (slot->summed == NULL) {
        slot->summed = lua_topointer(L, index);
        slot->sum = 0;
        recent->sums++;
    }
    recent->last = slot;
    return vm_recent_add(recent, slot->summed, integer);
}
