/* split.h - which bytes of which file each map task reads (MapReduce 3.1).
 *
 * A split is what the user asked for; a task is one or more splits in a row, so that splits of one
 * byte do not make a task for each byte: a record belongs to the split that holds its first byte,
 * so joining splits never changes which records there are. Compressed files, CSV (a line end may be
 * quoted) and whole-file records are never cut. Pure. */
#ifndef PERI_MAPREDUCE_SPLIT_H
#define PERI_MAPREDUCE_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mapreduce/record.h"

/* Default split of a large input, as large as Hadoop's blocks: each map task begins with a Lua
 * state that knows no word yet, and learns the vocabulary again. */
#define MR_SPLIT_SIZE_MAX ((uint64_t)128 << 20)
#define MR_SPLIT_SIZE_SMALL ((uint64_t)1 << 20) /* default split of a small one */
#define MR_SPLIT_TO_END UINT64_MAX              /* length of a split whose end is not known */
#define MR_TASKS_MAX 10000u

/* An input file. Directories and globs are expanded before. */
struct mr_split_file {
    const char *path;
    uint64_t size_bytes;
    bool is_stream; /* compressed, or not a regular file: one split without a known length */
};

/* The range of one map task: [offset, offset + length) of path, as splits of step bytes. */
struct mr_split {
    const char *path; /* lent by the file it was planned from */
    uint64_t offset;
    uint64_t length; /* MR_SPLIT_TO_END for a stream */
    uint64_t step;   /* length of each split; 0: the range is one split */
};

struct mr_split_options {
    enum mr_format format;
    uint64_t size_bytes; /* of a split; 0: chosen from the input's size and the workers */
    uint32_t workers;    /* 0 counts as 1 */
    uint32_t tasks_max;  /* 0: MR_TASKS_MAX */
};

struct mr_split_plan {
    struct mr_split *tasks; /* in the order of the files */
    size_t count;           /* above tasks_max only when there are more files than that */
    uint64_t splits;        /* how many splits the tasks stand for */
    uint64_t size_bytes;    /* the split size that was used */
    uint64_t total_bytes;
};

/* Plans the map tasks of the files. Empty files give no task, except where a whole file is a
 * record. On success the caller ends *out with mr_split_plan_deinit. Errors: PERI_ENOMEM. */
int mr_split_plan_init(struct mr_split_plan *out, const struct mr_split_file *files, size_t count,
                       const struct mr_split_options *options);
void mr_split_plan_deinit(struct mr_split_plan *plan);

#endif
