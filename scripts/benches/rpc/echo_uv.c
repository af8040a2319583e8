/* echo_uv.c - the bare libuv echo server that RPC is measured against: no messages, no frames, no
 * memory per request. With "messages" it takes the stream apart into messages of 64 bytes and
 * answers each, as whoever serves requests must, but checks, counts and looks up nothing.
 * Usage: echo_uv [messages]; prints "listening at 127.0.0.1:PORT". */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { MESSAGE_SIZE = 64 };

static char buffer[64 << 10];
static char answers[sizeof buffer + MESSAGE_SIZE];
static bool has_messages;

struct connection {
    uv_tcp_t tcp;
    char begun[MESSAGE_SIZE]; /* of a message that is not all there */
    size_t begun_size;
};

struct rest {
    uv_write_t request;
    char bytes[];
};

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void on_written(uv_write_t *request, int status)
{
    (void)status;
    free(request);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)handle;
    (void)suggested;
    *out = uv_buf_init(buffer, sizeof buffer);
}

/* What the kernel does not take at once. */
static void write_rest(uv_stream_t *stream, const char *bytes, size_t size)
{
    struct rest *rest = malloc(sizeof *rest + size);
    memcpy(rest->bytes, bytes, size);
    uv_buf_t out = uv_buf_init(rest->bytes, (unsigned)size);
    if (uv_write(&rest->request, stream, &out, 1, on_written) != 0)
        free(rest);
}

static void answer(uv_stream_t *stream, char *bytes, size_t size)
{
    uv_buf_t out = uv_buf_init(bytes, (unsigned)size);
    int written = uv_try_write(stream, &out, 1);
    size_t done = written < 0 ? 0 : (size_t)written;
    if (done < size)
        write_rest(stream, bytes + done, size - done);
}

/* Answers the whole messages of what has come; returns the size of the answers. */
static size_t take_messages(struct connection *conn, const char *in, size_t size)
{
    size_t used = 0;
    size_t out = 0;
    if (conn->begun_size > 0 && conn->begun_size + size >= MESSAGE_SIZE) {
        used = MESSAGE_SIZE - conn->begun_size;
        memcpy(answers, conn->begun, conn->begun_size);
        memcpy(answers + conn->begun_size, in, used);
        conn->begun_size = 0;
        out = MESSAGE_SIZE;
    }
    for (; conn->begun_size == 0 && size - used >= MESSAGE_SIZE; used += MESSAGE_SIZE) {
        memcpy(answers + out, in + used, MESSAGE_SIZE);
        out += MESSAGE_SIZE;
    }
    memcpy(conn->begun + conn->begun_size, in + used, size - used);
    conn->begun_size += size - used;
    return out;
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *in)
{
    if (got < 0)
        uv_close((uv_handle_t *)stream, on_closed);
    if (got <= 0)
        return;
    if (has_messages)
        answer(stream, answers, take_messages((struct connection *)stream, in->base, (size_t)got));
    else
        answer(stream, in->base, (size_t)got);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct connection *conn = calloc(1, sizeof *conn);
    if (status != 0 || conn == NULL)
        abort();
    uv_tcp_init(listener->loop, &conn->tcp);
    uv_tcp_nodelay(&conn->tcp, 1);
    if (uv_accept(listener, (uv_stream_t *)&conn->tcp) != 0)
        abort();
    uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
}

int main(int argc, char **argv)
{
    has_messages = argc == 2 && strcmp(argv[1], "messages") == 0;
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    struct sockaddr_in address;
    int size = sizeof address;
    uv_tcp_init(loop, &listener);
    uv_ip4_addr("127.0.0.1", 0, &address);
    if (uv_tcp_bind(&listener, (struct sockaddr *)&address, 0) != 0 ||
        uv_listen((uv_stream_t *)&listener, 512, on_connection) != 0)
        return 1;
    uv_tcp_getsockname(&listener, (struct sockaddr *)&address, &size);
    printf("listening at 127.0.0.1:%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
