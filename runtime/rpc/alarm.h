/* alarm.h - one timer for many deadlines.
 *
 * Whoever keeps deadlines asks to be woken by the first of them, looks at all of them then, and
 * asks again. A deadline that is met costs nothing: the alarm rings once too often at most. */
#ifndef PERI_RPC_ALARM_H
#define PERI_RPC_ALARM_H

#include "env/env.h"

struct rpc_alarm {
    struct env *env;
    struct env_timer *timer;
    uint64_t due_us; /* 0: stopped */
};

/* Creates a stopped alarm. on_alarm begins with rpc_alarm_rings. Errors: PERI_ENOMEM. */
int rpc_alarm_init(struct rpc_alarm *alarm, struct env *env, void (*on_alarm)(void *data),
                   void *data);
void rpc_alarm_deinit(struct rpc_alarm *alarm);

/* Has the alarm ring at due_us or before, with an accuracy of a millisecond. */
void rpc_alarm_by(struct rpc_alarm *alarm, uint64_t due_us);

/* Stops the alarm, which rings just now, and returns the time. */
uint64_t rpc_alarm_rings(struct rpc_alarm *alarm);

#endif
