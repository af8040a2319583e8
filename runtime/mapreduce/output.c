#include "mapreduce/output.h"

#include <stdlib.h>

#include "mapreduce/text.h"
#include "mapreduce/typed.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    BUFFER_BYTES = 256 << 10,
    SYNC_BYTES = 8 << 20, /* that are worth a start of their own */
};

struct mr_output {
    struct env_file *file;
    char *path;
    enum mr_output_format format;
    bool bare_values;
    bool is_lent;               /* the file is standard output */
    struct peri_buffer bytes;   /* not yet written */
    struct peri_buffer scratch; /* of keys being decoded */
    struct mr_output_totals totals;
    uint64_t syncing_bytes; /* that the disk has been told to take */
    XXH3_state_t *hash;
};

static const char *const names[] = {"text", "tsv", "jsonl", "raw", "typed"};

int mr_output_format_parse(const char *name, enum mr_output_format *out, struct peri_error *err)
{
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (enum mr_output_format)i;
            return 0;
        }
    }
    return peri_fail_plain(err, PERI_EINVAL,
                           "no output format is called '%s'; there are text, tsv, jsonl and raw",
                           name);
}

static int prepare(struct mr_output *output, struct env *env, const char *path,
                   struct peri_error *err)
{
    int flags = ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_EXCLUSIVE;
    output->path = strdup(path);
    output->hash = XXH3_createState();
    if (output->path == NULL || output->hash == NULL ||
        peri_buffer_reserve(&output->bytes, BUFFER_BYTES) != 0)
        return peri_fail(err, PERI_ENOMEM, "output %s", path);
    (void)XXH3_64bits_reset(output->hash);
    if (strcmp(path, "-") != 0)
        return env_file_open(env, path, flags, &output->file, err);
    output->file = env_file_stdout(env);
    output->is_lent = true;
    return 0;
}

int mr_output_open(struct mr_output **out, struct env *env, const char *path,
                   enum mr_output_format format, bool bare_values, struct peri_error *err)
{
    struct mr_output *output = calloc(1, sizeof *output);
    if (output == NULL)
        return peri_fail(err, PERI_ENOMEM, "output %s", path);
    output->format = format;
    output->bare_values = bare_values;
    int rc = prepare(output, env, path, err);
    if (rc != 0) {
        mr_output_close(output);
        return rc;
    }
    *out = output;
    return 0;
}

/* ---- text and TSV ---- */

static int append_escaped(struct peri_buffer *out, struct peri_slice string)
{
    static const char special[] = "\t\n\r\\";
    static const char letters[] = "tnr\\";
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < string.size; i++) {
        const char *found = memchr(special, string.data[i], sizeof special - 1);
        if (found == NULL) {
            rc = peri_buffer_append(out, &string.data[i], 1);
        } else {
            const char escape[2] = {'\\', letters[found - special]};
            rc = peri_buffer_append(out, escape, sizeof escape);
        }
    }
    return rc;
}

static int append_plain(struct mr_output *output, struct peri_slice string)
{
    if (output->format == MR_OUTPUT_TSV)
        return append_escaped(&output->bytes, string);
    return peri_buffer_append(&output->bytes, string.data, string.size);
}

static int append_datum(struct mr_output *output, const struct mr_datum *datum)
{
    char number[MR_NUMBER_TEXT_MAX];
    if (output->format == MR_OUTPUT_TYPED)
        return mr_typed_append(&output->bytes, datum);
    switch (datum->type) {
    case MR_NIL:
        return peri_buffer_append(&output->bytes, "nil", 3);
    case MR_FALSE:
        return peri_buffer_append(&output->bytes, "false", 5);
    case MR_TRUE:
        return peri_buffer_append(&output->bytes, "true", 4);
    case MR_STRING:
        return append_plain(output, datum->string);
    case MR_TABLE: /* JSON has none of the bytes that TSV escapes but the backslash */
        return mr_json_append(&output->bytes, datum);
    default:
        return peri_buffer_append(&output->bytes, number, mr_number_text(datum, number));
    }
}

static int append_line(struct mr_output *output, const struct mr_datum *parts, size_t count,
                       const struct mr_datum *value)
{
    const char *separator = output->format == MR_OUTPUT_TEXT ? " " : "\t";
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = i > 0 ? peri_buffer_append(&output->bytes, separator, 1) : 0;
        if (rc == 0)
            rc = append_datum(output, &parts[i]);
    }
    if (rc == 0 && (value->type != MR_NIL || output->format == MR_OUTPUT_TYPED)) {
        rc = peri_buffer_append(&output->bytes, separator, 1);
        if (rc == 0)
            rc = append_datum(output, value);
    }
    return rc != 0 ? rc : peri_buffer_append(&output->bytes, "\n", 1);
}

/* ---- JSON lines ---- */

static int append_literal(struct peri_buffer *out, const char *text)
{
    return peri_buffer_append(out, text, strlen(text));
}

static int append_json_key(struct peri_buffer *out, const struct mr_datum *parts, size_t count)
{
    int rc = append_literal(out, count > 1 ? "{\"key\":[" : "{\"key\":");
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = i > 0 ? append_literal(out, ",") : 0;
        if (rc == 0)
            rc = mr_json_append(out, &parts[i]);
    }
    return rc != 0 ? rc : append_literal(out, count > 1 ? "],\"value\":" : ",\"value\":");
}

static int append_json(struct mr_output *output, const struct mr_datum *parts, size_t count,
                       const struct mr_datum *value)
{
    int rc = output->bare_values ? 0 : append_json_key(&output->bytes, parts, count);
    if (rc == 0)
        rc = mr_json_append(&output->bytes, value);
    return rc != 0 ? rc : append_literal(&output->bytes, output->bare_values ? "\n" : "}\n");
}

/* ---- writing ---- */

/* The disk works while we do; the sync at the end then waits for little. */
static void start_sync(struct mr_output *output)
{
    uint64_t size = output->totals.bytes - output->syncing_bytes;
    if (output->is_lent || size < SYNC_BYTES)
        return;
    env_file_sync_start(output->file, output->syncing_bytes, size);
    output->syncing_bytes += size;
}

static int flush(struct mr_output *output, struct peri_error *err)
{
    struct peri_buffer *bytes = &output->bytes;
    if (bytes->size == 0)
        return 0;
    (void)XXH3_64bits_update(output->hash, bytes->data, bytes->size);
    int rc = env_file_write(output->file, bytes->data, bytes->size, err);
    output->totals.bytes += bytes->size;
    bytes->size = 0;
    start_sync(output);
    return rc;
}

static int check_datum(enum mr_output_format format, const struct mr_datum *value,
                       struct peri_error *err)
{
    if (format == MR_OUTPUT_RAW && value->type != MR_STRING)
        return peri_fail_plain(err, PERI_EINVAL, "raw output takes strings as values");
    return 0;
}

int mr_output_check(enum mr_output_format format, struct peri_slice value, struct peri_error *err)
{
    struct mr_datum datum;
    int rc = mr_value_decode(value, &datum);
    return rc != 0 ? peri_fail(err, rc, "a value") : check_datum(format, &datum, err);
}

static int append_raw(struct mr_output *output, const struct mr_datum *value)
{
    return peri_buffer_append(&output->bytes, value->string.data, value->string.size);
}

static int append_record(struct mr_output *output, struct peri_slice key,
                         const struct mr_datum *value, struct peri_error *err)
{
    struct mr_datum parts[MR_KEY_PARTS_MAX];
    size_t count;
    int rc = check_datum(output->format, value, err);
    if (rc != 0)
        return rc;
    if (output->format == MR_OUTPUT_RAW)
        return append_raw(output, value);
    rc = mr_key_decode(key, parts, &count, &output->scratch, NULL);
    if (rc != 0)
        return rc;
    return output->format == MR_OUTPUT_JSONL ? append_json(output, parts, count, value)
                                             : append_line(output, parts, count, value);
}

int mr_output_write(struct mr_output *output, struct peri_slice key, struct peri_slice value,
                    struct peri_error *err)
{
    struct mr_datum datum;
    size_t before = output->bytes.size;
    int rc = mr_value_decode(value, &datum);
    if (rc == 0)
        rc = append_record(output, key, &datum, err);
    if (rc != 0) {
        output->bytes.size = before;
        return rc == PERI_EINVAL ? rc : peri_fail(err, rc, "output %s", output->path);
    }
    output->totals.records++;
    return output->bytes.size >= BUFFER_BYTES ? flush(output, err) : 0;
}

int mr_output_finish(struct mr_output *output, struct mr_output_totals *totals,
                     struct peri_error *err)
{
    int rc = flush(output, err);
    if (rc == 0 && !output->is_lent)
        rc = env_file_sync(output->file, err);
    if (rc == 0 && !output->is_lent) {
        rc = env_file_close(output->file, err);
        output->file = NULL;
    }
    if (rc != 0)
        return rc;
    output->totals.checksum = XXH3_64bits_digest(output->hash);
    if (totals != NULL)
        *totals = output->totals;
    return rc;
}

void mr_output_close(struct mr_output *output)
{
    if (output == NULL)
        return;
    if (!output->is_lent)
        (void)env_file_close(output->file, NULL);
    (void)XXH3_freeState(output->hash);
    peri_buffer_deinit(&output->bytes);
    peri_buffer_deinit(&output->scratch);
    free(output->path);
    free(output);
}
