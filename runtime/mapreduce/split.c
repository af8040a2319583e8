#include "mapreduce/split.h"

#include <stdlib.h>
#include <string.h>

/* A last split may be a tenth longer, so that no task reads only a few bytes (Hadoop's slop). */
enum { SLOP_PARTS = 10 };

/* How many splits of a small input each worker gets: enough for one that is slow to give some to
 * the others, but none so small that starting, sorting and merging it costs more than that gains.
 */
enum { SPLITS_PER_WORKER_MIN = 2, SPLITS_PER_WORKER_MAX = 4 };
static const uint64_t split_worth = (uint64_t)16 << 20;

static bool is_whole(const struct mr_split_file *file, enum mr_format format)
{
    return file->is_stream || format == MR_FORMAT_CSV || format == MR_FORMAT_FILES;
}

static bool has_records(const struct mr_split_file *file, enum mr_format format)
{
    return file->size_bytes > 0 || file->is_stream || format == MR_FORMAT_FILES;
}

static uint64_t splits_of(uint64_t bytes, uint64_t size)
{
    uint64_t full = bytes / size;
    uint64_t rest = bytes % size;
    return full == 0 || rest > size / SLOP_PARTS ? full + (rest != 0) : full;
}

static uint64_t choose_size(const struct mr_split_options *options, uint64_t total)
{
    if (options->size_bytes != 0)
        return options->size_bytes;
    uint64_t workers = options->workers != 0 ? options->workers : 1;
    uint64_t each = (total / workers + split_worth - 1) / split_worth;
    each = each < SPLITS_PER_WORKER_MIN   ? SPLITS_PER_WORKER_MIN
           : each > SPLITS_PER_WORKER_MAX ? SPLITS_PER_WORKER_MAX
                                          : each;
    uint64_t size = total / (workers * each);
    if (size < MR_SPLIT_SIZE_SMALL)
        return MR_SPLIT_SIZE_SMALL;
    return size > MR_SPLIT_SIZE_MAX ? MR_SPLIT_SIZE_MAX : size;
}

/* How many pieces of `size` bytes the files make; a file that is read whole is one. */
static uint64_t count_pieces(const struct mr_split_file *files, size_t count, enum mr_format format,
                             uint64_t size)
{
    uint64_t pieces = 0;
    for (size_t i = 0; i < count; i++)
        if (has_records(&files[i], format))
            pieces += is_whole(&files[i], format) ? 1 : splits_of(files[i].size_bytes, size);
    return pieces;
}

/* The smallest multiple of the split size that gives few enough tasks. Each file is at least one
 * task, so with more files than tasks_max the search ends at one task for each file. */
static uint64_t choose_task_size(const struct mr_split_file *files, size_t count,
                                 enum mr_format format, uint64_t size, uint64_t largest,
                                 uint32_t tasks_max)
{
    uint64_t low = 1;
    uint64_t high = largest / size + 1;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (count_pieces(files, count, format, size * middle) <= tasks_max)
            high = middle;
        else
            low = middle + 1;
    }
    return size * low;
}

static void add_whole(struct mr_split_plan *plan, const struct mr_split_file *file)
{
    plan->tasks[plan->count++] = (struct mr_split){
        .path = file->path,
        .length = file->is_stream ? MR_SPLIT_TO_END : file->size_bytes,
    };
}

static void add_tasks(struct mr_split_plan *plan, const struct mr_split_file *file,
                      uint64_t task_size)
{
    uint64_t tasks = splits_of(file->size_bytes, task_size);
    for (uint64_t i = 0; i < tasks; i++) {
        uint64_t offset = i * task_size;
        bool is_last = i + 1 == tasks;
        plan->tasks[plan->count++] = (struct mr_split){
            .path = file->path,
            .offset = offset,
            .length = is_last ? file->size_bytes - offset : task_size,
            .step = task_size == plan->size_bytes ? 0 : plan->size_bytes,
        };
    }
}

int mr_split_plan_init(struct mr_split_plan *out, const struct mr_split_file *files, size_t count,
                       const struct mr_split_options *options)
{
    struct mr_split_plan plan = {0};
    uint64_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        plan.total_bytes += files[i].size_bytes;
        if (files[i].size_bytes > largest)
            largest = files[i].size_bytes;
    }
    plan.size_bytes = choose_size(options, plan.total_bytes);
    plan.splits = count_pieces(files, count, options->format, plan.size_bytes);
    uint32_t tasks_max = options->tasks_max != 0 ? options->tasks_max : MR_TASKS_MAX;
    uint64_t task_size =
        choose_task_size(files, count, options->format, plan.size_bytes, largest, tasks_max);
    uint64_t tasks = count_pieces(files, count, options->format, task_size);
    plan.tasks = calloc(tasks != 0 ? tasks : 1, sizeof *plan.tasks);
    if (plan.tasks == NULL)
        return PERI_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        if (!has_records(&files[i], options->format))
            continue;
        if (is_whole(&files[i], options->format))
            add_whole(&plan, &files[i]);
        else
            add_tasks(&plan, &files[i], task_size);
    }
    *out = plan;
    return 0;
}

void mr_split_plan_deinit(struct mr_split_plan *plan)
{
    free(plan->tasks);
    *plan = (struct mr_split_plan){0};
}
