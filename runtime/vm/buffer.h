/* buffer.h - bytes that grow while a library function runs, also across yields.
 *
 * Like luaL_Buffer, but it may be moved: small contents live in the struct, larger ones in a
 * userdata at a fixed slot of the Lua stack. Nothing needs to be freed. */
#ifndef PERI_VM_BUFFER_H
#define PERI_VM_BUFFER_H

#include <lua.h>

#include <stddef.h>

#define VM_BUFFER_SMALL 512

struct vm_buffer {
    char *large; /* NULL: small holds the bytes */
    size_t size;
    size_t capacity;
    int slot; /* stack index that the userdata may take */
    char small[VM_BUFFER_SMALL];
};

/* Makes buffer empty; the userdata of a large one goes to stack index slot. */
void vm_buffer_init(struct vm_buffer *buffer, int slot);

/* Makes room for size more bytes and returns where they go. Raises when memory is short. */
char *vm_buffer_reserve(lua_State *L, struct vm_buffer *buffer, size_t size);

/* Appends a copy of the bytes. Raises when memory is short. */
void vm_buffer_add(lua_State *L, struct vm_buffer *buffer, const char *bytes, size_t size);

/* Pushes the bytes as a string. */
void vm_buffer_push(lua_State *L, const struct vm_buffer *buffer);

#endif
