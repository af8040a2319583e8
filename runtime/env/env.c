/* env.c - the door itself: hands each call to the environment behind it. */
#include "env/env.h"

#include <errno.h>

#include "base/assert.h"
#include "env/log.h"
#include "env/ops.h"

void env_init(struct env *env, const struct env_ops *ops)
{
    env->ops = ops;
    atomic_init(&env->log_level, ENV_LOG_INFO);
    atomic_init(&env->log_format, ENV_LOG_LOGFMT);
    atomic_init(&env->log_colour, false);
    atomic_init(&env->region, NULL);
    env->log_node = NULL;
}

void env_run(struct env *env)
{
    env->ops->loop->run(env);
}

void env_stop(struct env *env)
{
    env->ops->loop->stop(env);
}

void env_close(struct env *env)
{
    if (env == NULL)
        return;
    env_region_trim(env);
    env->ops->loop->close(env);
}

uint64_t env_now_us(struct env *env)
{
    return env->ops->clock->now_us(env);
}

int64_t env_wall_us(struct env *env)
{
    return env->ops->clock->wall_us(env);
}

uint64_t env_cpu_us(struct env *env)
{
    return env->ops->clock->cpu_us(env);
}

void env_random(struct env *env, void *out, size_t size)
{
    env->ops->clock->random(env, out, size);
}

int env_timer_create(struct env *env, void (*on_timer)(void *data), void *data,
                     struct env_timer **out)
{
    PERI_ASSERT(on_timer != NULL);
    return env->ops->timer->create(env, on_timer, data, out);
}

void env_timer_start(struct env_timer *timer, uint64_t delay_us)
{
    timer->env->ops->timer->start(timer, delay_us);
}

void env_timer_stop(struct env_timer *timer)
{
    timer->env->ops->timer->stop(timer);
}

void env_timer_close(struct env_timer *timer)
{
    if (timer != NULL)
        timer->env->ops->timer->close(timer);
}

int env_turn_create(struct env *env, void (*on_turn)(void *data), void *data, struct env_turn **out)
{
    PERI_ASSERT(on_turn != NULL);
    return env->ops->turn->create(env, on_turn, data, out);
}

void env_turn_start(struct env_turn *turn)
{
    turn->env->ops->turn->start(turn);
}

void env_turn_stop(struct env_turn *turn)
{
    turn->env->ops->turn->stop(turn);
}

void env_turn_close(struct env_turn *turn)
{
    if (turn != NULL)
        turn->env->ops->turn->close(turn);
}

int env_signal_watch(struct env *env, int signum, void (*on_signal)(void *data, int signum),
                     void *data, struct env_signal **out)
{
    PERI_ASSERT(on_signal != NULL);
    return env->ops->signal->watch(env, signum, on_signal, data, out);
}

int env_signal_guard(struct env *env, const int *signums, size_t count, uint64_t limit_us)
{
    return env->ops->signal->guard(env, signums, count, limit_us);
}

void env_signal_guard_limit(struct env *env, uint64_t limit_us)
{
    env->ops->signal->guard_limit(env, limit_us);
}

void env_signal_close(struct env_signal *watch)
{
    if (watch != NULL)
        watch->env->ops->signal->close(watch);
}

int env_ticker_create(struct env *env, uint64_t period_us, void (*tick)(void *data), void *data,
                      struct env_ticker **out)
{
    PERI_ASSERT(tick != NULL && period_us > 0);
    return env->ops->ticker->create(env, period_us, tick, data, out);
}

void env_ticker_start(struct env_ticker *ticker)
{
    ticker->env->ops->ticker->start(ticker);
}

void env_ticker_stop(struct env_ticker *ticker)
{
    ticker->env->ops->ticker->stop(ticker);
}

void env_ticker_close(struct env_ticker *ticker)
{
    if (ticker != NULL)
        ticker->env->ops->ticker->close(ticker);
}

int env_work(struct env *env, void (*run)(void *data), void (*done)(void *data, int status),
             void *data)
{
    PERI_ASSERT(run != NULL && done != NULL);
    return env->ops->work->submit(env, run, done, data);
}

int env_lane_create(struct env *env, struct env_lane **out)
{
    return env->ops->lane->create(env, out);
}

int env_lane_work(struct env_lane *lane, void (*run)(void *data),
                  void (*done)(void *data, int status), void *data)
{
    PERI_ASSERT(run != NULL);
    return lane->env->ops->lane->submit(lane, run, done, data);
}

void env_lane_close(struct env_lane *lane)
{
    if (lane != NULL)
        lane->env->ops->lane->close(lane);
}

int env_stream_read_start(struct env_stream *stream, env_read_cb on_read, void *data)
{
    PERI_ASSERT(on_read != NULL);
    return stream->ops->read_start(stream, on_read, data);
}

void env_stream_read_stop(struct env_stream *stream)
{
    stream->ops->read_stop(stream);
}

int env_stream_write(struct env_stream *stream, const void *bytes, size_t size,
                     void (*on_written)(void *data, int status), void *data)
{
    PERI_ASSERT(on_written != NULL);
    return stream->ops->write(stream, bytes, size, on_written, data);
}

void env_stream_shutdown(struct env_stream *stream)
{
    stream->ops->shutdown(stream);
}

void env_stream_close(struct env_stream *stream)
{
    if (stream != NULL)
        stream->ops->close(stream);
}

int env_stream_standard(struct env *env, int fd, struct env_stream **out, struct peri_error *err)
{
    PERI_ASSERT(fd >= 0 && fd <= 2);
    return env->ops->stream_standard(env, fd, out, err);
}

int env_process_spawn(struct env *env, const struct env_process_options *options,
                      void (*on_exit)(void *data, const struct env_process_exit *exit), void *data,
                      struct env_stream *streams[3], struct env_process **out,
                      struct peri_error *err)
{
    PERI_ASSERT(options->argv[0] != NULL);
    return env->ops->process->spawn(env, options, on_exit, data, streams, out, err);
}

int64_t env_process_pid(const struct env_process *process)
{
    return process->env->ops->process->pid(process);
}

int env_process_kill(struct env_process *process, int signum)
{
    return process->env->ops->process->kill(process, signum);
}

void env_process_close(struct env_process *process)
{
    if (process != NULL)
        process->env->ops->process->close(process);
}

int env_copy_run(struct env *env, const struct env_copy *copy, struct peri_buffer *output,
                 struct env_process_exit *exit, struct peri_error *err)
{
    if (env->ops->copy == NULL)
        return peri_fail(err, -ENOSYS, "a copy of a simulated process");
    return env->ops->copy(env, copy, output, exit, err);
}

int64_t env_pid(struct env *env)
{
    return env->ops->self->pid(env);
}

bool env_pid_is_alive(struct env *env, int64_t pid)
{
    return env->ops->self->pid_is_alive(env, pid);
}

int env_pid_kill(struct env *env, int64_t pid, int signum)
{
    return env->ops->self->pid_kill(env, pid, signum);
}

int env_notify(struct env *env, const char *path, const char *text)
{
    return env->ops->self->notify(env, path, text);
}

const char *env_variable(struct env *env, const char *name)
{
    return env->ops->self->variable(env, name);
}

const char *const *env_variables(struct env *env)
{
    return env->ops->self->variables(env);
}

int env_executable(struct env *env, char **out, struct peri_error *err)
{
    return env->ops->self->executable(env, out, err);
}

uint32_t env_processors(struct env *env)
{
    return env->ops->self->processors(env);
}

uint32_t env_terminal_columns(struct env *env, int fd)
{
    return env->ops->self->terminal_columns(env, fd);
}

uint64_t env_max_rss_bytes(struct env *env)
{
    return env->ops->self->max_rss_bytes(env);
}

void env_return_memory(struct env *env)
{
    env->ops->self->return_memory(env);
}
