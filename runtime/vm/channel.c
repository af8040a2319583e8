#include "vm/channel.h"

#include <lauxlib.h>
#include <string.h>

/* ---- lines ---- */

static struct channel_line *line_of(struct channel *channel, const struct channel_waiter *waiter)
{
    return waiter->value_index != 0 ? &channel->senders : &channel->receivers;
}

void channel_enter(struct channel *channel, struct channel_waiter *waiter)
{
    struct channel_line *line = line_of(channel, waiter);
    waiter->channel = channel;
    waiter->outcome = CHANNEL_WAIT;
    waiter->next = NULL;
    waiter->previous = line->last;
    if (line->last != NULL)
        line->last->next = waiter;
    else
        line->first = waiter;
    line->last = waiter;
}

void channel_leave(struct channel_waiter *waiter)
{
    if (waiter->channel == NULL)
        return;
    struct channel_line *line = line_of(waiter->channel, waiter);
    if (waiter->previous != NULL)
        waiter->previous->next = waiter->next;
    else
        line->first = waiter->next;
    if (waiter->next != NULL)
        waiter->next->previous = waiter->previous;
    else
        line->last = waiter->previous;
    waiter->channel = NULL;
}

/* The waiter's turn has come. */
static void serve(struct channel_waiter *waiter, enum channel_outcome outcome)
{
    struct fiber_wait *wait = waiter->wait;
    channel_leave(waiter);
    waiter->outcome = outcome;
    if (waiter->on_done != NULL)
        waiter->on_done(waiter);
    fiber_wake(wait);
}

/* ---- the ring ---- */

static void ring_push(lua_State *L, struct channel *channel, int channel_index, int value_index)
{
    size_t slot = (channel->head + channel->count) % channel->capacity;
    (void)lua_getiuservalue(L, channel_index, 1);
    lua_pushvalue(L, value_index);
    lua_rawseti(L, -2, (lua_Integer)slot + 1); /* may raise: nothing has changed yet */
    lua_pop(L, 1);
    channel->count++;
}

static void ring_pop(lua_State *L, struct channel *channel, int channel_index)
{
    lua_Integer slot = (lua_Integer)channel->head + 1;
    (void)lua_getiuservalue(L, channel_index, 1);
    (void)lua_rawgeti(L, -1, slot);
    lua_pushnil(L);
    lua_rawseti(L, -3, slot);
    lua_remove(L, -2);
    channel->head = (channel->head + 1) % channel->capacity;
    channel->count--;
}

/* ---- operations ---- */

struct channel *channel_create(lua_State *L, size_t capacity)
{
    struct channel *channel = lua_newuserdatauv(L, sizeof *channel, 1);
    memset(channel, 0, sizeof *channel);
    channel->capacity = capacity;
    luaL_setmetatable(L, CHANNEL_METATABLE);
    lua_newtable(L);
    (void)lua_setiuservalue(L, -2, 1);
    return channel;
}

struct channel *channel_check(lua_State *L, int index)
{
    return luaL_checkudata(L, index, CHANNEL_METATABLE);
}

enum channel_outcome channel_try_send(lua_State *L, int channel_index, int value_index)
{
    struct channel *channel = lua_touserdata(L, channel_index);
    if (channel->is_closed)
        return CHANNEL_CLOSED;
    struct channel_waiter *receiver = channel->receivers.first;
    if (receiver != NULL) {
        lua_pushvalue(L, value_index); /* the receiver's C function has room for one value */
        lua_xmove(L, receiver->L, 1);
        serve(receiver, CHANNEL_DONE);
        return CHANNEL_DONE;
    }
    if (channel->count == channel->capacity)
        return CHANNEL_WAIT;
    ring_push(L, channel, channel_index, value_index);
    return CHANNEL_DONE;
}

/* Pushes on L the value of the first sender in line and lets that one go on. */
static void take_from_sender(lua_State *L, struct channel_waiter *sender)
{
    lua_pushvalue(sender->L, sender->value_index); /* a C function has room for one more value */
    lua_xmove(sender->L, L, 1);
    serve(sender, CHANNEL_DONE);
}

enum channel_outcome channel_try_receive(lua_State *L, int channel_index)
{
    struct channel *channel = lua_touserdata(L, channel_index);
    struct channel_waiter *sender = channel->senders.first;
    luaL_checkstack(L, 4, "to receive");
    if (channel->count == 0) {
        if (sender == NULL)
            return channel->is_closed ? CHANNEL_CLOSED : CHANNEL_WAIT;
        take_from_sender(L, sender);
        return CHANNEL_DONE;
    }
    ring_pop(L, channel, channel_index);
    if (sender != NULL) { /* the ring was full: the first in line takes the free place */
        take_from_sender(L, sender);
        ring_push(L, channel, channel_index, lua_gettop(L));
        lua_pop(L, 1);
    }
    return CHANNEL_DONE;
}

void channel_close(struct channel *channel)
{
    channel->is_closed = true;
    while (channel->senders.first != NULL)
        serve(channel->senders.first, CHANNEL_CLOSED);
    while (channel->receivers.first != NULL)
        serve(channel->receivers.first, CHANNEL_CLOSED);
}
