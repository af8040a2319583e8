/* self.c - what a simulated process knows about itself, and what it cannot have. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/internal.h"

enum { PIDS_PER_NODE = 1000, PID_FIRST = 1000 };

static int64_t self_pid(struct env *env)
{
    const struct sim_node *node = sim_node_cast(env);
    return PID_FIRST + (int64_t)node->index * PIDS_PER_NODE +
           (int64_t)(node->incarnation % PIDS_PER_NODE);
}

static bool self_pid_is_alive(struct env *env, int64_t pid)
{
    return pid == self_pid(env);
}

static int self_pid_kill(struct env *env, int64_t pid, int signum)
{
    (void)env, (void)pid, (void)signum;
    return PERI_ENONDETERMINISTIC;
}

static int self_notify(struct env *env, const char *path, const char *text)
{
    (void)env, (void)path, (void)text;
    return PERI_ENONDETERMINISTIC;
}

static const char *self_variable(struct env *env, const char *name)
{
    const struct sim_node *node = sim_node_cast(env);
    size_t length = strlen(name);
    for (size_t i = 0; i < node->variable_count; i++)
        if (strncmp(node->variables[i], name, length) == 0 && node->variables[i][length] == '=')
            return node->variables[i] + length + 1;
    return NULL;
}

static const char *const *self_variables(struct env *env)
{
    static const char *const none[] = {NULL};
    const struct sim_node *node = sim_node_cast(env);
    return node->variables != NULL ? (const char *const *)node->variables : none;
}

static char *new_variable(const char *name, const char *value)
{
    size_t size = strlen(name) + strlen(value) + 2;
    char *text = malloc(size);
    if (text != NULL)
        (void)snprintf(text, size, "%s=%s", name, value);
    return text;
}

int sim_node_set_variable(struct sim_node *node, const char *name, const char *value)
{
    size_t length = strlen(name);
    size_t at = 0;
    while (at < node->variable_count &&
           (strncmp(node->variables[at], name, length) != 0 || node->variables[at][length] != '='))
        at++;
    char *text = new_variable(name, value);
    char **grown = text != NULL && at == node->variable_count
                       ? realloc(node->variables, (at + 2) * sizeof *grown)
                       : node->variables;
    if (text == NULL || grown == NULL) {
        free(text);
        return PERI_ENOMEM;
    }
    node->variables = grown;
    if (at == node->variable_count)
        grown[++node->variable_count] = NULL;
    else
        free(grown[at]);
    grown[at] = text;
    return 0;
}

static int self_executable(struct env *env, char **out, struct peri_error *err)
{
    (void)env;
    *out = strdup("/usr/bin/perilune");
    return *out != NULL ? 0 : peri_fail(err, PERI_ENOMEM, "path of the running program");
}

static uint32_t self_processors(struct env *env)
{
    (void)env;
    return 1;
}

static uint32_t self_terminal_columns(struct env *env, int fd)
{
    (void)env;
    (void)fd;
    return 0;
}

/* Real memory depends on the machine that simulates, so a simulated process has none to measure. */
static uint64_t self_max_rss_bytes(struct env *env)
{
    (void)env;
    return 0;
}

static void self_return_memory(struct env *env)
{
    (void)env;
}

const struct env_self_ops sim_self_ops = {
    .pid = self_pid,
    .pid_is_alive = self_pid_is_alive,
    .pid_kill = self_pid_kill,
    .notify = self_notify,
    .variable = self_variable,
    .variables = self_variables,
    .executable = self_executable,
    .processors = self_processors,
    .terminal_columns = self_terminal_columns,
    .max_rss_bytes = self_max_rss_bytes,
    .return_memory = self_return_memory,
};

/* ---- what would leave the simulation ---- */

static int signal_watch(struct env *env, int signum, void (*on_signal)(void *data, int signum),
                        void *data, struct env_signal **out)
{
    (void)env, (void)signum, (void)on_signal, (void)data, (void)out;
    return PERI_ENONDETERMINISTIC;
}

/* Nothing was opened, so nothing can be closed. */
static void signal_close(struct env_signal *watch)
{
    (void)watch;
    PERI_ASSERT(false);
}

static int signal_guard(struct env *env, const int *signums, size_t count, uint64_t limit_us)
{
    (void)env, (void)signums, (void)count, (void)limit_us;
    return PERI_ENONDETERMINISTIC;
}

static void signal_guard_limit(struct env *env, uint64_t limit_us)
{
    (void)env, (void)limit_us; /* there is none */
}

const struct env_signal_ops sim_signal_ops = {signal_watch, signal_close, signal_guard,
                                              signal_guard_limit};

static int process_spawn(struct env *env, const struct env_process_options *options,
                         void (*on_exit)(void *data, const struct env_process_exit *exit),
                         void *data, struct env_stream *streams[3], struct env_process **out,
                         struct peri_error *err)
{
    (void)env, (void)on_exit, (void)data, (void)streams, (void)out;
    return peri_fail(err, PERI_ENONDETERMINISTIC, "a simulated node cannot start %s",
                     options->argv[0]);
}

static int64_t process_pid(const struct env_process *process)
{
    (void)process;
    PERI_ASSERT(false);
    return 0;
}

static int process_kill(struct env_process *process, int signum)
{
    (void)process, (void)signum;
    PERI_ASSERT(false);
    return 0;
}

static void process_close(struct env_process *process)
{
    (void)process;
    PERI_ASSERT(false);
}

const struct env_process_ops sim_process_ops = {process_spawn, process_pid, process_kill,
                                                process_close};

int sim_stream_standard(struct env *env, int fd, struct env_stream **out, struct peri_error *err)
{
    (void)env, (void)out;
    return peri_fail(err, PERI_ENONDETERMINISTIC,
                     "a simulated node cannot use descriptor %d as a stream", fd);
}
