/* Letters between members, and waiting for what the controller hears of: part of
 * perilune.core.sim. */
#include <stdlib.h>

#include "box.h"
#include "sim_parts.h"
#include "vm/scheduler.h"

#define TICKET_METATABLE "perilune.sim.ticket"

/* ---- letters ---- */

static const char *const mail_names[] = {"user", "system", NULL};

static enum sim_mail check_mail(lua_State *L, int index)
{
    return (enum sim_mail)luaL_checkoption(L, index, NULL, mail_names);
}

/* post(mail, to, bytes): true, or nil, message, code. Nodes write to the controller only. */
static int l_post(lua_State *L)
{
    struct sim_member *member = sim_check_member(L);
    struct simulation *run = member->run;
    enum sim_mail mail = check_mail(L, 1);
    struct sim_member *to =
        member == run->controller ? sim_check_named(L, run, 2) : run->controller;
    int rc = sim_member_post(to, mail, member, sim_check_bytes(L, 3));
    if (rc != 0) {
        return box_fail(
            L, rc, lua_pushfstring(L, "node %s: %s", sim_node_name(to->node), peri_strerror(rc)));
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* Pushes sender and bytes of the next letter; false when there is none. */
static bool take_letter(lua_State *L, struct sim_member *member, enum sim_mail mail)
{
    struct peri_list *letters = &member->letters[mail];
    if (peri_list_is_empty(letters))
        return false;
    struct sim_letter *letter = container_of(letters->next, struct sim_letter, link);
    lua_pushstring(L, sim_node_name(letter->from->node));
    lua_pushlstring(L, letter->bytes, letter->size);
    sim_member_take(member, letter);
    free(letter);
    return true;
}

static void leave_receivers(struct fiber_wait *wait)
{
    peri_list_remove(&container_of(wait, struct sim_receiver, wait)->link);
}

static int wait_for_letter(lua_State *L, struct sim_receiver *receiver, enum sim_mail mail);

/* Somebody else may have taken the letter that woke this one; it then waits again. */
static int receive_continue(lua_State *L, int status, lua_KContext ctx)
{
    struct sim_receiver *receiver =
        container_of((struct fiber_wait *)ctx, struct sim_receiver, wait);
    (void)status;
    if (take_letter(L, sim_check_member(L), receiver->mail))
        return 2;
    bool is_late = receiver->due_us != 0 && env_now_us(vm_state_of(L)->env) >= receiver->due_us;
    return is_late ? 0 : wait_for_letter(L, receiver, receiver->mail);
}

static int wait_for_letter(lua_State *L, struct sim_receiver *receiver, enum sim_mail mail)
{
    receiver->wait.what = mail == SIM_MAIL_USER ? "receive" : "simulation";
    receiver->wait.on_cancel = leave_receivers;
    peri_list_append(&sim_check_member(L)->receivers[mail], &receiver->link);
    return fiber_suspend_until(L, &receiver->wait, receiver->due_us, receive_continue);
}

/* receive(mail, timeout_us): sender, bytes; nothing after the timeout. */
static int l_receive(lua_State *L)
{
    struct sim_member *member = sim_check_member(L);
    enum sim_mail mail = check_mail(L, 1);
    lua_Integer timeout_us = luaL_optinteger(L, 2, 0);
    fiber_check(L, "receive");
    if (peri_list_is_empty(&member->receivers[mail]) && take_letter(L, member, mail))
        return 2;
    struct sim_receiver *receiver = lua_newuserdatauv(L, sizeof *receiver, 0);
    *receiver = (struct sim_receiver){.mail = mail};
    if (timeout_us > 0)
        receiver->due_us = env_now_us(vm_state_of(L)->env) + (uint64_t)timeout_us;
    return wait_for_letter(L, receiver, mail);
}

/* ---- tickets: what a fiber waits for that another one will hear of ---- */

struct sim_ticket {
    struct fiber_wait wait;
    bool is_called;
};

static int l_ticket(lua_State *L)
{
    struct sim_ticket *ticket = lua_newuserdatauv(L, sizeof *ticket, 1);
    *ticket = (struct sim_ticket){.is_called = false};
    luaL_setmetatable(L, TICKET_METATABLE);
    return 1;
}

static int wait_continue(lua_State *L, int status, lua_KContext ctx)
{
    const struct sim_ticket *ticket =
        container_of((struct fiber_wait *)ctx, struct sim_ticket, wait);
    (void)status;
    lua_pushboolean(L, ticket->is_called);
    return 1;
}

/* wait(ticket, what, timeout_us): true once it is called, false after the timeout. what is for
 * reports: "sim:join n1". */
static int l_wait(lua_State *L)
{
    struct sim_ticket *ticket = luaL_checkudata(L, 1, TICKET_METATABLE);
    const char *what = luaL_checkstring(L, 2);
    lua_Integer timeout_us = luaL_optinteger(L, 3, -1);
    fiber_check(L, "sim");
    if (ticket->is_called || timeout_us == 0) {
        lua_pushboolean(L, ticket->is_called);
        return 1;
    }
    lua_pushvalue(L, 2);
    (void)lua_setiuservalue(L, 1, 1); /* keeps the text */
    ticket->wait.what = what;
    uint64_t due_us = timeout_us > 0 ? env_now_us(vm_state_of(L)->env) + (uint64_t)timeout_us : 0;
    return fiber_suspend_until(L, &ticket->wait, due_us, wait_continue);
}

/* call(ticket): wakes the fiber that waits, now or later. */
static int l_call(lua_State *L)
{
    struct sim_ticket *ticket = luaL_checkudata(L, 1, TICKET_METATABLE);
    ticket->is_called = true;
    fiber_wake(&ticket->wait);
    return 0;
}

void sim_letter_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"post", l_post}, {"receive", l_receive}, {"ticket", l_ticket},
        {"wait", l_wait}, {"call", l_call},       {NULL, NULL},
    };
    (void)luaL_newmetatable(L, TICKET_METATABLE);
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
