#include "write.h"

#include <uv.h>

/* The linker's --wrap gives these their names. */
int __real_uv_try_write(uv_stream_t *stream, const uv_buf_t *buffers, unsigned int count);
int __real_uv_write(uv_write_t *request, uv_stream_t *stream, const uv_buf_t *buffers,
                    unsigned int count, uv_write_cb on_written);
int __wrap_uv_try_write(uv_stream_t *stream, const uv_buf_t *buffers, unsigned int count);
int __wrap_uv_write(uv_write_t *request, uv_stream_t *stream, const uv_buf_t *buffers,
                    unsigned int count, uv_write_cb on_written);

static long countdown; /* 0: not armed */
static int fail_code;
static bool has_failed;
static size_t size_max; /* 0: all */

static bool fails_now(void)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    has_failed = true;
    return true;
}

void test_write_fail(long n, int code)
{
    has_failed = false;
    fail_code = code;
    countdown = n;
}

bool test_write_end(void)
{
    countdown = 0;
    return has_failed;
}

void test_write_short(size_t size)
{
    size_max = size;
}

int __wrap_uv_try_write(uv_stream_t *stream, const uv_buf_t *buffers, unsigned int count)
{
    if (fails_now())
        return fail_code;
    uv_buf_t first = buffers[0];
    if (size_max == 0 || first.len <= size_max)
        return __real_uv_try_write(stream, buffers, count);
    first.len = size_max;
    return __real_uv_try_write(stream, &first, 1);
}

int __wrap_uv_write(uv_write_t *request, uv_stream_t *stream, const uv_buf_t *buffers,
                    unsigned int count, uv_write_cb on_written)
{
    return fails_now() ? fail_code : __real_uv_write(request, stream, buffers, count, on_written);
}
