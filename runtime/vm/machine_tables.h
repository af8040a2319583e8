/* machine_tables.h - the tables of a machine's state: seen, undone and summed up.
 *
 * Each table of the state is a stand-in (stand_in.h): reading it costs a call of C, assigning to it
 * writes the old value into a log first. So a command that fails is undone by walking that log
 * backwards, whatever it had done; and a command that ends well adds what it wrote to a rolling
 * hash. Tables that a command makes are ordinary ones until the command ends: those that then hang
 * in the state become stand-ins. Nothing else is ever copied.
 *
 * The state is a tree of data: keys are numbers or strings, values are data, no table is in two
 * places (a restored replica would have two of it), none has a metatable. A command that leaves
 * something else fails.
 *
 * The hash depends on what was written in which order, not on how tables lie in memory. */
#ifndef PERI_VM_MACHINE_TABLES_H
#define PERI_VM_MACHINE_TABLES_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vm_shot;

struct vm_tables {
    bool is_writable;     /* a command runs; else assigning raises */
    size_t count;         /* of the log's entries: table, key, old value */
    size_t placed;        /* tables that were assigned: table, key, the table */
    size_t kept_count;    /* entries of the Lua table that is the log, also stale ones */
    uint64_t pending;     /* hash of what the command has written */
    uint64_t hash;        /* of all commands so far */
    struct vm_shot *shot; /* hears of what commands write over, while it is open; or NULL */
};

/* Prepares the state L; tables stays lent while it lives. Raises. */
void vm_tables_open(lua_State *L, struct vm_tables *tables);

/* Replaces the plain table on top, and those inside, by stand-ins: the root of a state, which is
 * not logged. Raises for what is no data. */
void vm_tables_adopt(lua_State *L, struct vm_tables *tables);

/* A command begins; is_writable is false for a query. Raises on lack of memory, hardly. */
void vm_tables_begin(lua_State *L, struct vm_tables *tables, bool is_writable);

/* The command ended well: new tables become part of the state, and the hash goes on. Raises when
 * the state is no tree of data; vm_tables_undo must follow. */
void vm_tables_commit(lua_State *L, struct vm_tables *tables);

/* The command failed, or its effect is not wanted after all: the state is as before
 * vm_tables_begin. Raises on lack of memory. */
void vm_tables_undo(lua_State *L, struct vm_tables *tables);

/* Pushes table, key and old value of an entry of the log, the Lua table at index. */
void vm_tables_push_entry(lua_State *L, int log, size_t at);

/* Adds to the rolling hash: how a command ended. */
void vm_tables_mix(struct vm_tables *tables, uint64_t word);

/* The hash of bytes, the same on every machine. */
uint64_t vm_hash_bytes(const char *bytes, size_t size);

#endif
