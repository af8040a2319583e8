/* history_text.c - files of histories, line by line. */
#include <stdio.h>
#include <string.h>

#include "check/history_edn.h"
#include "check/history_json.h"

static bool next_line(struct peri_slice *text, struct peri_slice *line)
{
    if (text->size == 0)
        return false;
    const char *end = memchr(text->data, '\n', text->size);
    size_t size = end == NULL ? text->size : (size_t)(end - text->data);
    *line = peri_slice_of(text->data, size);
    text->data += size + (end != NULL);
    text->size -= size + (end != NULL);
    return true;
}

static struct peri_slice trim(struct peri_slice line)
{
    while (line.size > 0 && (line.data[0] == ' ' || line.data[0] == '\t')) {
        line.data++;
        line.size--;
    }
    while (line.size > 0 && (line.data[line.size - 1] == '\r' || line.data[line.size - 1] == ' '))
        line.size--;
    return line;
}

/* A map of EDN starts with a keyword, an object of JSON with a string. */
static enum check_format format_of(struct peri_slice line)
{
    if (line.data[0] != '{')
        return CHECK_FORMAT_JEPSEN;
    struct peri_slice rest = trim(peri_slice_of(line.data + 1, line.size - 1));
    return rest.size > 0 && rest.data[0] == ':' ? CHECK_FORMAT_EDN : CHECK_FORMAT_JSONL;
}

static int read_line(struct check_history *history, enum check_format format,
                     struct peri_slice line, uint32_t number, struct peri_error *err)
{
    enum { WHERE_SIZE = 32 };
    char where[WHERE_SIZE];
    struct check_event event = {.line = number};
    struct peri_error why;
    bool is_event = true;
    int rc;
    peri_error_clear(&why);
    (void)snprintf(where, sizeof where, "line %u", number);
    if (format == CHECK_FORMAT_JSONL)
        rc = check_json_event(history->values, line, &event, &why);
    else if (format == CHECK_FORMAT_EDN)
        rc = check_edn_event(history->values, line, &event, &why);
    else
        rc = check_jepsen_event(history->values, line, &event, &is_event, &why);
    if (rc != 0 && why.code != 0)
        return peri_fail_plain(err, rc, "%s: %s", where, why.text);
    if (rc != 0)
        return peri_fail(err, rc, "%s", where);
    return is_event ? check_history_add(history, &event, where, err) : 0;
}

/* Without the mark that some editors put first. */
static struct peri_slice skip_mark(struct peri_slice text)
{
    static const char mark[] = "\xef\xbb\xbf";
    size_t size = sizeof mark - 1;
    if (text.size < size || memcmp(text.data, mark, size) != 0)
        return text;
    return peri_slice_of(text.data + size, text.size - size);
}

void check_reading_init(struct check_reading *reading, const struct check_history *history,
                        enum check_format format, struct peri_slice text)
{
    *reading = (struct check_reading){
        .format = format, .text = skip_mark(text), .events_before = history->event_count};
}

static int read_next(struct check_history *history, struct check_reading *reading,
                     struct peri_slice line, struct peri_error *err)
{
    line = trim(line);
    if (line.size == 0)
        return 0;
    if (reading->first_line == 0)
        reading->first_line = reading->line;
    if (reading->format == CHECK_FORMAT_AUTO)
        reading->format = format_of(line);
    return read_line(history, reading->format, line, reading->line, err);
}

int check_history_read_some(struct check_history *history, struct check_reading *reading,
                            size_t size_bytes, struct peri_error *err)
{
    struct peri_slice line;
    const char *from = reading->text.data;
    while ((size_t)(reading->text.data - from) < size_bytes && next_line(&reading->text, &line)) {
        reading->line++;
        int rc = read_next(history, reading, line, err);
        if (rc != 0)
            return rc;
    }
    if (reading->text.size == 0 && reading->first_line != 0 &&
        history->event_count == reading->events_before)
        return peri_fail_plain(err, PERI_EFORMAT,
                               "line %u: neither this nor any line after it is an event: a JSON "
                               "object, an EDN map, or an operation in jepsen's log",
                               reading->first_line);
    return 0;
}

int check_history_read(struct check_history *history, enum check_format format,
                       struct peri_slice text, struct peri_error *err)
{
    struct check_reading reading;
    check_reading_init(&reading, history, format, text);
    return check_history_read_some(history, &reading, SIZE_MAX, err);
}
