/* mr_map.h - what the parts of a map attempt share: where pairs go (mr_map_sink.c), the records of
 * the first step (mr_map_records.c), the pairs of later ones (mr_map_pairs.c), and the attempt
 * itself (mr_map.c). For those files only. */
#ifndef PERI_MODULES_MR_MAP_H
#define PERI_MODULES_MR_MAP_H

#include "mapreduce/reader.h"
#include "mr_combine.h"
#include "mr_out.h"
#include "mr_record.h"
#include "mr_task.h"

/* Zeroed before use. */
struct mr_map {
    struct mr_task *task;
    struct mr_reader *reader;     /* of the first step */
    struct mr_spill_file *source; /* of a later step */
    struct mr_spill_reader *pairs;
    struct mr_emit *emit;
    struct mr_out *out;
    struct mr_combiner combiner;
    struct peri_slice *bounds;
    struct peri_buffer text, key, value; /* scratch: an unescaped key part; a pair of a line */
    struct peri_error err;               /* scratch: of the record under way */
    struct mr_record *record;            /* under way, lent by the pool */
    bool is_calling;                     /* map, for that record */
    bool wants_context;                  /* map takes a third argument */
    int function;                        /* registry references */
    int partition;
    uint64_t file, length, total, skip_max;
    size_t emit_bytes;
};

/* What stands on the attempt's stack while map is called; 1 is the struct mr_map. */
enum {
    MR_MAP_HANDLER = 2,
    MR_MAP_OUT,
    MR_MAP_CONTEXT,
    MR_MAP_FUNCTION,
    MR_MAP_POOL,
};

/* Opens what the description says that pairs go to. has_records says whether bad ones may be
 * skipped, for which a quarter of the memory holds back what one of them puts out. Errors: those of
 * the emit table, the reducers and the output files. */
int mr_map_open_sink(struct mr_map *map, bool has_records, struct peri_error *err);

/* Calls map for each record of the reader. Raises what is no record's doing; the task's failure
 * says whether it worked. */
void mr_map_records(struct mr_map *map, lua_State *L);

/* Puts the typed line of each record, map does not see them; the same of failures. */
void mr_map_lines(struct mr_map *map);

/* Calls map for each pair that the step before has written; the same of failures. */
void mr_map_pairs(struct mr_map *map, lua_State *L);

/* How much is done, of a total that may be unknown: 0 to 1. */
double mr_map_share(uint64_t done, uint64_t total);

#endif
