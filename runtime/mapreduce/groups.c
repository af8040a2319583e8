#include "mapreduce/groups.h"

#include <stddef.h>

#include "base/assert.h"
#include "mapreduce/key.h"

/* Reads one record ahead: 1, 0 at the end of the stream, or a code. */
static int read_ahead(struct mr_groups *groups, struct peri_error *err)
{
    int rc = mr_fan_next(groups->fan, &groups->next_key, &groups->next_value, err);
    if (rc >= 0)
        groups->at = rc == 1 ? GROUPS_AHEAD : GROUPS_END;
    return rc;
}

static struct peri_slice group_of(const struct mr_groups *groups, struct peri_slice key)
{
    return groups->group_parts == 0 ? key : mr_key_first_parts(key, groups->group_parts);
}

static bool is_same_group(const struct mr_groups *groups)
{
    struct peri_slice key = group_of(groups, groups->next_key);
    return key.size == groups->key.size && memcmp(key.data, groups->key.data, key.size) == 0;
}

static int next_value(struct mr_values *values, struct peri_slice *value, struct peri_error *err)
{
    struct mr_groups *groups = container_of(values, struct mr_groups, values);
    if (groups->at == GROUPS_TAKEN) {
        int rc = read_ahead(groups, err);
        if (rc < 0)
            return rc;
    }
    if (groups->at != GROUPS_AHEAD || !is_same_group(groups))
        return 0;
    values->key = groups->next_key;
    *value = groups->next_value;
    groups->at = GROUPS_TAKEN;
    return 1;
}

void mr_groups_init(struct mr_groups *groups, struct mr_fan *fan, size_t group_parts)
{
    *groups = (struct mr_groups){
        .values = {.next = next_value},
        .fan = fan,
        .group_parts = group_parts,
        .at = GROUPS_START,
    };
}

static int skip_group(struct mr_groups *groups, struct peri_error *err)
{
    struct peri_slice value;
    int rc;
    if (groups->at == GROUPS_START)
        return read_ahead(groups, err);
    do
        rc = next_value(&groups->values, &value, err);
    while (rc == 1);
    return rc;
}

int mr_groups_next(struct mr_groups *groups, struct peri_slice *key, struct peri_error *err)
{
    int rc = skip_group(groups, err);
    if (rc < 0 || groups->at == GROUPS_END)
        return rc < 0 ? rc : 0;
    struct peri_slice group = group_of(groups, groups->next_key);
    groups->key.size = 0;
    if (peri_buffer_append(&groups->key, group.data, group.size) != 0)
        return peri_fail(err, PERI_ENOMEM, "group");
    *key = peri_buffer_slice(&groups->key);
    return 1;
}

void mr_groups_deinit(struct mr_groups *groups)
{
    peri_buffer_deinit(&groups->key);
}
