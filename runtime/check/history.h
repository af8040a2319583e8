/* history.h - what clients asked and heard, as operations with a beginning and an end.
 *
 * Events come in the order of one sequencer; only that order counts, never a clock: clocks of two
 * clients can disagree by more than what separates a right history from a wrong one. A client has
 * at most one open operation. An operation whose outcome nobody knows (info, or no completion at
 * all) stays open for ever: it may take effect at any later point, or never. */
#ifndef PERI_CHECK_HISTORY_H
#define PERI_CHECK_HISTORY_H

#include "base/error.h"
#include "base/slice.h"
#include "check/value.h"

#define CHECK_NEVER UINT32_MAX
#define CHECK_NO_TIME INT64_MIN

enum check_event_type { CHECK_INVOKE, CHECK_OK, CHECK_FAIL, CHECK_INFO };

/* Fields that an event does not have are CHECK_NIL. */
struct check_event {
    enum check_event_type type;
    check_value process; /* who: an integer or a string */
    check_value f;       /* what: "read"; a completion may leave it out */
    check_value key, value, node;
    check_value error; /* why it failed or is unknown */
    int64_t time_us;   /* for people; CHECK_NO_TIME when not given */
    uint32_t line;     /* where it stands in its file, from 1; or its number in a list */
};

struct check_operation {
    check_value process, f, key, node;
    check_value input, output;     /* the values of invocation and completion */
    check_value error;             /* of the completion */
    enum check_event_type outcome; /* CHECK_OK, CHECK_FAIL; CHECK_INFO for unknown */
    uint32_t call, end; /* events count from 0; end is CHECK_NEVER when the outcome is unknown */
    uint32_t call_line, end_line; /* 0: it has no completion */
    int64_t call_us, end_us;      /* CHECK_NO_TIME when not given, or never */
};

struct check_history {
    struct check_values *values; /* owned */
    struct check_operation *operations;
    size_t count, capacity;
    uint32_t *open; /* by process: 1 + its open operation, or 0 */
    size_t open_count;
    uint32_t event_count;
};

/* The formats of files. */
enum check_format {
    CHECK_FORMAT_AUTO,   /* decided by the first line that is not blank */
    CHECK_FORMAT_JSONL,  /* our own: one JSON object a line */
    CHECK_FORMAT_JEPSEN, /* jepsen's log: "INFO jepsen.util - 3 TAB :invoke TAB :cas TAB [1 2]" */
    CHECK_FORMAT_EDN,    /* one EDN map a line: jepsen's history.edn, porcupine's kv files */
};

/* Creates an empty history. Errors: PERI_ENOMEM. */
int check_history_init(struct check_history *history);

/* Adds the next event. Errors: PERI_ENOMEM; PERI_EFORMAT when its client can do no such thing
 * (invokes twice, completes what it never invoked), err naming `where` ("line 7", "event 7"). */
int check_history_add(struct check_history *history, const struct check_event *event,
                      const char *where, struct peri_error *err);

/* Adds the events of a file. Blank lines, a byte order mark, and in jepsen's log lines that are no
 * operations, are skipped. Errors: PERI_ENOMEM, PERI_ETOOBIG; PERI_EFORMAT naming the line, of a
 * file that is not blank but has no event the first. The history then holds the events before it.
 */
int check_history_read(struct check_history *history, enum check_format format,
                       struct peri_slice text, struct peri_error *err);

/* How far a file has been read. */
struct check_reading {
    enum check_format format;
    struct peri_slice text;    /* that is left; lent */
    uint32_t line, first_line; /* the last one; the first that is not blank, or 0 */
    uint32_t events_before;    /* that the history had */
};

/* Begins to read a file, whose text must stay until it is read. */
void check_reading_init(struct check_reading *reading, const struct check_history *history,
                        enum check_format format, struct peri_slice text);

/* As check_history_read, but reads about size_bytes more; it is done when no text is left. */
int check_history_read_some(struct check_history *history, struct check_reading *reading,
                            size_t size_bytes, struct peri_error *err);

void check_history_deinit(struct check_history *history);

#endif
