/* window.h - which request ids came before.
 *
 * Ids grow with each request, yet requests may arrive in another order and twice. The window
 * remembers the last RPC_WINDOW_SIZE numbers; what is older counts as seen, so that no request ever
 * runs twice, and so does the last number of all, which nothing could follow. Pure. */
#ifndef PERI_RPC_WINDOW_H
#define PERI_RPC_WINDOW_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { RPC_WINDOW_SIZE = 16384, RPC_WINDOW_WORD_BITS = 64 };

/* Starts zeroed. */
struct rpc_window {
    uint64_t next; /* every number seen is below */
    uint64_t seen[RPC_WINDOW_SIZE / RPC_WINDOW_WORD_BITS];
};

static inline uint64_t rpc_window_bit(uint64_t number)
{
    return UINT64_C(1) << (number % RPC_WINDOW_WORD_BITS);
}

static inline uint64_t *rpc_window_word(struct rpc_window *window, uint64_t number)
{
    return &window->seen[number % RPC_WINDOW_SIZE / RPC_WINDOW_WORD_BITS];
}

/* Moves on to number, the highest so far: forgets the bits of the numbers in between. */
static inline void rpc_window_advance(struct rpc_window *window, uint64_t number)
{
    if (number - window->next >= RPC_WINDOW_SIZE)
        memset(window->seen, 0, sizeof window->seen);
    else
        for (uint64_t n = window->next; n <= number; n++)
            *rpc_window_word(window, n) &= ~rpc_window_bit(n);
    window->next = number + 1;
}

/* True when the number came before, is too old to tell, or is 2^64 - 1. */
static inline bool rpc_window_has(struct rpc_window *window, uint64_t number)
{
    if (number >= window->next)
        return number == UINT64_MAX;
    if (window->next - number > RPC_WINDOW_SIZE)
        return true;
    return (*rpc_window_word(window, number) & rpc_window_bit(number)) != 0;
}

/* True the first time that a number comes; false for one that was there or is too old to tell. */
static inline bool rpc_window_is_new(struct rpc_window *window, uint64_t number)
{
    if (number == window->next && number != UINT64_MAX) { /* as most do */
        window->next++;
        *rpc_window_word(window, number) |= rpc_window_bit(number);
        return true;
    }
    if (rpc_window_has(window, number))
        return false;
    if (number >= window->next)
        rpc_window_advance(window, number);
    *rpc_window_word(window, number) |= rpc_window_bit(number);
    return true;
}

#endif
