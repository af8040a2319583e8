/* uv_stream.c - pipes and terminals as streams. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "env/uv_internal.h"

struct uv_stream {
    struct env_stream base;
    struct uv_owned owned;
    union {
        uv_handle_t any;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tty_t tty;
    } handle;
    env_read_cb on_read;
    void *data;
    size_t queued_bytes;
    size_t queued_writes;
    bool is_ended;       /* the end or an error has been read */
    bool is_shut;        /* no more writes; the handle goes once the queue is empty */
    bool is_handle_gone; /* uv_close has been called */
    bool is_released;    /* the owner has closed the stream */
    bool is_freeable;    /* libuv has forgotten the handle */
    int standard_fd;     /* whose flags to restore, or -1 */
    int standard_flags;
    char buffer[ENV_STREAM_READ_SIZE];
};

struct uv_write_request {
    uv_write_t request;
    struct uv_stream *stream;
    void (*on_written)(void *data, int status);
    void *data;
    size_t size;
    char bytes[];
};

static struct uv_stream *stream_of(struct env_stream *stream)
{
    return container_of(stream, struct uv_stream, base);
}

static void free_when_done(struct uv_stream *stream)
{
    if (stream->is_released && stream->is_freeable)
        free(stream);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct uv_stream *stream = container_of(handle, struct uv_stream, handle.any);
    if (stream->standard_fd >= 0)
        (void)fcntl(stream->standard_fd, F_SETFL, stream->standard_flags);
    stream->is_freeable = true;
    free_when_done(stream);
}

static void close_handle(struct uv_stream *stream)
{
    if (stream->is_handle_gone)
        return;
    stream->is_handle_gone = true;
    uv_close(&stream->handle.any, on_handle_closed);
}

static void stream_close_owned(struct uv_owned *owned)
{
    struct uv_stream *stream = container_of(owned, struct uv_stream, owned);
    stream->is_released = true;
    close_handle(stream);
    free_when_done(stream);
}

static void stream_close(struct env_stream *base)
{
    struct uv_stream *stream = stream_of(base);
    env_uv_owned_remove(&stream->owned);
    stream_close_owned(&stream->owned);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)suggested;
    struct uv_stream *stream = container_of(handle, struct uv_stream, handle.any);
    *out = uv_buf_init(stream->buffer, sizeof stream->buffer);
}

static void on_read(uv_stream_t *handle, ssize_t got, const uv_buf_t *buffer)
{
    struct uv_stream *stream = container_of(handle, struct uv_stream, handle.stream);
    if (got == 0)
        return; /* libuv's EAGAIN */
    if (got < 0) {
        stream->is_ended = true;
        (void)uv_read_stop(handle);
    }
    /* Last: it may close the stream. */
    stream->on_read(stream->data, buffer->base, got == UV_EOF ? 0 : got);
}

static int stream_read_start(struct env_stream *base, env_read_cb callback, void *data)
{
    struct uv_stream *stream = stream_of(base);
    if (stream->is_ended || stream->is_handle_gone)
        return PERI_ECLOSED;
    stream->on_read = callback;
    stream->data = data;
    int rc = uv_read_start(&stream->handle.stream, on_alloc, on_read);
    return rc == UV_EALREADY ? 0 : rc;
}

static void stream_read_stop(struct env_stream *base)
{
    struct uv_stream *stream = stream_of(base);
    if (!stream->is_handle_gone)
        (void)uv_read_stop(&stream->handle.stream);
}

static void close_when_drained(struct uv_stream *stream)
{
    if (stream->is_shut && stream->queued_writes == 0)
        close_handle(stream);
}

static void on_written(uv_write_t *request, int status)
{
    struct uv_write_request *write = container_of(request, struct uv_write_request, request);
    void (*callback)(void *data, int status) = write->on_written;
    void *data = write->data;
    write->stream->queued_bytes -= write->size;
    write->stream->queued_writes--;
    close_when_drained(write->stream);
    free(write);
    callback(data, status == UV_ECANCELED ? PERI_ECANCELLED : status);
}

static int stream_write(struct env_stream *base, const void *bytes, size_t size,
                        void (*callback)(void *data, int status), void *data)
{
    struct uv_stream *stream = stream_of(base);
    if (stream->is_shut || stream->is_handle_gone)
        return PERI_ECLOSED;
    if (stream->queued_bytes > ENV_STREAM_QUEUE_MAX)
        return PERI_EBUSY;
    if (size > UINT32_MAX)
        return PERI_ETOOBIG;
    struct uv_write_request *write = malloc(sizeof *write + size);
    if (write == NULL)
        return PERI_ENOMEM;
    write->stream = stream;
    write->on_written = callback;
    write->data = data;
    write->size = size;
    if (size > 0)
        memcpy(write->bytes, bytes, size);
    uv_buf_t buffer = uv_buf_init(write->bytes, (unsigned int)size);
    int rc = uv_write(&write->request, &stream->handle.stream, &buffer, 1, on_written);
    if (rc != 0) {
        free(write);
        return rc;
    }
    stream->queued_bytes += size;
    stream->queued_writes++;
    return 0;
}

/* A pipe has no half-close: its writing end is closed once the queue is empty. */
static void stream_shutdown(struct env_stream *base)
{
    struct uv_stream *stream = stream_of(base);
    stream->is_shut = true;
    close_when_drained(stream);
}

static const struct env_stream_ops stream_ops = {
    .read_start = stream_read_start,
    .read_stop = stream_read_stop,
    .write = stream_write,
    .shutdown = stream_shutdown,
    .close = stream_close,
};

static struct uv_stream *stream_alloc(void)
{
    struct uv_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        return NULL;
    stream->base.ops = &stream_ops;
    stream->standard_fd = -1;
    return stream;
}

/* The handle is initialized: only closing it frees the stream. */
static int finish_open(struct env_uv *uv, struct uv_stream *stream, int rc, struct env_stream **out)
{
    env_uv_owned_add(uv, &stream->owned, stream_close_owned);
    if (rc != 0) {
        stream_close(&stream->base);
        return rc;
    }
    *out = &stream->base;
    return 0;
}

int env_uv_stream_open(struct env_uv *uv, int fd, struct env_stream **out)
{
    struct uv_stream *stream = stream_alloc();
    if (stream == NULL)
        return PERI_ENOMEM;
    (void)uv_pipe_init(&uv->loop, &stream->handle.pipe, 0); /* cannot fail */
    return finish_open(uv, stream, uv_pipe_open(&stream->handle.pipe, fd), out);
}

/* libuv makes the pipe non-blocking for everybody who shares it, so its flags are put back. */
static int open_standard_pipe(struct env_uv *uv, int fd, struct env_stream **out)
{
    int flags = fcntl(fd, F_GETFL);
    int rc = env_uv_stream_open(uv, fd, out);
    if (rc == 0) {
        struct uv_stream *stream = stream_of(*out);
        stream->standard_fd = fd;
        stream->standard_flags = flags;
    }
    return rc;
}

static int open_terminal(struct env_uv *uv, int fd, struct env_stream **out)
{
    struct uv_stream *stream = stream_alloc();
    if (stream == NULL)
        return PERI_ENOMEM;
    int rc = uv_tty_init(&uv->loop, &stream->handle.tty, fd, 0);
    if (rc != 0) {
        free(stream);
        return rc;
    }
    return finish_open(uv, stream, 0, out);
}

static int open_standard(struct env_uv *uv, int fd, struct env_stream **out)
{
    switch (uv_guess_handle(fd)) {
    case UV_TTY:
        return open_terminal(uv, fd, out);
    case UV_NAMED_PIPE:
    case UV_TCP:
        return open_standard_pipe(uv, fd, out);
    case UV_FILE:
        return env_uv_file_stream_create(uv, &uv->standard[fd].base, out);
    default:
        return -EBADF;
    }
}

int env_uv_stream_standard(struct env *env, int fd, struct env_stream **out, struct peri_error *err)
{
    struct env_uv *uv = env_uv_of(env);
    int rc = open_standard(uv, fd, out);
    return rc == 0 ? 0 : peri_fail(err, rc, "open %s", uv->standard[fd].path);
}
