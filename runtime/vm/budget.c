#include "vm/budget.h"

#include <lauxlib.h>

#include "vm/compare.h"
#include "vm/preempt.h"
#include "vm/state.h"

#define SPENT "the budget of %I instructions is spent"

static void on_count(lua_State *L, lua_Debug *activation);

static void spend_all(struct vm_budget *budget)
{
    budget->is_spent = true;
    budget->left = 0;
}

/* From now on every instruction of L raises: a pcall that catches the error is left by the next. */
static void stop(lua_State *L, struct vm_budget *budget)
{
    spend_all(budget);
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
}

/* The count goes on after a yield as if it had not been (ldebug.c undoes it). */
static void on_count(lua_State *L, lua_Debug *activation)
{
    struct vm_state *vm = vm_state_of(L);
    struct vm_budget *budget = &vm->budget;
    if (!budget->is_counting) {
        lua_sethook(L, NULL, 0, 0); /* a coroutine that outlived its call */
        return;
    }
    if (budget->is_spent || budget->left < VM_BUDGET_STEP) {
        stop(L, budget);
        (void)lua_getinfo(L, "Sl", activation);
        (void)luaL_error(L, "%s:%d: " SPENT, activation->short_src, activation->currentline,
                         (LUAI_UACINT)budget->limit);
    }
    budget->left -= VM_BUDGET_STEP;
    if (vm->attention)
        (void)vm_preempt_attend_in_hook(L, activation);
}

void vm_budget_begin(lua_State *L, uint64_t limit)
{
    struct vm_budget *budget = &vm_state_of(L)->budget;
    *budget = (struct vm_budget){limit, limit, true, false};
    (void)vm_compare_charge(budget);
    lua_sethook(L, on_count, LUA_MASKCOUNT, VM_BUDGET_STEP);
}

uint64_t vm_budget_end(lua_State *L, bool *is_spent)
{
    struct vm_budget *budget = &vm_state_of(L)->budget;
    lua_sethook(L, NULL, 0, 0);
    budget->is_counting = false;
    (void)vm_compare_charge(NULL);
    *is_spent = budget->is_spent;
    budget->is_spent = false;
    return budget->limit - budget->left;
}

void vm_budget_charge(lua_State *L, uint64_t units)
{
    struct vm_budget *budget = &vm_state_of(L)->budget;
    if (!budget->is_counting)
        return;
    if (budget->is_spent || units > budget->left) {
        stop(L, budget);
        (void)luaL_error(L, SPENT, (LUAI_UACINT)budget->limit);
    }
    budget->left -= units;
}

bool vm_budget_take_string(struct vm_budget *budget, size_t size_bytes)
{
    uint64_t units = size_bytes / VM_BUDGET_BYTES;
    if (!budget->is_counting)
        return true;
    if (units > budget->left) {
        spend_all(budget);
        return false;
    }
    budget->left -= units;
    return true;
}
