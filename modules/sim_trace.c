#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "simulation.h"
#include "vm/scheduler.h"

enum { LINE_SIZE = 1024, FLUSH_BYTES = 65536, PRINTED_MAX = 65536, LINES_MAX = 8 << 20 };

#define US_PER_S UINT64_C(1000000)

bool sim_tracer_is_wanted(const struct simulation_options *options)
{
    return options->trace_path != NULL || options->trace_to != 0;
}

int sim_tracer_open(struct simulation *run, struct peri_error *err)
{
    run->tracer.from = run->options->trace_from;
    run->tracer.to = run->options->trace_to;
    run->tracer.echoes = run->options->echoes;
    if (run->options->trace_path == NULL)
        return 0;
    return env_file_open(run->host, run->options->trace_path,
                         ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_TRUNCATE, &run->tracer.file,
                         err);
}

static int flush(struct sim_tracer *tracer, struct peri_error *err)
{
    int rc = env_file_write(tracer->file, tracer->buffer.data, tracer->buffer.size, err);
    tracer->buffer.size = 0;
    return rc;
}

int sim_tracer_close(struct simulation *run, struct peri_error *err)
{
    struct sim_tracer *tracer = &run->tracer;
    if (tracer->file == NULL)
        return 0;
    int rc = flush(tracer, err);
    int close_rc = env_file_close(tracer->file, rc == 0 ? err : NULL);
    tracer->file = NULL;
    return rc != 0 ? rc : close_rc;
}

/* ---- lines ---- */

static size_t format_line(const struct sim_trace *line, char *out, size_t size)
{
    int used = snprintf(out, size, "%8" PRIu64 " %6" PRIu64 ".%06" PRIu64 " %-10s %s%-9s %s",
                        line->index, line->time_us / US_PER_S, line->time_us % US_PER_S, line->node,
                        line->is_note ? "  " : "", line->kind, line->detail);
    return (size_t)used < size ? (size_t)used : size - 1;
}

/* The line of Lua that does what the note tells of. */
static size_t format_place(struct simulation *run, const struct sim_trace *line, char *out,
                           size_t size)
{
    struct sim_member *member = sim_member_named(run, line->node);
    const struct fiber *fiber =
        member != NULL && member->vm != NULL && member->vm->scheduler != NULL
            ? member->vm->scheduler->current
            : NULL;
    if (fiber == NULL || !line->is_note)
        return 0;
    char where[FIBER_REASON_SIZE];
    fiber_where(fiber, where, sizeof where);
    int used = snprintf(out, size, " at %s", where);
    return (size_t)used < size ? (size_t)used : size - 1;
}

static void collect(struct sim_tracer *tracer, const struct sim_trace *line, char *text,
                    size_t size)
{
    if (line->index < tracer->from || line->index > tracer->to || tracer->lines.size > LINES_MAX)
        return;
    size += (size_t)snprintf(text + size, LINE_SIZE - size, " #%016" PRIx64 "\n", line->hash);
    (void)peri_buffer_append(&tracer->lines, line->is_note ? "n" : "e", 1);
    (void)peri_buffer_append(&tracer->lines, text, size < LINE_SIZE ? size : LINE_SIZE - 1);
}

void sim_tracer_on_trace(void *data, const struct sim_trace *line)
{
    struct simulation *run = data;
    struct sim_tracer *tracer = &run->tracer;
    char text[LINE_SIZE];
    size_t size = format_line(line, text, sizeof text);
    size += format_place(run, line, text + size, sizeof text - size);
    if (tracer->file != NULL) {
        (void)peri_buffer_append(&tracer->buffer, text, size);
        (void)peri_buffer_append(&tracer->buffer, "\n", 1);
        if (tracer->buffer.size >= FLUSH_BYTES)
            (void)flush(tracer, NULL); /* a disk that is full says so again at the end */
    }
    if (tracer->to != 0)
        collect(tracer, line, text, size);
}

/* ---- what nodes print ---- */

static void keep(struct sim_tracer *tracer, struct peri_slice bytes)
{
    struct peri_buffer *printed = &tracer->printed;
    (void)peri_buffer_append(printed, bytes.data, bytes.size);
    if (printed->size <= 2 * PRINTED_MAX)
        return;
    size_t dropped = printed->size - PRINTED_MAX;
    memmove(printed->data, printed->data + dropped, PRINTED_MAX);
    printed->size = PRINTED_MAX;
}

/* What is printed is part of the trace, below the note that it was. */
static void trace_printed(struct sim_tracer *tracer, struct peri_slice line)
{
    static const char margin[] = "                                      | ";
    if (tracer->file == NULL)
        return;
    (void)peri_buffer_append(&tracer->buffer, margin, sizeof margin - 1);
    (void)peri_buffer_append(&tracer->buffer, line.data, line.size);
    (void)peri_buffer_append(&tracer->buffer, "\n", 1);
}

static void print_line(struct simulation *run, struct peri_slice head, struct peri_slice line)
{
    const struct peri_slice pieces[] = {head, line, peri_slice_of("\n", 1)};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        keep(&run->tracer, pieces[i]);
        if (run->tracer.echoes)
            (void)env_file_write(env_file_stderr(run->host), pieces[i].data, pieces[i].size, NULL);
    }
}

void sim_tracer_on_output(void *data, struct sim_node *node, int fd, struct peri_slice bytes)
{
    struct simulation *run = data;
    uint64_t now_us = sim_world_now_us(run->world);
    char head[LINE_SIZE];
    (void)fd;
    int size = snprintf(head, sizeof head, "%" PRIu64 ".%06" PRIu64 " %s | ", now_us / US_PER_S,
                        now_us % US_PER_S, sim_node_name(node));
    const char *at = bytes.data;
    const char *end = bytes.data + bytes.size;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline != NULL ? newline : end;
        struct peri_slice line = peri_slice_of(at, (size_t)(stop - at));
        print_line(run, peri_slice_of(head, (size_t)size), line);
        trace_printed(&run->tracer, line);
        at = newline != NULL ? newline + 1 : end;
    }
}
