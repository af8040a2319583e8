/* session.h - what a command is to the slot of its client: new, or one that was sent again.
 *
 * A client has one slot, with the last command that it numbered and its result; the same number
 * again gives that result and does nothing, so that a command which is sent until it is answered
 * applies once, at whatever leader (Thesis 6.3). Where slots are kept is the machine's: kv/ has
 * them on disk, vm/machine_session.h in memory. Pure. */
#ifndef PERI_NODE_SESSION_H
#define PERI_NODE_SESSION_H

#include <inttypes.h>

#include "base/error.h"

enum node_session_turn { NODE_SESSION_NEW, NODE_SESSION_AGAIN };

/* The error of a command whose session is not there (any more). */
static inline int node_session_fail(uint64_t session, struct peri_error *err)
{
    return peri_fail_plain(err, PERI_ESESSION, "there is no session %" PRIu64 ", or it has ended",
                           session);
}

/* last is the number of the slot's command. Returns a turn. Errors: PERI_EINVAL for a number below,
 * whose command the client has seen answered. */
static inline int node_session_judge(uint64_t last, uint64_t sequence, struct peri_error *err)
{
    if (sequence < last)
        return peri_fail_plain(err, PERI_EINVAL,
                               "command %" PRIu64 " of the session comes after %" PRIu64
                               ", which was answered",
                               sequence, last);
    return sequence == last ? NODE_SESSION_AGAIN : NODE_SESSION_NEW;
}

#endif
