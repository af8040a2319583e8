/* stream.h - byte streams as Lua sees them, for modules that open some. */
#ifndef PERI_MODULES_STREAM_H
#define PERI_MODULES_STREAM_H

#include <lua.h>

#include "env/env.h"

/* A Lua userdata. Between reads at most a few bytes more than STREAM_BUFFER_MAX wait in it, then
 * the other side has to. */
struct box_stream;

enum { STREAM_BUFFER_MAX = 1 << 20, STREAM_READ_MAX = 256 << 20 };

/* Pushes a closed stream named name (lent for ever) for messages. Raises for lack of memory. */
struct box_stream *stream_push(lua_State *L, const char *name);

/* Opens it: it takes the stream. */
void stream_adopt(struct box_stream *box, struct env_stream *stream);

#endif
