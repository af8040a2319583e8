#include "check/history_json.h"

#include <jansson.h>
#include <math.h>

#include "base/buffer.h"

enum { DEPTH_MAX = 64 };

static int read_value(struct check_values *values, const json_t *json, int depth, check_value *out,
                      struct peri_error *err);

static int read_into(struct check_values *values, const json_t *json, int depth,
                     struct peri_buffer *items, struct peri_error *err)
{
    check_value item;
    int rc = read_value(values, json, depth + 1, &item, err);
    return rc == 0 ? peri_buffer_append(items, &item, sizeof item) : rc;
}

static int read_array(struct check_values *values, const json_t *json, int depth,
                      struct peri_buffer *items, struct peri_error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(json); i++)
        rc = read_into(values, json_array_get(json, i), depth, items, err);
    return rc;
}

static int read_object(struct check_values *values, const json_t *json, int depth,
                       struct peri_buffer *items, struct peri_error *err)
{
    json_t *walked = (json_t *)(uintptr_t)json; /* jansson's iterators take no const */
    int rc = 0;
    for (void *at = json_object_iter(walked); rc == 0 && at != NULL;
         at = json_object_iter_next(walked, at)) {
        const char *key = json_object_iter_key(at);
        check_value name;
        rc = check_value_string(values, peri_slice_of(key, strlen(key)), &name);
        if (rc == 0)
            rc = peri_buffer_append(items, &name, sizeof name);
        if (rc == 0)
            rc = read_into(values, json_object_iter_value(at), depth, items, err);
    }
    return rc;
}

static int read_container(struct check_values *values, const json_t *json, int depth,
                          check_value *out, struct peri_error *err)
{
    struct peri_buffer items = {NULL, 0, 0};
    if (depth == DEPTH_MAX)
        return peri_fail_plain(err, PERI_ETOOBIG, "more than %d levels of nesting", DEPTH_MAX);
    int rc = json_is_array(json) ? read_array(values, json, depth, &items, err)
                                 : read_object(values, json, depth, &items, err);
    if (rc == 0)
        rc = check_value_list(values, json_is_array(json) ? CHECK_KIND_LIST : CHECK_KIND_MAP,
                              (const check_value *)(const void *)items.data,
                              items.size / sizeof(check_value), out);
    peri_buffer_deinit(&items);
    return rc;
}

static int read_value(struct check_values *values, const json_t *json, int depth, check_value *out,
                      struct peri_error *err)
{
    *out = CHECK_NIL;
    if (json == NULL)
        return 0;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        return read_container(values, json, depth, out, err);
    case JSON_STRING:
        return check_value_string(
            values, peri_slice_of(json_string_value(json), json_string_length(json)), out);
    case JSON_INTEGER:
        return check_value_integer(values, json_integer_value(json), out);
    case JSON_REAL:
        return check_value_real(values, json_real_value(json), out);
    case JSON_TRUE:
    case JSON_FALSE:
        return check_value_boolean(values, json_is_true(json), out);
    case JSON_NULL:
        return 0;
    }
    return 0;
}

static int read_type(const json_t *json, enum check_event_type *type, struct peri_error *err)
{
    static const char *const names[] = {"invoke", "ok", "fail", "info"};
    const char *text = json_is_string(json) ? json_string_value(json) : "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(text, names[i]) == 0) {
            *type = (enum check_event_type)i;
            return 0;
        }
    }
    return peri_fail_plain(err, PERI_EFORMAT, "type must be invoke, ok, fail or info, not '%.40s'",
                           text);
}

static int64_t read_time(const json_t *json)
{
    if (json_is_integer(json))
        return json_integer_value(json);
    double real = json_is_real(json) ? json_real_value(json) : NAN;
    return real >= 0 && real < 9e18 ? (int64_t)real : CHECK_NO_TIME;
}

static int read_fields(struct check_values *values, const json_t *json, struct check_event *event,
                       struct peri_error *err)
{
    const struct {
        const char *name;
        check_value *to;
    } fields[] = {{"process", &event->process}, {"f", &event->f},       {"key", &event->key},
                  {"value", &event->value},     {"node", &event->node}, {"error", &event->error}};
    if (!json_is_object(json))
        return peri_fail_plain(err, PERI_EFORMAT, "an event is a JSON object");
    int rc = read_type(json_object_get(json, "type"), &event->type, err);
    for (size_t i = 0; rc == 0 && i < sizeof fields / sizeof *fields; i++)
        rc = read_value(values, json_object_get(json, fields[i].name), 0, fields[i].to, err);
    event->time_us = read_time(json_object_get(json, "time"));
    return rc;
}

int check_json_event(struct check_values *values, struct peri_slice line, struct check_event *event,
                     struct peri_error *err)
{
    json_error_t why;
    json_t *json = json_loadb(line.data, line.size, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &why);
    if (json == NULL)
        return peri_fail_plain(err, PERI_EFORMAT, "column %d: %s", why.column, why.text);
    int rc = read_fields(values, json, event, err);
    json_decref(json);
    return rc;
}
