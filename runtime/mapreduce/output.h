/* output.h - a reduce task's output file: text, TSV, JSON lines or raw bytes.
 *
 *   text   key SP value LF; the parts of a composite key are joined by SP
 *   tsv    key TAB value LF with TAB, LF, CR and backslash as \t \n \r \\; parts joined by TAB
 *   jsonl  {"key":..,"value":..} a line, a composite key as an array; with bare_values the value
 *          only
 *   raw    a string value's bytes and nothing else
 *   typed  key TAB value LF as typed.h says, for another engine to carry to our reduce
 *
 * nil as a value leaves "key" alone in text and tsv; tables are written as JSON everywhere, in tsv
 * with its backslashes as they are;
 * integers and floats as Lua's tostring. JSON has no bytes outside UTF-8 (replaced by U+FFFD) and
 * no NaN or infinity (null). */
#ifndef PERI_MAPREDUCE_OUTPUT_H
#define PERI_MAPREDUCE_OUTPUT_H

#include "env/env.h"
#include "mapreduce/value.h"

enum mr_output_format {
    MR_OUTPUT_TEXT,
    MR_OUTPUT_TSV,
    MR_OUTPUT_JSONL,
    MR_OUTPUT_RAW,
    MR_OUTPUT_TYPED,
};

struct mr_output;

struct mr_output_totals {
    uint64_t records, bytes;
    uint64_t checksum; /* XXH3-64 of the file's bytes */
};

/* Finds a format by name: text, tsv, jsonl, raw, typed. Errors: PERI_EINVAL, with the names that
 * exist. */
int mr_output_format_parse(const char *name, enum mr_output_format *out, struct peri_error *err);

/* Creates path, which must not exist; "-" is standard output. Errors: PERI_ENOMEM, errno codes. */
int mr_output_open(struct mr_output **out, struct env *env, const char *path,
                   enum mr_output_format format, bool bare_values, struct peri_error *err);

/* Writes one encoded pair. Errors: PERI_EFORMAT, PERI_ENOMEM; PERI_EINVAL for raw and a value that
 * is no string; errno codes, with the path. */
int mr_output_write(struct mr_output *output, struct peri_slice key, struct peri_slice value,
                    struct peri_error *err);

/* Whether an output of that format takes the encoded value, so that mr_output_write can only fail
 * for reasons of the world. Errors: PERI_EINVAL, PERI_EFORMAT. */
int mr_output_check(enum mr_output_format format, struct peri_slice value, struct peri_error *err);

/* Flushes, syncs and closes the file; *totals may be NULL. mr_output_close is still due. */
int mr_output_finish(struct mr_output *output, struct mr_output_totals *totals,
                     struct peri_error *err);

/* Frees output; a file not finished is left for the caller to remove. Accepts NULL. */
void mr_output_close(struct mr_output *output);

#endif
