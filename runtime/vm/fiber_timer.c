#include "vm/scheduler.h"

enum { CAPACITY_MIN = 64 };

static bool is_before(const struct fiber_timer *a, const struct fiber_timer *b)
{
    if (a->due_us != b->due_us)
        return a->due_us < b->due_us;
    return a->sequence < b->sequence;
}

static void put(struct fiber_scheduler *s, size_t slot, struct fiber_timer *timer)
{
    s->timers[slot] = timer;
    timer->slot = slot;
}

static void sift_up(struct fiber_scheduler *s, size_t slot)
{
    struct fiber_timer *timer = s->timers[slot];
    for (; slot > 1 && is_before(timer, s->timers[slot / 2]); slot /= 2)
        put(s, slot, s->timers[slot / 2]);
    put(s, slot, timer);
}

static void sift_down(struct fiber_scheduler *s, size_t slot)
{
    struct fiber_timer *timer = s->timers[slot];
    for (size_t child = slot * 2; child <= s->timer_count; child = slot * 2) {
        if (child < s->timer_count && is_before(s->timers[child + 1], s->timers[child]))
            child++;
        if (!is_before(s->timers[child], timer))
            break;
        put(s, slot, s->timers[child]);
        slot = child;
    }
    put(s, slot, timer);
}

/* Sets the alarm to the first timer, where that has changed. */
static void set_alarm(struct fiber_scheduler *s)
{
    uint64_t due_us = s->timer_count == 0 ? 0 : s->timers[1]->due_us;
    if (due_us == s->alarm_us)
        return;
    s->alarm_us = due_us;
    if (due_us == 0) {
        env_timer_stop(s->alarm);
        return;
    }
    uint64_t now_us = env_now_us(s->vm->env);
    env_timer_start(s->alarm, due_us > now_us ? due_us - now_us : 0);
}

static void take_out(struct fiber_scheduler *s, struct fiber_timer *timer)
{
    size_t slot = timer->slot;
    struct fiber_timer *last = s->timers[s->timer_count--];
    timer->slot = 0;
    if (last == timer)
        return;
    put(s, slot, last);
    sift_up(s, slot);
    sift_down(s, last->slot);
}

static void on_alarm(void *data)
{
    struct fiber_scheduler *s = data;
    uint64_t now_us = env_now_us(s->vm->env);
    s->alarm_us = 0;
    while (s->timer_count > 0 && s->timers[1]->due_us <= now_us) {
        struct fiber_timer *timer = s->timers[1];
        take_out(s, timer);
        timer->on_due(timer);
    }
    set_alarm(s);
}

int fiber_timers_init(struct fiber_scheduler *s)
{
    return env_timer_create(s->vm->env, on_alarm, s, &s->alarm);
}

static struct fiber_timer **resize(struct fiber_scheduler *s, size_t capacity)
{
    size_t old_size = s->timers == NULL ? 0 : s->timer_capacity * sizeof(struct fiber_timer *);
    return vm_alloc_function(&s->vm->alloc, s->timers, old_size,
                             capacity * sizeof(struct fiber_timer *));
}

void fiber_timers_deinit(struct fiber_scheduler *s)
{
    env_timer_close(s->alarm);
    (void)resize(s, 0);
}

int fiber_timers_reserve(struct fiber_scheduler *s)
{
    size_t needed = (s->fiber_count + 1) * FIBER_TIMERS + 1;
    if (needed <= s->timer_capacity)
        return 0;
    size_t capacity = needed < CAPACITY_MIN ? CAPACITY_MIN : needed * 2;
    struct fiber_timer **timers = resize(s, capacity);
    if (timers == NULL)
        return PERI_ENOMEM;
    s->timers = timers;
    s->timer_capacity = capacity;
    return 0;
}

void fiber_timer_start(struct fiber_scheduler *s, struct fiber_timer *timer, uint64_t due_us)
{
    if (timer->slot != 0)
        take_out(s, timer);
    timer->due_us = due_us;
    timer->sequence = s->timer_sequence++;
    put(s, ++s->timer_count, timer);
    sift_up(s, s->timer_count);
    set_alarm(s);
}

void fiber_timer_stop(struct fiber_scheduler *s, struct fiber_timer *timer)
{
    if (timer->slot == 0)
        return;
    take_out(s, timer);
    set_alarm(s);
}
