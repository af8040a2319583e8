/* uv_file_stream.c - our own standard input or output as a stream when it is a file: epoll refuses
 * files, so reads and writes go through background work, one of each at a time. */
#include <stdlib.h>
#include <string.h>

#include "env/uv_internal.h"

struct file_write {
    struct peri_list link;
    struct file_stream *stream;
    void (*on_written)(void *data, int status);
    void *data;
    int status;
    size_t size;
    char bytes[];
};

struct file_stream {
    struct env_stream base;
    struct uv_owned owned;
    struct env_uv *uv;
    struct env_file *file;
    env_read_cb on_read;
    void *data;
    int64_t got;
    bool has_got;    /* buffer and got wait to be delivered */
    bool is_wanted;  /* reading is switched on */
    bool is_reading; /* background work or the callback uses the buffer */
    bool is_writing; /* background work or a callback uses the first of writes */
    bool is_ended;
    bool is_shut;
    bool is_released;        /* by its owner; freed once neither reads nor writes */
    struct peri_list writes; /* struct file_write */
    size_t queued_bytes;
    char buffer[ENV_STREAM_READ_SIZE];
};

static struct file_stream *stream_of(struct env_stream *stream)
{
    return container_of(stream, struct file_stream, base);
}

static void free_when_idle(struct file_stream *stream)
{
    if (stream->is_released && !stream->is_reading && !stream->is_writing)
        free(stream);
}

static void read_run(void *data)
{
    struct file_stream *stream = data;
    if (!stream->has_got)
        stream->got = env_file_read(stream->file, stream->buffer, sizeof stream->buffer, NULL);
}

/* What was read while the stream is stopped waits for the next start. */
static void deliver(struct file_stream *stream)
{
    stream->has_got = !stream->is_wanted;
    if (!stream->is_wanted || stream->is_released)
        return;
    stream->is_ended = stream->got <= 0;
    stream->on_read(stream->data, stream->buffer, stream->got);
}

static void read_done(void *data, int status)
{
    struct file_stream *stream = data;
    if (status != 0)
        stream->got = status;
    deliver(stream);
    if (stream->is_wanted && !stream->is_ended && !stream->is_released) {
        int rc = env_work(&stream->uv->base, read_run, read_done, stream);
        if (rc == 0)
            return;
        stream->got = rc;
        deliver(stream);
    }
    stream->is_reading = false;
    free_when_idle(stream);
}

static int stream_read_start(struct env_stream *base, env_read_cb on_read, void *data)
{
    struct file_stream *stream = stream_of(base);
    if (stream->is_ended)
        return PERI_ECLOSED;
    int rc = stream->is_reading ? 0 : env_work(&stream->uv->base, read_run, read_done, stream);
    if (rc != 0)
        return rc;
    stream->on_read = on_read;
    stream->data = data;
    stream->is_reading = true;
    stream->is_wanted = true;
    return 0;
}

static void stream_read_stop(struct env_stream *base)
{
    stream_of(base)->is_wanted = false;
}

static struct file_write *first_write(struct file_stream *stream)
{
    return container_of(stream->writes.next, struct file_write, link);
}

static void write_run(void *data)
{
    struct file_write *write = data;
    write->status = env_file_write(write->stream->file, write->bytes, write->size, NULL);
}

static void complete_first(struct file_stream *stream, int status)
{
    struct file_write *write = first_write(stream);
    void (*on_written)(void *data, int status) = write->on_written;
    void *data = write->data;
    peri_list_remove(&write->link);
    stream->queued_bytes -= write->size;
    free(write);
    on_written(data, status);
}

static void write_done(void *data, int status)
{
    struct file_write *written = data;
    struct file_stream *stream = written->stream;
    complete_first(stream, status != 0 ? status : written->status);
    while (!peri_list_is_empty(&stream->writes)) {
        int rc = stream->is_released
                     ? PERI_ECANCELLED
                     : env_work(&stream->uv->base, write_run, write_done, first_write(stream));
        if (rc == 0)
            return;
        complete_first(stream, rc);
    }
    stream->is_writing = false;
    free_when_idle(stream);
}

static int stream_write(struct env_stream *base, const void *bytes, size_t size,
                        void (*on_written)(void *data, int status), void *data)
{
    struct file_stream *stream = stream_of(base);
    if (stream->is_shut)
        return PERI_ECLOSED;
    if (stream->queued_bytes > ENV_STREAM_QUEUE_MAX)
        return PERI_EBUSY;
    struct file_write *write = malloc(sizeof *write + size);
    if (write == NULL)
        return PERI_ENOMEM;
    *write =
        (struct file_write){.stream = stream, .on_written = on_written, .data = data, .size = size};
    if (size > 0)
        memcpy(write->bytes, bytes, size);
    int rc = stream->is_writing ? 0 : env_work(&stream->uv->base, write_run, write_done, write);
    if (rc != 0) {
        free(write);
        return rc;
    }
    stream->is_writing = true;
    peri_list_append(&stream->writes, &write->link);
    stream->queued_bytes += size;
    return 0;
}

static void stream_shutdown(struct env_stream *base)
{
    stream_of(base)->is_shut = true;
}

static void stream_close_owned(struct uv_owned *owned)
{
    struct file_stream *stream = container_of(owned, struct file_stream, owned);
    stream->is_released = true;
    free_when_idle(stream);
}

static void stream_close(struct env_stream *base)
{
    struct file_stream *stream = stream_of(base);
    env_uv_owned_remove(&stream->owned);
    stream_close_owned(&stream->owned);
}

static const struct env_stream_ops file_stream_ops = {
    .read_start = stream_read_start,
    .read_stop = stream_read_stop,
    .write = stream_write,
    .shutdown = stream_shutdown,
    .close = stream_close,
};

int env_uv_file_stream_create(struct env_uv *uv, struct env_file *file, struct env_stream **out)
{
    struct file_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return PERI_ENOMEM;
    stream->base.ops = &file_stream_ops;
    stream->uv = uv;
    stream->file = file;
    peri_list_init(&stream->writes);
    env_uv_owned_add(uv, &stream->owned, stream_close_owned);
    *out = &stream->base;
    return 0;
}
