/* pass.h - merging many spill files into few: the passes between spilling and reading.
 *
 * A list of runs in the order of their records. mr_runs_shrink merges neighbours into temporary
 * files until the rest can be read at once within fan-in and memory; mr_runs_merge writes the rest
 * into one file. States of a named reducer and values of a user's combiner are combined on the way.
 */
#ifndef PERI_MAPREDUCE_PASS_H
#define PERI_MAPREDUCE_PASS_H

#include "mapreduce/combine.h"
#include "mapreduce/fan.h"
#include "mapreduce/reducer.h"

/* How runs are merged; plain data, what it points to is borrowed. */
struct mr_pass {
    struct env *env;
    uint32_t partitions;       /* of every run */
    uint32_t first, last;      /* the partitions that matter: first..last */
    struct mr_reducer reducer; /* a named one: values are its states */
    mr_combine_cb combine;     /* or NULL */
    void *combine_data;
    size_t memory_bytes;
    bool lz4;
    const char *temp_path; /* temporary files are temp_path.merge-N */
};

struct mr_run {
    char *path;
    struct mr_spill_file *file; /* while opened */
    int64_t input;              /* the caller's number for it; -1 for a temporary file */
    bool is_temp;               /* removed when it is no longer needed */
};

/* Starts zeroed with pass set; ended by mr_runs_deinit. */
struct mr_runs {
    struct mr_pass pass;
    struct mr_run *items;
    size_t count, capacity;
    uint32_t temp_count;  /* temporary files made so far */
    uint64_t temp_bytes;  /* written to them */
    int64_t failed_input; /* of the run that the last error came from, or -1 */
};

/* Appends a run; copies path. Errors: PERI_ENOMEM. */
int mr_runs_add(struct mr_runs *runs, const char *path, int64_t input, bool is_temp,
                struct peri_error *err);

/* Merges neighbours until all runs left can be open at once within memory_bytes, and opens them.
 * Errors: PERI_EMEMORY when not even two fit; as mr_merge_open. */
int mr_runs_shrink(struct mr_runs *runs, struct peri_error *err);

/* Opens a fan over all runs, which must be open. */
int mr_runs_fan(struct mr_runs *runs, uint32_t part, struct mr_fan **out, struct peri_error *err);

/* Writes all runs, shrunk before, into writer. */
int mr_runs_merge(struct mr_runs *runs, struct mr_spill_writer *writer, struct peri_error *err);

/* Closes the runs and removes the temporary ones. */
void mr_runs_deinit(struct mr_runs *runs);

/* Block size for spill files made under a memory limit: many must be open at once later. */
uint32_t mr_pass_block_bytes(size_t memory_bytes);

#endif
