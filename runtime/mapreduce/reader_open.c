#include "mapreduce/reader_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_SIZE = 64 << 10 };

static const char byte_order_mark[] = {'\xef', '\xbb', '\xbf'};

/* Goes to the first record that begins in the range. */
static int find_first(struct mr_reader *reader, struct peri_error *err)
{
    if (mr_source_is_stream(reader->source) || reader->start == 0)
        return 0;
    if (reader->input.format == MR_FORMAT_FIXED) {
        uint64_t size = reader->fixed_size;
        reader->window.base = (reader->start + size - 1) / size * size;
        mr_source_seek(reader->source, reader->window.base);
        return 0;
    }
    /* A line begins at `start` exactly when the byte before ends one. */
    reader->window.base = reader->start - 1;
    mr_source_seek(reader->source, reader->window.base);
    reader->is_discarding = true;
    return mr_reader_discard(reader, err);
}

static int skip_byte_order_mark(struct mr_reader *reader, struct peri_error *err)
{
    bool is_text = reader->input.format == MR_FORMAT_CSV || reader->input.format == MR_FORMAT_JSONL;
    if (!is_text || reader->start != 0)
        return 0;
    while (reader->window.filled < sizeof byte_order_mark) {
        int rc = mr_reader_fill(reader, err);
        if (rc <= 0)
            return rc;
    }
    if (memcmp(reader->window.buffer, byte_order_mark, sizeof byte_order_mark) == 0) {
        reader->window.at = sizeof byte_order_mark;
        /* The first record is this range's also when the range ends inside the mark: the ranges
         * behind skip what they take for the rest of a line. */
        if (reader->end <= sizeof byte_order_mark)
            reader->end = sizeof byte_order_mark + 1;
    }
    return 0;
}

static int read_header(struct mr_reader *reader, struct peri_error *err)
{
    struct mr_record record = {0};
    int rc = mr_reader_next(reader, &record, err);
    if (rc <= 0)
        return rc;
    rc = mr_csv_names_init(&reader->names, record.data, reader->input.separator);
    if (rc != 0)
        return peri_fail(err, rc, "%s: header", reader->path);
    reader->input.names = reader->names.items;
    reader->input.name_count = reader->names.count;
    return 0;
}

/* Checks that the range can be read from this source, now that it is open. */
static int check_range(struct mr_reader *reader, const struct mr_split *split,
                       struct peri_error *err)
{
    enum mr_format format = reader->input.format;
    bool is_stream = mr_source_is_stream(reader->source);
    bool is_uncut = is_stream || format == MR_FORMAT_CSV || format == MR_FORMAT_FILES;
    uint64_t size = mr_source_size(reader->source);
    bool has_length = !is_uncut && split->length != MR_SPLIT_TO_END;
    if (has_length && split->offset + split->length > size)
        return peri_fail_plain(err, PERI_ECORRUPT,
                               "%s: the file shrank to %" PRIu64 " bytes since the job was planned",
                               reader->path, size);
    if (is_uncut && split->offset != 0)
        return peri_fail_plain(err, PERI_EINVAL, "%s: %s input cannot be read in parts",
                               reader->path, is_stream ? "compressed" : mr_format_name(format));
    reader->start = split->offset;
    reader->end =
        is_uncut || split->length == MR_SPLIT_TO_END ? UINT64_MAX : split->offset + split->length;
    reader->step = split->step;
    return 0;
}

static int open_reader(struct mr_reader *reader, struct env *env, const struct mr_split *split,
                       bool has_header, struct peri_error *err)
{
    bool is_sniffed = reader->input.format != MR_FORMAT_FIXED;
    int rc = mr_source_open(&reader->source, env, reader->path, is_sniffed, err);
    if (rc == 0)
        rc = check_range(reader, split, err);
    if (rc == 0)
        rc = find_first(reader, err);
    if (rc == 0)
        rc = skip_byte_order_mark(reader, err);
    if (rc == 0 && has_header && reader->input.format == MR_FORMAT_CSV)
        rc = read_header(reader, err);
    return rc;
}

/* Whoever asks for fixed records over the limit means them. */
static size_t limit_of(const struct mr_reader_options *options)
{
    size_t limit = options->record_max_bytes != 0 ? options->record_max_bytes : MR_RECORD_MAX;
    return options->format.fixed_size > limit ? options->format.fixed_size : limit;
}

int mr_reader_open(struct mr_reader **out, struct env *env, const struct mr_split *split,
                   const struct mr_reader_options *options, struct peri_error *err)
{
    struct mr_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return peri_fail(err, PERI_ENOMEM, "%s", split->path);
    reader->path = strdup(split->path);
    reader->fixed_size = options->format.fixed_size;
    reader->record_max = limit_of(options);
    reader->chunk_size = reader->record_max < CHUNK_SIZE ? reader->record_max : CHUNK_SIZE;
    reader->input = (struct mr_input){
        .path = reader->path,
        .format = options->format.format,
        .separator = options->csv_separator != 0 ? options->csv_separator : ',',
    };
    int rc = reader->path != NULL && mr_window_init(&reader->window) == 0
                 ? open_reader(reader, env, split, options->csv_header, err)
                 : peri_fail(err, PERI_ENOMEM, "%s", split->path);
    if (rc != 0) {
        mr_reader_close(reader);
        return rc;
    }
    *out = reader;
    return 0;
}

bool mr_reader_can_skip(const struct mr_reader *reader)
{
    return reader->can_skip;
}

uint64_t mr_reader_consumed(const struct mr_reader *reader)
{
    if (mr_source_is_stream(reader->source))
        return mr_source_offset(reader->source);
    uint64_t offset = mr_window_offset(&reader->window);
    return offset > reader->start ? offset - reader->start : 0;
}

const struct mr_input *mr_reader_input(const struct mr_reader *reader)
{
    return &reader->input;
}

void mr_reader_close(struct mr_reader *reader)
{
    if (reader == NULL)
        return;
    mr_source_close(reader->source);
    mr_csv_names_deinit(&reader->names);
    mr_window_deinit(&reader->window);
    free(reader->path);
    free(reader);
}

int mr_reader_probe(struct env *env, const char *path, enum mr_format format, bool *is_stream,
                    struct peri_error *err)
{
    struct env_stat stat;
    *is_stream = true;
    if (strcmp(path, "-") == 0)
        return 0;
    int rc = env_path_stat(env, path, &stat, err);
    if (rc != 0 || (stat.type != ENV_TYPE_FILE && stat.type != ENV_TYPE_DIRECTORY))
        return rc; /* opening a pipe to look would eat its first bytes */
    struct mr_source *source;
    rc = mr_source_open(&source, env, path, format != MR_FORMAT_FIXED, err);
    if (rc != 0)
        return rc;
    *is_stream = mr_source_is_stream(source);
    mr_source_close(source);
    return 0;
}
