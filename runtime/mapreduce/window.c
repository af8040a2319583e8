#include "mapreduce/window.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    WINDOW_SIZE = 256 << 10, /* fits the second-level cache, where the scan meets it again */
    TAIL_SIZE = 4096,        /* read past the range's end at a time, for its last record */
};

int mr_window_init(struct mr_window *window)
{
    *window = (struct mr_window){.buffer = malloc(WINDOW_SIZE), .capacity = WINDOW_SIZE};
    return window->buffer != NULL ? 0 : PERI_ENOMEM;
}

void mr_window_deinit(struct mr_window *window)
{
    free(window->buffer);
    window->buffer = NULL;
}

static int make_room(struct mr_window *window, struct peri_error *err)
{
    size_t kept = window->filled - window->at;
    memmove(window->buffer, window->buffer + window->at, kept);
    window->base += window->at;
    window->at = 0;
    window->filled = kept;
    if (kept <= window->capacity / 2)
        return 0;
    char *grown = realloc(window->buffer, window->capacity * 2);
    if (grown == NULL)
        return peri_fail(err, PERI_ENOMEM, "the record at byte %" PRIu64, window->base);
    window->buffer = grown;
    window->capacity *= 2;
    return 0;
}

static size_t wanted(const struct mr_window *window, uint64_t end)
{
    size_t room = window->capacity - window->filled;
    uint64_t next = window->base + window->filled;
    uint64_t left = next < end ? end - next : 0;
    return left < room && left + TAIL_SIZE < room ? (size_t)left + TAIL_SIZE : room;
}

int mr_window_fill(struct mr_window *window, struct mr_source *source, uint64_t end,
                   struct peri_error *err)
{
    int rc = window->filled == window->capacity ? make_room(window, err) : 0;
    if (rc != 0)
        return rc;
    int64_t count =
        mr_source_read(source, window->buffer + window->filled, wanted(window, end), err);
    if (count < 0)
        return (int)count;
    window->filled += (size_t)count;
    return count > 0;
}
