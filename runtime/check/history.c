#include "check/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int check_history_init(struct check_history *history)
{
    *history = (struct check_history){0};
    return check_values_create(&history->values);
}

static int reserve_operation(struct check_history *history)
{
    if (history->count < history->capacity)
        return 0;
    enum { CAPACITY_MIN = 64 };
    size_t capacity = history->capacity == 0 ? CAPACITY_MIN : history->capacity * 2;
    struct check_operation *operations =
        realloc(history->operations, capacity * sizeof *operations);
    if (operations == NULL)
        return PERI_ENOMEM;
    history->operations = operations;
    history->capacity = capacity;
    return 0;
}

/* Makes room in `open` for a process. */
static int reserve_process(struct check_history *history, check_value process)
{
    if (process < history->open_count)
        return 0;
    size_t count = ((size_t)process + 1) * 2;
    uint32_t *open = realloc(history->open, count * sizeof *open);
    if (open == NULL)
        return PERI_ENOMEM;
    memset(open + history->open_count, 0, (count - history->open_count) * sizeof *open);
    history->open = open;
    history->open_count = count;
    return 0;
}

/* A value for messages: numbers and short strings as they are. */
static const char *name_of(const struct check_values *values, check_value value, char *text,
                           size_t size)
{
    if (check_value_kind(values, value) == CHECK_KIND_INTEGER) {
        (void)snprintf(text, size, "%lld", (long long)check_value_to_integer(values, value));
    } else if (check_value_kind(values, value) == CHECK_KIND_STRING) {
        struct peri_slice bytes = check_value_to_string(values, value);
        (void)snprintf(text, size, "%.*s", bytes.size > 40 ? 40 : (int)bytes.size, bytes.data);
    } else {
        (void)snprintf(text, size, "?");
    }
    return text;
}

enum { NAME_SIZE = 48 };

static int add_invocation(struct check_history *history, const struct check_event *event,
                          const char *where, struct peri_error *err)
{
    char process[NAME_SIZE], f[NAME_SIZE];
    const struct check_values *values = history->values;
    if (event->f == CHECK_NIL)
        return peri_fail_plain(err, PERI_EFORMAT, "%s: an invocation needs f", where);
    if (history->open[event->process] != 0) {
        const struct check_operation *open =
            &history->operations[history->open[event->process] - 1];
        return peri_fail_plain(err, PERI_EFORMAT,
                               "%s: client %s invokes an operation while its %s of line %u is open",
                               where, name_of(values, event->process, process, sizeof process),
                               name_of(values, open->f, f, sizeof f), open->call_line);
    }
    int rc = reserve_operation(history);
    if (rc != 0)
        return peri_fail(err, rc, "%s", where);
    history->operations[history->count] = (struct check_operation){
        .process = event->process,
        .f = event->f,
        .key = event->key,
        .node = event->node,
        .input = event->value,
        .outcome = CHECK_INFO,
        .call = history->event_count,
        .end = CHECK_NEVER,
        .call_line = event->line,
        .call_us = event->time_us,
        .end_us = CHECK_NO_TIME,
    };
    history->open[event->process] = (uint32_t)++history->count;
    return 0;
}

static int add_completion(struct check_history *history, const struct check_event *event,
                          const char *where, struct peri_error *err)
{
    static const char *const types[] = {"invoke", "ok", "fail", "info"};
    char process[NAME_SIZE], f[NAME_SIZE], other[NAME_SIZE];
    const struct check_values *values = history->values;
    uint32_t number = history->open[event->process];
    if (number == 0) {
        if (event->type == CHECK_INFO)
            return 0; /* a nemesis, or a late word about a client that gave up */
        return peri_fail_plain(
            err, PERI_EFORMAT, "%s: %s of client %s, which has no open operation", where,
            types[event->type], name_of(values, event->process, process, sizeof process));
    }
    struct check_operation *operation = &history->operations[number - 1];
    if (event->f != CHECK_NIL && event->f != operation->f)
        return peri_fail_plain(err, PERI_EFORMAT,
                               "%s: client %s completes %s, but its open operation is the %s of "
                               "line %u",
                               where, name_of(values, event->process, process, sizeof process),
                               name_of(values, event->f, f, sizeof f),
                               name_of(values, operation->f, other, sizeof other),
                               operation->call_line);
    if (event->key != CHECK_NIL && event->key != operation->key)
        return peri_fail_plain(err, PERI_EFORMAT, "%s: the key is not that of line %u", where,
                               operation->call_line);
    operation->outcome = event->type;
    operation->output = event->value;
    operation->error = event->error;
    operation->end_line = event->line;
    operation->end_us = event->time_us;
    operation->end = event->type == CHECK_INFO ? CHECK_NEVER : history->event_count;
    history->open[event->process] = 0;
    return 0;
}

int check_history_add(struct check_history *history, const struct check_event *event,
                      const char *where, struct peri_error *err)
{
    if (event->process == CHECK_NIL)
        return peri_fail_plain(err, PERI_EFORMAT, "%s: an event needs a process", where);
    if (history->event_count == CHECK_NEVER - 1)
        return peri_fail(err, PERI_ETOOBIG, "%s: a history has at most 4294967294 events", where);
    int rc = reserve_process(history, event->process);
    if (rc != 0)
        return peri_fail(err, rc, "%s", where);
    rc = event->type == CHECK_INVOKE ? add_invocation(history, event, where, err)
                                     : add_completion(history, event, where, err);
    history->event_count += rc == 0;
    return rc;
}

void check_history_deinit(struct check_history *history)
{
    check_values_close(history->values);
    free(history->operations);
    free(history->open);
    *history = (struct check_history){0};
}
