/* raft.h - what the files of perilune.core.raft share.
 *
 * raft.c          the module: nodes and their events
 * raft_group.c    groups: opening, status
 * raft_request.c  proposals, changes and reads, for which fibers wait
 * raft_replay.c   what flight recorders hold
 * raft_recover.c  the data of nodes that do not run
 * raft_machine.c  machines that are Lua: the fiber of a group takes one task after the other
 * raft_keys.c     the keys of those that keep their state on disk
 * raft_kv.c       the key/value store as a machine
 * kv_script.c     what that store runs for EVAL
 * raft_lua.c      machines in files of Lua, each in a state of its own
 * raft_resp.c     that store for Redis' clients */
#ifndef PERI_MODULES_RAFT_H
#define PERI_MODULES_RAFT_H

#include <lauxlib.h>
#include <lua.h>

#include "kv/service.h"
#include "node/keys.h"
#include "node/node.h"
#include "vm/fiber.h"
#include "vm/machine_node.h"

#include "kv_script.h"

#define RAFT_NODE_METATABLE "perilune.raft.node"
#define RAFT_GROUP_METATABLE "perilune.raft.group"
#define RAFT_REQUEST_METATABLE "perilune.raft.request"
#define RAFT_KEYS_METATABLE "perilune.raft.keys"

enum { RAFT_EVENTS_MAX = 256 };

/* A node; lives in a userdata whose user value 1 is the table of options, which keeps its strings.
 */
struct raft_node_box {
    struct env *env;
    struct node *node; /* NULL once closed */
    struct rpc_identity self;
    struct peri_list groups;
    struct peri_list servers; /* struct rpc_server_box: functions of Lua that it serves */
    struct fiber_wait opening;
    bool is_open;
    struct peri_error err;        /* why it did not open */
    struct raft_closing *closing; /* raft.c */

    struct node_event events[RAFT_EVENTS_MAX]; /* that nobody has taken, a ring */
    uint64_t first_event, next_event, lost_events;
    struct fiber_wait listening;
};

/* A group; lives in a userdata whose user value 1 is its node. */
struct raft_group_box {
    struct raft_node_box *box;
    struct node_group *group; /* NULL once closed */
    struct peri_list link;
    struct fiber_wait opening;
    bool is_open;
    struct peri_error err; /* why it did not open */

    struct node_machine machine;
    struct node_task *task; /* that the machine is asked to do, or does; NULL: none */
    const char *task_kind;
    bool is_taken; /* by the machine's fiber */
    const struct fiber *taker;
    struct fiber_wait idle;     /* the fiber waits for a task */
    struct fiber_wait *reading; /* it waits for a key; else NULL */

    struct vm_machine_node *lua; /* the machine, when it is a file; else NULL */
    uint64_t id;
    struct resp_server *resp;        /* of the store, once it is served; else NULL */
    struct kv_machine *kv;           /* the machine, when it is the key/value store; else NULL */
    struct kv_service service;       /* it, for its own clients */
    struct kv_script_engine scripts; /* of kv */
    uint64_t applied;                /* what has taken effect in it */
    struct fiber_wait applying;
};

/* The group at index 1; raises when it is something else. */
struct raft_group_box *raft_check_group(lua_State *L);

/* Pushes nil, message, "ECLOSED". */
int raft_fail_closed(lua_State *L);

/* Has tasks of the group go to the Lua fiber that takes them; the state is in keys, or in Lua. */
void raft_machine_init(struct raft_group_box *box, bool keeps_keys);

/* "follower", ... Lent for ever. */
const char *raft_role_name(enum raft_role role);

/* Makes and ends the key/value store of a group; the end comes after that of the group. Errors:
 * PERI_ENOMEM. */
int raft_kv_open(struct raft_group_box *box);
void raft_kv_close(struct raft_group_box *box);
/* Its machine; lent until the end. */
struct node_machine *raft_kv_machine(struct raft_group_box *box);

/* The same for a machine in a file: the table at index, { text, name, memory }. Raises for what is
 * no such table. Errors: as vm_machine_node_create. */
int raft_lua_open(lua_State *L, int index, struct raft_group_box *box, struct peri_error *err);
void raft_lua_close(struct raft_group_box *box);

/* Ends the RESP server of a group that is about to be closed. */
void raft_resp_close(struct raft_group_box *box);

/* Reads { { id, address or false }, ... } at the index; false is NULL. Returns how many there are,
 * at most RAFT_MEMBERS_MAX. The table keeps the addresses. Raises. */
size_t raft_read_members(lua_State *L, int index, struct node_member *out);

/* A group that was closed: its waits end. */
void raft_forget_group(struct raft_group_box *box);

/* Makes the metatable of a class, which stays on the stack; close is also its __gc and __close. */
void raft_make_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction close);

/* node:group(id, members, machine): a group, once the disk has said what was there. machine is
 * "kv", a table for raft_lua_open, or whether that of a fiber keeps its state in keys. */
int raft_node_group(lua_State *L);

/* replay(bytes): what a flight recorder holds, stepped again. */
int raft_replay(lua_State *L);

/* recover(path, group, members): what is there, and with members a configuration by force. */
int raft_recover(lua_State *L);

/* The parts of the module: groups make their class; the others add methods to it, on top. */
void raft_open_groups(lua_State *L);
void raft_open_requests(lua_State *L);
void raft_open_machine(lua_State *L);
void raft_open_keys(lua_State *L);
void raft_open_kv(lua_State *L);
void raft_open_lua(lua_State *L);
void raft_open_resp(lua_State *L);

#endif
