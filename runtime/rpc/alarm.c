#include "rpc/alarm.h"

enum {
    ACCURACY_US = 1000
}; /* deadlines that are closer together than that are looked at at once */

int rpc_alarm_init(struct rpc_alarm *alarm, struct env *env, void (*on_alarm)(void *data),
                   void *data)
{
    *alarm = (struct rpc_alarm){.env = env};
    return env_timer_create(env, on_alarm, data, &alarm->timer);
}

void rpc_alarm_deinit(struct rpc_alarm *alarm)
{
    env_timer_close(alarm->timer);
    alarm->timer = NULL;
}

void rpc_alarm_by(struct rpc_alarm *alarm, uint64_t due_us)
{
    if (alarm->due_us != 0 && alarm->due_us <= due_us)
        return;
    uint64_t now_us = env_now_us(alarm->env);
    uint64_t delay_us = due_us > now_us ? due_us - now_us : 0;
    delay_us = (delay_us + ACCURACY_US - 1) / ACCURACY_US * ACCURACY_US;
    alarm->due_us = now_us + delay_us;
    env_timer_start(alarm->timer, delay_us);
}

uint64_t rpc_alarm_rings(struct rpc_alarm *alarm)
{
    alarm->due_us = 0;
    return env_now_us(alarm->env);
}
