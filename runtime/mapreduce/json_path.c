#include "mapreduce/json_path.h"

#include <stdbool.h>
#include <stdint.h>

/* One step of a path: a name, or an index when name.data is NULL. */
struct step {
    struct peri_slice name;
    size_t index;
};

/* Reads "[12]" at the start of path and returns its size, 0 when malformed. */
static size_t scan_index(struct peri_slice path, size_t *index)
{
    enum { INDEX_MAX = 1 << 30 };
    size_t at = 1;
    *index = 0;
    for (; at < path.size && path.data[at] >= '0' && path.data[at] <= '9'; at++) {
        *index = *index * 10 + (size_t)(path.data[at] - '0');
        if (*index > INDEX_MAX)
            return 0;
    }
    bool is_closed = at > 1 && at < path.size && path.data[at] == ']';
    return is_closed ? at + 1 : 0;
}

static size_t scan_name(struct peri_slice path, struct peri_slice *name)
{
    size_t size = 0;
    while (size < path.size && path.data[size] != '.' && path.data[size] != '[')
        size++;
    *name = peri_slice_of(path.data, size);
    return size;
}

/* Reads the step at path[at] and returns the offset behind it, 0 when malformed. A dot stands
 * before every name but the first. */
static size_t scan_step(struct peri_slice path, size_t at, struct step *step)
{
    struct peri_slice rest = peri_slice_of(path.data + at, path.size - at);
    *step = (struct step){{NULL, 0}, 0};
    size_t dot = at > 0 && rest.data[0] == '.';
    if (rest.data[0] != '[' && at > 0 && !dot)
        return 0;
    rest = peri_slice_of(rest.data + dot, rest.size - dot);
    bool is_index = !dot && rest.size > 0 && rest.data[0] == '[';
    size_t size = is_index ? scan_index(rest, &step->index) : scan_name(rest, &step->name);
    return size == 0 ? 0 : at + dot + size;
}

int mr_json_find(json_t *root, struct peri_slice path, json_t **out, struct peri_error *err)
{
    json_t *value = root;
    for (size_t at = 0; at < path.size;) {
        struct step step;
        at = scan_step(path, at, &step);
        if (at == 0)
            return peri_fail_plain(err, PERI_EINVAL,
                                   "'%.*s' is no path: write it like user.tags[0].name",
                                   (int)(path.size < 100 ? path.size : 100), path.data);
        value = step.name.data != NULL ? json_object_getn(value, step.name.data, step.name.size)
                                       : json_array_get(value, step.index);
    }
    *out = value;
    return 0;
}
