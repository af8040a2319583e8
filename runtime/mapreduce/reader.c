#include "mapreduce/reader_state.h"

#include <inttypes.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

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

int mr_reader_fill(struct mr_reader *reader, struct peri_error *err)
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

/* A chunk ends with the last line that begins in its first 64 KiB and in its split, or with the one
 * before when it would be longer than a record may be. */
static size_t find_chunk_end(const struct mr_reader *reader, struct peri_slice text)
{
    uint64_t offset = mr_window_offset(&reader->window);
    uint64_t limit = reader->end - offset;
    if (reader->step != 0) {
        uint64_t to_next = reader->step - (offset - reader->start) % reader->step;
        limit = to_next < limit ? to_next : limit;
    }
    size_t last = (limit < reader->chunk_size ? (size_t)limit : reader->chunk_size) - 1;
    size_t size = find_line_end(text, last > reader->scanned ? last : reader->scanned);
    if ((size > 0 ? size : text.size) <= reader->record_max)
        return size;
    const char *fits = memrchr(text.data, '\n', reader->record_max);
    return fits != NULL ? (size_t)(fits - text.data) + 1 : size;
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

int mr_reader_discard(struct mr_reader *reader, struct peri_error *err)
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
        int rc = mr_reader_fill(reader, err);
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
                                 .offset = mr_window_offset(&reader->window),
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
    *record = (struct mr_record){.data = data,
                                 .value = data,
                                 .offset = mr_window_offset(&reader->window),
                                 .input = &reader->input};
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
    *record = (struct mr_record){.data = line,
                                 .value = line,
                                 .offset = mr_window_offset(&reader->window),
                                 .input = &reader->input};
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
        int rc = mr_reader_fill(reader, err);
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
        int rc = mr_reader_discard(reader, err);
        if (rc != 0)
            return fail_for_ever(reader, rc);
    }
    bool is_whole_file = reader->input.format == MR_FORMAT_FILES;
    for (;;) {
        if (is_whole_file ? reader->is_finished : mr_window_offset(&reader->window) >= reader->end)
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
