/* window.h - the part of an input that is in memory: records lie in it, whole. */
#ifndef PERI_MAPREDUCE_WINDOW_H
#define PERI_MAPREDUCE_WINDOW_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "mapreduce/source.h"

/* buffer[0] is byte `base` of the input; [at, filled) is pending: read, but not yet consumed. */
struct mr_window {
    char *buffer;
    size_t capacity;
    size_t at;
    size_t filled;
    uint64_t base;
};

/* Errors: PERI_ENOMEM. The caller ends *window with mr_window_deinit in any case. */
int mr_window_init(struct mr_window *window);
void mr_window_deinit(struct mr_window *window);

static inline uint64_t mr_window_offset(const struct mr_window *window)
{
    return window->base + window->at;
}

static inline struct peri_slice mr_window_pending(const struct mr_window *window)
{
    return peri_slice_of(window->buffer + window->at, window->filled - window->at);
}

/* Reads more behind the pending bytes, which stay together and may move: 1 when there are more, 0
 * at the end of the input. Not much beyond byte `end` of the input is read at a time. Errors:
 * PERI_ENOMEM, and those of mr_source_read. */
int mr_window_fill(struct mr_window *window, struct mr_source *source, uint64_t end,
                   struct peri_error *err);

#endif
