#include "mapreduce/reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mapreduce/csv.h"
#include "mapreduce/source.h"
#include "mapreduce/window.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { CHUNK_SIZE = 64 << 10 };

static const char byte_order_mark[] = {'\xef', '\xbb', '\xbf'};

struct mr_reader {
    struct mr_source *source;
    struct mr_input input;
    char *path;
    size_t fixed_size;
    size_t record_max;
    size_t chunk_size;
    uint64_t start; /* of the range */
    uint64_t end;   /* records begin before it */
    uint64_t step;  /* 0: the range is one split */

    struct mr_window window;
    size_t plain_end; /* lines that begin before this place of the window are whole, and ours */
    size_t scanned;   /* so many of the pending bytes hold no record end */
    enum mr_csv_place place; /* of the scan, for CSV */
    bool is_discarding;      /* the record in front is dropped as it comes, up to its end */
    bool is_finished;        /* the only record of a whole file has been read */
    bool can_skip;
    int failed; /* the error that ended the reader, or 0 */
    struct mr_csv_names names;
};

static uint64_t offset_of(const struct mr_reader *reader)
{
    return mr_window_offset(&reader->window);
}

static void consume(struct mr_reader *reader, size_t size)
{
    reader->window.at += size;
    reader->scanned = 0;
    reader->place = MR_CSV_FIELD_START;
}

/* Notes how far the window holds whole lines, of which so many bytes are new. */
static void note_lines(struct mr_reader *reader, size_t fresh)
{
    const struct mr_window *window = &reader->window;
    enum mr_format format = reader->input.format;
    reader->input.moves++;
    reader->input.lines_end = NULL;
    reader->plain_end = 0;
    if (fresh == 0 || format == MR_FORMAT_FIXED || format == MR_FORMAT_FILES ||
        format == MR_FORMAT_CHUNK)
        return;
    const char *last = memrchr(window->buffer + window->filled - fresh, '\n', fresh);
    if (last == NULL)
        return;
    reader->input.lines_end = last + 1;
    size_t plain = (size_t)(last + 1 - window->buffer);
    uint64_t range = reader->end > window->base ? reader->end - window->base : 0;
    if (format == MR_FORMAT_LINES)
        reader->plain_end = range < plain ? (size_t)range : plain;
}

static int fill(struct mr_reader *reader, struct peri_error *err)
{
    uint64_t before = reader->window.base + reader->window.filled;
    int rc = mr_window_fill(&reader->window, reader->source, reader->end, err);
    note_lines(reader, (size_t)(reader->window.base + reader->window.filled - before));
    return rc;
}

/* ---- where records end: the size of the pending record with its line end, or 0 ---- */

static size_t find_line_end(struct peri_slice text, size_t from)
{
    const char *found = from < text.size ? memchr(text.data + from, '\n', text.size - from) : NULL;
    return found == NULL ? 0 : (size_t)(found - text.data) + 1;
}

/* A chunk ends with the last line that begins in its first CHUNK_SIZE bytes and in its split. */
static size_t find_chunk_end(const struct mr_reader *reader, struct peri_slice text)
{
    uint64_t offset = offset_of(reader);
    uint64_t limit = reader->end - offset;
    if (reader->step != 0) {
        uint64_t to_next = reader->step - (offset - reader->start) % reader->step;
        limit = to_next < limit ? to_next : limit;
    }
    size_t last = (limit < reader->chunk_size ? (size_t)limit : reader->chunk_size) - 1;
    return find_line_end(text, last > reader->scanned ? last : reader->scanned);
}

static size_t find_csv_end(struct mr_reader *reader, struct peri_slice text)
{
    struct peri_slice fresh =
        peri_slice_of(text.data + reader->scanned, text.size - reader->scanned);
    size_t size = mr_csv_record_end(fresh, reader->input.separator, &reader->place);
    return size == 0 ? 0 : reader->scanned + size;
}

static size_t find_end(struct mr_reader *reader)
{
    struct peri_slice text = mr_window_pending(&reader->window);
    if (text.size == reader->scanned)
        return 0;
    switch (reader->input.format) {
    case MR_FORMAT_LINES:
    case MR_FORMAT_TSV:
    case MR_FORMAT_JSONL:
        return find_line_end(text, reader->scanned);
    case MR_FORMAT_CHUNK:
        return reader->is_discarding ? find_line_end(text, reader->scanned)
                                     : find_chunk_end(reader, text);
    case MR_FORMAT_CSV:
        return find_csv_end(reader, text);
    case MR_FORMAT_FIXED:
        return text.size >= reader->fixed_size ? reader->fixed_size : 0;
    case MR_FORMAT_FILES:
        break;
    }
    return 0;
}

/* Drops bytes up to the end of the record in front, without keeping them: 0 or an error. */
static int discard(struct mr_reader *reader, struct peri_error *err)
{
    for (;;) {
        size_t size = find_end(reader);
        if (size > 0) {
            consume(reader, size);
            reader->is_discarding = false;
            return 0;
        }
        reader->window.at = reader->window.filled; /* the scan goes on behind them */
        reader->scanned = 0;
        int rc = fill(reader, err);
        if (rc < 0)
            return rc;
        if (rc == 0) {
            reader->is_discarding = false;
            return 0;
        }
    }
}

/* ---- errors ---- */

static int fail_for_ever(struct mr_reader *reader, int code)
{
    reader->failed = code;
    return code;
}

/* Shows the record in front as far as it is known. */
static void show(const struct mr_reader *reader, struct mr_record *record)
{
    *record = (struct mr_record){.data = mr_window_pending(&reader->window),
                                 .offset = offset_of(reader),
                                 .input = &reader->input};
}

static int reject_size(struct mr_reader *reader, struct mr_record *record, size_t size,
                       struct peri_error *err)
{
    show(reader, record);
    reader->can_skip = true;
    if (reader->input.format == MR_FORMAT_FILES)
        reader->is_finished = true;
    else if (size > 0)
        consume(reader, size);
    else
        reader->is_discarding = true;
    return peri_fail_plain(err, PERI_ETOOBIG,
                           "%s: the record at byte %" PRIu64
                           " is longer than %zu bytes (record_max)",
                           reader->path, record->offset, reader->record_max);
}

static int reject_end(struct mr_reader *reader, struct mr_record *record, const char *why,
                      struct peri_error *err)
{
    show(reader, record);
    reader->can_skip = true;
    consume(reader, record->data.size);
    return peri_fail_plain(err, PERI_EFORMAT, "%s: the record at byte %" PRIu64 " %s", reader->path,
                           record->offset, why);
}

/* ---- records ---- */

static struct peri_slice without_line_end(struct peri_slice line)
{
    if (line.size > 0 && line.data[line.size - 1] == '\n') {
        line.size--;
        if (line.size > 0 && line.data[line.size - 1] == '\r')
            line.size--;
    }
    return line;
}

static bool is_blank(struct peri_slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if (strchr(" \t\r", text.data[i]) == NULL || text.data[i] == '\0')
            return false;
    return true;
}

static void set_pair(struct mr_record *record)
{
    struct peri_slice data = record->data;
    const char *tab = data.size > 0 ? memchr(data.data, '\t', data.size) : NULL;
    size_t size = tab != NULL ? (size_t)(tab - data.data) : data.size;
    size_t behind = tab != NULL ? size + 1 : size;
    record->key = peri_slice_of(data.data, size);
    record->value = peri_slice_of(data.data + behind, data.size - behind);
    record->has_key = true;
}

/* Fills *record from the first size pending bytes. */
static void set_record(const struct mr_reader *reader, struct mr_record *record, size_t size)
{
    enum mr_format format = reader->input.format;
    struct peri_slice data = peri_slice_of(reader->window.buffer + reader->window.at, size);
    if (format != MR_FORMAT_CHUNK && format != MR_FORMAT_FIXED && format != MR_FORMAT_FILES)
        data = without_line_end(data);
    *record = (struct mr_record){
        .data = data, .value = data, .offset = offset_of(reader), .input = &reader->input};
    if (format == MR_FORMAT_TSV)
        set_pair(record);
    if (format == MR_FORMAT_FILES) {
        record->key = peri_slice_of(reader->path, strlen(reader->path));
        record->has_key = true;
    }
}

/* The input ended inside the record in front, or exactly before one. */
static int take_last(struct mr_reader *reader, struct mr_record *record, struct peri_error *err)
{
    size_t size = mr_window_pending(&reader->window).size;
    bool is_whole_file = reader->input.format == MR_FORMAT_FILES;
    reader->is_finished = is_whole_file;
    if (size == 0 && !is_whole_file)
        return 0;
    if (reader->input.format == MR_FORMAT_FIXED)
        return reject_end(reader, record, "is cut short by the end of the input", err);
    if (reader->place == MR_CSV_QUOTED)
        return reject_end(reader, record, "opens a quote that is never closed", err);
    set_record(reader, record, size);
    consume(reader, size);
    return 1;
}

/* The line end at or after at; there is one before end. Most lines are short, and calling memchr
 * takes as long as to look at them. */
static inline const char *line_end(const char *at, const char *end)
{
#ifdef __SSE2__
    enum { VECTOR_SIZE = 16, STEPS = 8 };
    const __m128i feed = _mm_set1_epi8('\n');
    for (int step = 0; step < STEPS && end - at >= VECTOR_SIZE; step++, at += VECTOR_SIZE) {
        __m128i text = _mm_loadu_si128((const __m128i *)(const void *)at);
        unsigned mask = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(text, feed));
        if (mask != 0)
            return at + __builtin_ctz(mask);
    }
#endif
    return memchr(at, '\n', (size_t)(end - at));
}

/* Reads the line in front when it lies in the window, whole: what nearly all calls are about. What
 * is discarded has no line end in the window, and a reader that failed no line. */
static inline bool take_line(struct mr_reader *reader, struct mr_record *record)
{
    struct mr_window *window = &reader->window;
    if (window->at >= reader->plain_end)
        return false;
    const char *start = window->buffer + window->at;
    size_t size = (size_t)(line_end(start, reader->input.lines_end) - start) + 1;
    if (size > reader->record_max)
        return false;
    struct peri_slice line = without_line_end(peri_slice_of(start, size));
    *record = (struct mr_record){
        .data = line, .value = line, .offset = offset_of(reader), .input = &reader->input};
    window->at += size;
    return true;
}

/* Reads the record in front, whatever it is. */
static int take(struct mr_reader *reader, struct mr_record *record, struct peri_error *err)
{
    for (;;) {
        size_t size = find_end(reader);
        reader->scanned = mr_window_pending(&reader->window).size;
        size_t known = size > 0 ? size : reader->scanned;
        if (known > reader->record_max)
            return reject_size(reader, record, size, err);
        if (size > 0) {
            set_record(reader, record, size);
            consume(reader, size);
            return 1;
        }
        int rc = fill(reader, err);
        if (rc < 0)
            return fail_for_ever(reader, rc);
        if (rc == 0)
            return take_last(reader, record, err);
    }
}

/* The next record, whatever the reader's state and its format. */
static int next_record(struct mr_reader *reader, struct mr_record *record, struct peri_error *err)
{
    if (reader->failed != 0)
        return peri_fail(err, reader->failed, "%s", reader->path);
    if (reader->is_discarding) {
        int rc = discard(reader, err);
        if (rc != 0)
            return fail_for_ever(reader, rc);
    }
    bool is_whole_file = reader->input.format == MR_FORMAT_FILES;
    for (;;) {
        if (is_whole_file ? reader->is_finished : offset_of(reader) >= reader->end)
            return 0;
        int rc = take(reader, record, err);
        if (rc != 1 || reader->input.format != MR_FORMAT_JSONL || !is_blank(record->data))
            return rc;
    }
}

int mr_reader_next(struct mr_reader *reader, struct mr_record *record, struct peri_error *err)
{
    reader->can_skip = false;
    return take_line(reader, record) ? 1 : next_record(reader, record, err);
}

/* ---- opening ---- */

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
    return discard(reader, err);
}

static int skip_byte_order_mark(struct mr_reader *reader, struct peri_error *err)
{
    bool is_text = reader->input.format == MR_FORMAT_CSV || reader->input.format == MR_FORMAT_JSONL;
    if (!is_text || reader->start != 0)
        return 0;
    while (reader->window.filled < sizeof byte_order_mark) {
        int rc = fill(reader, err);
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
    uint64_t offset = offset_of(reader);
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
