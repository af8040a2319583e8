#include "vm/buffer.h"

#include <lauxlib.h>

#include <stdint.h>
#include <string.h>

void vm_buffer_init(struct vm_buffer *buffer, int slot)
{
    buffer->large = NULL;
    buffer->size = 0;
    buffer->capacity = sizeof buffer->small;
    buffer->slot = slot;
}

static const char *bytes_of(const struct vm_buffer *buffer)
{
    return buffer->large == NULL ? buffer->small : buffer->large;
}

static void grow(lua_State *L, struct vm_buffer *buffer, size_t size)
{
    if (size > SIZE_MAX / 2 - buffer->size)
        luaL_error(L, "buffer too large");
    size_t capacity = buffer->capacity * 2;
    if (capacity < buffer->size + size)
        capacity = buffer->size + size;
    char *larger = lua_newuserdatauv(L, capacity, 0);
    memcpy(larger, bytes_of(buffer), buffer->size);
    lua_replace(L, buffer->slot);
    buffer->large = larger;
    buffer->capacity = capacity;
}

char *vm_buffer_reserve(lua_State *L, struct vm_buffer *buffer, size_t size)
{
    if (buffer->capacity - buffer->size < size)
        grow(L, buffer, size);
    char *start = buffer->large == NULL ? buffer->small : buffer->large;
    start += buffer->size;
    buffer->size += size;
    return start;
}

void vm_buffer_add(lua_State *L, struct vm_buffer *buffer, const char *bytes, size_t size)
{
    if (size > 0)
        memcpy(vm_buffer_reserve(L, buffer, size), bytes, size);
}

void vm_buffer_push(lua_State *L, const struct vm_buffer *buffer)
{
    lua_pushlstring(L, bytes_of(buffer), buffer->size);
}
