#include "mapreduce/merge.h"

#include <inttypes.h>
#include <stdlib.h>

#include "mapreduce/groups.h"
#include "mapreduce/pass.h"
#include "mapreduce/room.h"

struct mr_merge {
    struct mr_runs runs;
    struct mr_fan *fan;
    struct mr_groups groups;
    struct mr_bounded_room room;
    struct peri_buffer result;
    struct mr_sum sum; /* of the inputs, as their footers say */
    int64_t failed_input;
};

int mr_values_next(struct mr_values *values, struct peri_slice *value, struct peri_error *err)
{
    return values->next(values, value, err);
}

struct peri_slice mr_values_key(const struct mr_values *values)
{
    return values->key;
}

/* Compares an input's footer with what the caller knows of it; an input without records in the
 * partition is not worth a reader. */
static int check_input(struct mr_merge *merge, const struct mr_merge_input *input, uint32_t part,
                       bool *is_empty, struct peri_error *err)
{
    struct mr_spill_file *file = NULL;
    int rc = mr_spill_file_open(&file, merge->runs.pass.env, input->path, err);
    if (rc != 0)
        return rc;
    if (part >= mr_spill_file_partitions(file)) {
        rc =
            peri_fail(err, PERI_ECORRUPT, "spill %s: has no partition %" PRIu32, input->path, part);
    } else {
        const struct mr_sum *sum = &mr_spill_file_part(file, part)->sum;
        if (input->expected != NULL && !mr_sum_equal(sum, input->expected))
            rc = peri_fail(err, PERI_ECORRUPT,
                           "spill %s: partition %" PRIu32 " is not what the map task wrote",
                           input->path, part);
        *is_empty = sum->records == 0;
        mr_sum_merge(&merge->sum, sum);
        merge->runs.pass.partitions = mr_spill_file_partitions(file);
    }
    mr_spill_file_close(file);
    return rc;
}

static int add_inputs(struct mr_merge *merge, const struct mr_merge_options *options,
                      struct peri_error *err)
{
    for (size_t i = 0; i < options->inputs_count; i++) {
        bool is_empty = false;
        int rc = check_input(merge, &options->inputs[i], options->part, &is_empty, err);
        if (rc != 0) {
            merge->runs.failed_input = (int64_t)i;
            return rc;
        }
        if (!is_empty)
            rc = mr_runs_add(&merge->runs, options->inputs[i].path, (int64_t)i, false, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int start(struct mr_merge *merge, const struct mr_merge_options *options,
                 struct peri_error *err)
{
    if (options->memory_bytes < MR_MERGE_MEMORY_MIN)
        return peri_fail_plain(err, PERI_EINVAL,
                               "a merge needs at least %d bytes of memory, not %zu",
                               MR_MERGE_MEMORY_MIN, options->memory_bytes);
    int rc = add_inputs(merge, options, err);
    if (rc == 0)
        rc = mr_runs_shrink(&merge->runs, err);
    if (rc == 0)
        rc = mr_runs_fan(&merge->runs, options->part, &merge->fan, err);
    if (rc == 0)
        mr_groups_init(&merge->groups, merge->fan, options->group_parts);
    return rc;
}

int mr_merge_open(struct mr_merge **out, struct env *env, const struct mr_merge_options *options,
                  int64_t *failed_input, struct peri_error *err)
{
    *failed_input = -1;
    struct mr_merge *merge = calloc(1, sizeof *merge);
    if (merge == NULL)
        return peri_fail(err, PERI_ENOMEM, "merge");
    merge->runs.failed_input = merge->failed_input = -1;
    merge->runs.pass = (struct mr_pass){
        .env = env,
        .partitions = options->part + 1,
        .first = options->part,
        .last = options->part,
        .reducer = options->reducer,
        .memory_bytes = options->memory_bytes,
        .temp_path = options->temp_path,
    };
    merge->room = mr_bounded_room(options->memory_bytes / MR_STATE_SHARE);
    int rc = start(merge, options, err);
    if (rc != 0) {
        *failed_input = merge->runs.failed_input;
        mr_merge_close(merge);
        return rc;
    }
    *out = merge;
    return 0;
}

/* Remembers whose fault an error of the fan was. */
static int noted(struct mr_merge *merge, int rc)
{
    int64_t failed = rc < 0 ? mr_fan_failed(merge->fan) : -1;
    merge->failed_input = failed < 0 ? -1 : merge->runs.items[failed].input;
    return rc;
}

int mr_merge_next(struct mr_merge *merge, struct peri_slice *key, struct mr_values **values,
                  struct peri_error *err)
{
    *values = &merge->groups.values;
    return noted(merge, mr_groups_next(&merge->groups, key, err));
}

int mr_merge_reduce(struct mr_merge *merge, struct peri_slice *key, struct peri_slice *value,
                    struct peri_error *err)
{
    const struct mr_reducer *reducer = &merge->runs.pass.reducer;
    int rc = noted(merge, mr_groups_next(&merge->groups, key, err));
    if (rc != 1)
        return rc;
    rc = noted(merge, mr_group_reduce(reducer, &merge->groups.values, &merge->room, err));
    merge->result.size = 0;
    if (rc == 0)
        rc = mr_reducer_finish(reducer, &merge->room.state, &merge->result, err);
    if (rc != 0)
        return rc;
    *value = peri_buffer_slice(&merge->result);
    return 1;
}

int mr_merge_pair(struct mr_merge *merge, struct peri_slice *key, struct peri_slice *value,
                  struct peri_error *err)
{
    return noted(merge, mr_fan_next(merge->fan, key, value, err));
}

int64_t mr_merge_failed_input(const struct mr_merge *merge)
{
    return merge->failed_input;
}

struct mr_sum mr_merge_sum(const struct mr_merge *merge)
{
    return merge->sum;
}

void mr_merge_close(struct mr_merge *merge)
{
    if (merge == NULL)
        return;
    mr_groups_deinit(&merge->groups);
    mr_fan_close(merge->fan);
    mr_runs_deinit(&merge->runs);
    mr_bounded_room_deinit(&merge->room);
    peri_buffer_deinit(&merge->result);
    free(merge);
}
