/* channel.h - passing Lua values between the fibers of a state.
 *
 * A channel holds up to its capacity of values; a sender waits while it is full, a receiver while
 * it is empty. Waiters are served in order of arrival. A value goes from the sender's stack
 * straight to the receiver's, or through the ring in the channel's user value. nil is a value like
 * any other. */
#ifndef PERI_VM_CHANNEL_H
#define PERI_VM_CHANNEL_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vm/fiber.h"

#define CHANNEL_METATABLE "perilune.channel"

enum { CHANNEL_CAPACITY_MAX = 1 << 24 };

struct channel;
struct channel_waiter;

/* How an operation ended, or that it has to wait. */
enum channel_outcome { CHANNEL_WAIT, CHANNEL_DONE, CHANNEL_CLOSED };

/* Where waiters of one kind stand in line. */
struct channel_line {
    struct channel_waiter *first, *last;
};

/* A fiber that stands in line at one channel. A select stands in several lines with one wait. */
struct channel_waiter {
    struct channel *channel; /* NULL while not in line */
    struct channel_waiter *next, *previous;
    struct fiber_wait *wait;
    lua_State *L;                 /* the coroutine that called */
    int value_index;              /* a sender's value on L; 0 for a receiver */
    enum channel_outcome outcome; /* set when woken; a receiver's value is then on top of L */
    /* Runs when the operation was done, before fiber_wake: a select leaves its other lines. */
    void (*on_done)(struct channel_waiter *waiter);
};

/* Lives in the userdata that is its handle; user value 1 is the ring. */
struct channel {
    size_t capacity;
    size_t count; /* values in the ring */
    size_t head;  /* the oldest one, from 0 */
    bool is_closed;
    struct channel_line senders;
    struct channel_line receivers;
};

/* Pushes a new channel. Raises. */
struct channel *channel_create(lua_State *L, size_t capacity);

/* The channel at the stack index; raises when it is something else. */
struct channel *channel_check(lua_State *L, int index);

/* Tries to send the value at value_index to the channel at channel_index, without waiting. Raises
 * on lack of memory. */
enum channel_outcome channel_try_send(lua_State *L, int channel_index, int value_index);

/* Tries to receive; on CHANNEL_DONE the value is on top of L. */
enum channel_outcome channel_try_receive(lua_State *L, int channel_index);

/* Stands in line: as a sender when value_index is not 0, else as a receiver. */
void channel_enter(struct channel *channel, struct channel_waiter *waiter);

/* Leaves the line, when in one. */
void channel_leave(struct channel_waiter *waiter);

/* Ends the channel: waiters get CHANNEL_CLOSED, values in the ring can still be received. */
void channel_close(struct channel *channel);

#endif
