/* What flight recorders hold, stepped again. */
#include <string.h>

#include "box.h"
#include "node/recorder.h"
#include "raft.h"

/* One event and what came of it; kept apart from Lua, which may raise where the core may not be
 * left. */
struct step {
    enum raft_event_type event;
    bool has_message;
    enum raft_message_type message;
    uint64_t from;
    int rc;
    struct raft_status status;
};

static void note(void *data, const struct raft_event *event, int rc, const struct raft *raft)
{
    struct peri_buffer *steps = data;
    struct step step = {.event = event->type, .rc = rc};
    if (event->message != NULL) {
        step.has_message = true;
        step.message = event->message->type;
        step.from = event->message->from;
    }
    raft_status(raft, &step.status);
    (void)peri_buffer_append(steps, &step, sizeof step); /* without memory the list is short */
}

static const char *event_name(enum raft_event_type type)
{
    static const char *const names[] = {
        "time",          "message",        "propose",   "change",        "read",
        "persisted",     "persist_failed", "applied",   "fetched",       "compacted",
        "snapshot_sent", "unreachable",    "transfer",  "forget_leader", "campaign",
        "priority",      "trust",          "peer_lost", "peer_up",       "peer_down"};
    return names[type];
}

static const char *message_name(enum raft_message_type type)
{
    static const char *const names[] = {"PreVote",          "PreVoteReply",   "RequestVote",
                                        "RequestVoteReply", "AppendEntries",  "AppendEntriesReply",
                                        "Heartbeat",        "HeartbeatReply", "InstallSnapshot",
                                        "TimeoutNow",       "ReadIndex",      "ReadIndexReply"};
    return names[type];
}

static void push_step(lua_State *L, const struct step *step)
{
    lua_newtable(L);
    box_set_string(L, "event", event_name(step->event));
    if (step->has_message) {
        box_set_string(L, "message", message_name(step->message));
        box_set_count(L, "from", step->from);
    }
    if (step->rc != 0)
        box_set_string(L, "code", peri_error_name(step->rc));
    box_set_string(L, "role", raft_role_name(step->status.role));
    box_set_count(L, "term", step->status.term);
    box_set_count(L, "last_index", step->status.last_index);
    box_set_count(L, "commit_index", step->status.commit_index);
}

/* Pushes the list of the steps in the buffer at index 1; runs protected. */
static int push_steps(lua_State *L)
{
    const struct peri_buffer *steps = lua_touserdata(L, 1);
    size_t count = steps->size / sizeof(struct step);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        struct step step;
        memcpy(&step, steps->data + i * sizeof step, sizeof step);
        push_step(L, &step);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

int raft_replay(lua_State *L)
{
    struct peri_slice bytes;
    struct peri_buffer steps = {NULL, 0, 0};
    struct peri_error err = PERI_ERROR_INIT;
    bytes.data = luaL_checklstring(L, 1, &bytes.size);
    int rc = node_recorder_replay(bytes, note, &steps, &err);
    lua_pushcfunction(L, push_steps);
    lua_pushlightuserdata(L, &steps);
    int status = lua_pcall(L, 1, 1, 0);
    peri_buffer_deinit(&steps);
    if (status != LUA_OK)
        return lua_error(L);
    if (rc == 0)
        return 1;
    (void)box_error(L, &err);
    lua_pushvalue(L, -4);
    return 4;
}
