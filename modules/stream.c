/* perilune.core.stream: byte streams whose reads and writes suspend the fiber;
 * lua/perilune/process.lua stands in front. */
#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "box.h"
#include "vm/fiber.h"

#define STREAM_METATABLE "perilune.stream"

enum want { WANT_SOME, WANT_EXACT, WANT_LINE };

struct box_stream {
    struct env_stream *stream; /* NULL when closed */
    const char *name;
    struct peri_buffer in; /* what was read; the first start bytes of it have been taken */
    size_t start;
    size_t scanned; /* no newline in so many of the bytes behind start */
    bool is_reading;
    bool is_ended;
    int status;             /* the error that ended it, or 0 */
    enum want want;         /* of the fiber that waits */
    size_t want_bytes;      /* for WANT_SOME and WANT_EXACT */
    struct fiber_wait wait; /* its fiber is NULL when nobody waits */
};

static struct box_stream *check_stream(lua_State *L)
{
    return luaL_checkudata(L, 1, STREAM_METATABLE);
}

static int push_status(lua_State *L, const struct box_stream *box, const char *verb, int code)
{
    struct peri_error err = PERI_ERROR_INIT;
    (void)peri_fail(&err, code, "%s %s", verb, box->name);
    return box_error(L, &err);
}

/* ---- reading ---- */

static size_t available(const struct box_stream *box)
{
    return box->in.size - box->start;
}

static void stop_reading(struct box_stream *box)
{
    if (box->is_reading && box->stream != NULL)
        env_stream_read_stop(box->stream);
    box->is_reading = false;
}

/* Bytes of the line at the front with its newline, or 0 while it is not complete. */
static size_t line_length(struct box_stream *box)
{
    size_t size = available(box);
    if (size == box->scanned)
        return 0;
    const char *front = box->in.data + box->start;
    const char *newline = memchr(front + box->scanned, '\n', size - box->scanned);
    if (newline == NULL)
        box->scanned = size;
    return newline == NULL ? 0 : (size_t)(newline - front) + 1;
}

/* How many bytes the reader would get now; 0 when it has to wait. */
static size_t satisfied(struct box_stream *box)
{
    size_t size = available(box);
    switch (box->want) {
    case WANT_LINE:
        return line_length(box);
    case WANT_EXACT:
        return size >= box->want_bytes ? box->want_bytes : 0;
    default:
        return size < box->want_bytes ? size : box->want_bytes;
    }
}

static void on_read(void *data, const char *bytes, int64_t size)
{
    struct box_stream *box = data;
    if (size > 0) {
        int rc = peri_buffer_append(&box->in, bytes, (size_t)size);
        box->status = rc;
        box->is_ended = rc != 0;
    } else {
        box->status = (int)size;
        box->is_ended = true;
    }
    bool is_served = box->wait.fiber == NULL || box->is_ended || satisfied(box) > 0 ||
                     available(box) > STREAM_READ_MAX;
    if (box->is_ended || (is_served && available(box) >= STREAM_BUFFER_MAX))
        stop_reading(box);
    if (is_served)
        fiber_wake(&box->wait);
}

static int take(lua_State *L, struct box_stream *box, size_t size)
{
    bool is_line = box->want == WANT_LINE;
    const char *front = box->in.data + box->start;
    lua_pushlstring(L, front, is_line && front[size - 1] == '\n' ? size - 1 : size);
    box->start += size;
    box->scanned = 0;
    if (box->start == box->in.size) {
        box->start = box->in.size = 0;
    } else if (box->start >= STREAM_BUFFER_MAX / 2) {
        memmove(box->in.data, box->in.data + box->start, available(box));
        box->in.size -= box->start;
        box->start = 0;
    }
    return 1;
}

/* The stream has ended and does not hold what was asked for. */
static int finish_ended(lua_State *L, struct box_stream *box)
{
    size_t rest = available(box);
    if (box->status != 0)
        return push_status(L, box, "read", box->status);
    if (rest == 0) {
        lua_pushnil(L);
        return 1;
    }
    if (box->want == WANT_LINE)
        return take(L, box, rest);
    struct peri_error err = PERI_ERROR_INIT;
    (void)peri_fail_plain(&err, PERI_EFORMAT, "read %s: it ended after %zu of %zu bytes", box->name,
                          rest, box->want_bytes);
    return box_error(L, &err);
}

static int read_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct box_stream *box = container_of((struct fiber_wait *)ctx, struct box_stream, wait);
    size_t size = satisfied(box);
    if (size > 0)
        return take(L, box, size);
    if (box->stream == NULL)
        return push_status(L, box, "read", PERI_ECLOSED);
    if (box->is_ended)
        return finish_ended(L, box);
    if (available(box) > STREAM_READ_MAX)
        return push_status(L, box, "read", PERI_ETOOBIG);
    if (!box->is_reading) {
        int rc = env_stream_read_start(box->stream, on_read, box);
        if (rc != 0)
            return push_status(L, box, "read", rc);
        box->is_reading = true;
    }
    box->wait = (struct fiber_wait){.what = "stream.read"};
    return fiber_suspend(L, &box->wait, read_continue);
}

static int start_read(lua_State *L, const char *function, enum want want, size_t bytes)
{
    struct box_stream *box = check_stream(L);
    fiber_check(L, function);
    if (box->wait.fiber != NULL)
        return luaL_error(L, "%s: another fiber reads this stream", function);
    box->want = want;
    box->want_bytes = bytes;
    box->scanned = 0;
    return read_continue(L, LUA_OK, (lua_KContext)&box->wait);
}

static size_t check_bytes(lua_State *L, lua_Integer least)
{
    lua_Integer bytes = luaL_checkinteger(L, 2);
    luaL_argcheck(L, bytes >= least && bytes <= STREAM_READ_MAX, 2, "number of bytes out of range");
    return (size_t)bytes;
}

static int l_read_some(lua_State *L)
{
    return start_read(L, "stream:read", WANT_SOME, check_bytes(L, 1));
}

static int l_read_exact(lua_State *L)
{
    size_t bytes = check_bytes(L, 0);
    if (bytes > 0)
        return start_read(L, "stream:read_exact", WANT_EXACT, bytes);
    lua_pushliteral(L, "");
    return 1;
}

static int l_read_line(lua_State *L)
{
    return start_read(L, "stream:read_line", WANT_LINE, 0);
}

/* ---- writing ---- */

/* Outlives a fiber that is cancelled: the bytes are on their way. One share is the fiber's, held by
 * a userdata on its stack, one is the environment's. */
struct write_op {
    struct fiber_wait wait;
    int shares;
    int status;
};

#define WRITE_METATABLE "perilune.stream.write"

static void release_write(struct write_op *op)
{
    if (--op->shares == 0)
        free(op);
}

static void on_written(void *data, int status)
{
    struct write_op *op = data;
    op->status = status;
    fiber_wake(&op->wait);
    release_write(op);
}

static int l_write_gc(lua_State *L)
{
    struct write_op **holder = lua_touserdata(L, 1);
    if (*holder != NULL)
        release_write(*holder);
    *holder = NULL;
    return 0;
}

static int write_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    const struct write_op *op = container_of((struct fiber_wait *)ctx, struct write_op, wait);
    const struct box_stream *box = lua_touserdata(L, 1);
    if (op->status != 0)
        return push_status(L, box, "write", op->status);
    lua_pushboolean(L, 1);
    return 1;
}

static struct write_op *push_write(lua_State *L)
{
    struct write_op **holder = lua_newuserdatauv(L, sizeof(struct write_op *), 0);
    *holder = NULL;
    luaL_setmetatable(L, WRITE_METATABLE);
    struct write_op *op = calloc(1, sizeof *op);
    if (op != NULL)
        op->shares = 1;
    *holder = op;
    return op;
}

static int l_write(lua_State *L)
{
    struct box_stream *box = check_stream(L);
    size_t size;
    const char *bytes = luaL_checklstring(L, 2, &size);
    fiber_check(L, "stream:write");
    lua_settop(L, 2);
    if (box->stream == NULL)
        return push_status(L, box, "write", PERI_ECLOSED);
    struct write_op *op = push_write(L);
    if (op == NULL)
        return push_status(L, box, "write", PERI_ENOMEM);
    int rc = env_stream_write(box->stream, bytes, size, on_written, op);
    if (rc != 0)
        return push_status(L, box, "write", rc);
    op->shares++;
    op->wait.what = "stream.write";
    return fiber_suspend(L, &op->wait, write_continue);
}

static int l_shutdown(lua_State *L)
{
    struct box_stream *box = check_stream(L);
    if (box->stream != NULL)
        env_stream_shutdown(box->stream);
    return 0;
}

/* ---- the handle ---- */

/* A fiber that waits in a read gets ECLOSED. */
static int l_close(lua_State *L)
{
    struct box_stream *box = check_stream(L);
    env_stream_close(box->stream);
    box->stream = NULL;
    box->is_reading = false;
    fiber_wake(&box->wait);
    return 0;
}

static int l_gc(lua_State *L)
{
    (void)l_close(L);
    peri_buffer_deinit(&check_stream(L)->in);
    return 0;
}

struct box_stream *stream_push(lua_State *L, const char *name)
{
    struct box_stream *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct box_stream){.name = name};
    luaL_setmetatable(L, STREAM_METATABLE);
    return box;
}

void stream_adopt(struct box_stream *box, struct env_stream *stream)
{
    box->stream = stream;
}

static int l_standard(lua_State *L)
{
    static const char *const names[] = {"standard input", "standard output", "standard error"};
    lua_Integer fd = luaL_checkinteger(L, 1);
    struct env_stream *stream = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    luaL_argcheck(L, fd >= 0 && fd <= 2, 1, "must be 0, 1 or 2");
    struct box_stream *box = stream_push(L, names[fd]);
    if (env_stream_standard(vm_state_of(L)->env, (int)fd, &stream, &err) != 0)
        return box_error(L, &err);
    stream_adopt(box, stream);
    return 1;
}

int luaopen_perilune_stream(lua_State *L);

int luaopen_perilune_stream(lua_State *L)
{
    static const luaL_Reg methods[] = {{"read_some", l_read_some},
                                       {"read_exact", l_read_exact},
                                       {"read_line", l_read_line},
                                       {"write", l_write},
                                       {"shutdown", l_shutdown},
                                       {"close", l_close},
                                       {"__gc", l_gc},
                                       {"__close", l_close},
                                       {NULL, NULL}};
    static const luaL_Reg functions[] = {{"standard", l_standard}, {NULL, NULL}};
    if (luaL_newmetatable(L, STREAM_METATABLE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    if (luaL_newmetatable(L, WRITE_METATABLE)) {
        lua_pushcfunction(L, l_write_gc);
        lua_setfield(L, -2, "__gc");
    }
    luaL_newlib(L, functions);
    return 1;
}
