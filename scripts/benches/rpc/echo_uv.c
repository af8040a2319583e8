/* echo_uv.c - the bare libuv echo server that RPC is measured against: no messages, no frames, no
 * memory per request. Usage: echo_uv; prints "listening at 127.0.0.1:PORT". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static char buffer[64 << 10];

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

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *in)
{
    if (got < 0)
        uv_close((uv_handle_t *)stream, on_closed);
    if (got <= 0)
        return;
    uv_buf_t out = uv_buf_init(in->base, (unsigned)got);
    int written = uv_try_write(stream, &out, 1);
    if (written < 0)
        written = 0;
    if (written < got)
        write_rest(stream, in->base + written, (size_t)(got - written));
}

static void on_connection(uv_stream_t *listener, int status)
{
    uv_tcp_t *conn = malloc(sizeof *conn);
    if (status != 0 || conn == NULL)
        abort();
    uv_tcp_init(listener->loop, conn);
    uv_tcp_nodelay(conn, 1);
    if (uv_accept(listener, (uv_stream_t *)conn) != 0)
        abort();
    uv_read_start((uv_stream_t *)conn, on_alloc, on_read);
}

int main(void)
{
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
