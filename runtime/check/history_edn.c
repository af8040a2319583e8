#include "check/history_edn.h"

#include "check/edn.h"

static bool is_keyword(const struct check_values *values, check_value value)
{
    if (check_value_kind(values, value) != CHECK_KIND_STRING)
        return false;
    struct peri_slice text = check_value_to_string(values, value);
    return text.size > 1 && text.data[0] == ':';
}

/* ":read" as "read"; what is no keyword stays. */
static int strip(struct check_values *values, check_value *value)
{
    if (!is_keyword(values, *value))
        return 0;
    struct peri_slice text = check_value_to_string(values, *value);
    return check_value_string(values, peri_slice_of(text.data + 1, text.size - 1), value);
}

static int read_type(const struct check_values *values, check_value value,
                     enum check_event_type *type, struct peri_error *err)
{
    static const char *const names[] = {":invoke", ":ok", ":fail", ":info"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (check_value_is(values, value, names[i])) {
            *type = (enum check_event_type)i;
            return 0;
        }
    }
    return peri_fail_plain(err, PERI_EFORMAT, ":type must be :invoke, :ok, :fail or :info");
}

/* Names lose their colons; the keyword for a value, ":timed-out", is why it has none. */
static int finish(struct check_values *values, struct check_event *event)
{
    int rc = strip(values, &event->process);
    if (rc == 0)
        rc = strip(values, &event->f);
    if (rc == 0 && event->type != CHECK_INVOKE && is_keyword(values, event->value)) {
        event->error = event->value;
        event->value = CHECK_NIL;
        rc = strip(values, &event->error);
    }
    return rc;
}

static check_value field(const struct check_values *values, check_value map, const char *name)
{
    size_t count;
    const check_value *items = check_value_items(values, map, &count);
    for (size_t i = 0; i < count; i += 2) {
        if (check_value_is(values, items[i], name))
            return items[i + 1];
    }
    return CHECK_NIL;
}

int check_edn_event(struct check_values *values, struct peri_slice line, struct check_event *event,
                    struct peri_error *err)
{
    enum { NS_PER_US = 1000 };
    check_value map;
    int rc = check_edn_read(values, &line, &map, err);
    if (rc != 0)
        return rc;
    check_edn_skip(&line);
    if (line.size > 0 || check_value_kind(values, map) != CHECK_KIND_MAP)
        return peri_fail_plain(err, PERI_EFORMAT, "an event is one map {:process ... :type ...}");
    rc = read_type(values, field(values, map, ":type"), &event->type, err);
    if (rc != 0)
        return rc;
    check_value time = field(values, map, ":time");
    event->process = field(values, map, ":process");
    event->f = field(values, map, ":f");
    event->key = field(values, map, ":key");
    event->value = field(values, map, ":value");
    event->error = field(values, map, ":error");
    event->node = field(values, map, ":node");
    event->time_us = check_value_kind(values, time) == CHECK_KIND_INTEGER
                         ? check_value_to_integer(values, time) / NS_PER_US
                         : CHECK_NO_TIME;
    return finish(values, event);
}

/* The text up to the next tab, which is moved behind it; false when there is none. */
static bool next_column(struct peri_slice *line, struct peri_slice *column)
{
    const char *tab = line->size == 0 ? NULL : memchr(line->data, '\t', line->size);
    if (tab == NULL)
        return false;
    *column = peri_slice_of(line->data, (size_t)(tab - line->data));
    line->data = tab + 1;
    line->size -= column->size + 1;
    return true;
}

/* What stands behind the last blank of the log line's prefix. */
static struct peri_slice last_word(struct peri_slice text)
{
    size_t at = text.size;
    while (at > 0 && text.data[at - 1] != ' ')
        at--;
    return peri_slice_of(text.data + at, text.size - at);
}

int check_jepsen_event(struct check_values *values, struct peri_slice line,
                       struct check_event *event, bool *is_event, struct peri_error *err)
{
    struct peri_slice prefix, type, f;
    *is_event = next_column(&line, &prefix) && next_column(&line, &type) &&
                next_column(&line, &f) && type.size > 0 && type.data[0] == ':';
    if (!*is_event)
        return 0;
    struct peri_slice process = last_word(prefix);
    check_value name;
    event->time_us = CHECK_NO_TIME;
    int rc = check_edn_read(values, &type, &name, err);
    if (rc == 0)
        rc = read_type(values, name, &event->type, err);
    if (rc == 0)
        rc = check_edn_read(values, &process, &event->process, err);
    if (rc == 0)
        rc = check_edn_read(values, &f, &event->f, err);
    if (rc == 0)
        rc = check_edn_read(values, &line, &event->value, err);
    return rc == 0 ? finish(values, event) : rc;
}
