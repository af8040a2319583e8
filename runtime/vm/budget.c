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
    if (L == budget->thread && ++budget->looks >= budget->slice_looks && lua_isyieldable(L)) {
        budget->looks = 0;
        (void)lua_yield(L, 0);
        return;
    }
    if (vm->attention)
        (void)vm_preempt_attend_in_hook(L, activation);
}

void vm_budget_begin(lua_State *L, uint64_t limit)
{
    struct vm_budget *budget = &vm_state_of(L)->budget;
    *budget = (struct vm_budget){.limit = limit, .left = limit, .is_counting = true};
    (void)vm_compare_charge(budget);
    lua_sethook(L, on_count, LUA_MASKCOUNT, VM_BUDGET_STEP);
}

void vm_budget_bound(lua_State *L, uint64_t bytes, uint32_t slice_looks)
{
    struct vm_budget *budget = &vm_state_of(L)->budget;
    budget->bytes_limit = budget->bytes_left = bytes;
    budget->slice_looks = slice_looks;
    budget->thread = slice_looks != 0 ? L : NULL;
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

static bool take_bytes(struct vm_budget *budget, size_t size_bytes)
{
    if (budget->bytes_limit == 0)
        return true;
    if (size_bytes > budget->bytes_left) {
        spend_all(budget);
        budget->is_out_of_bytes = true;
        return false;
    }
    budget->bytes_left -= size_bytes;
    return true;
}

void vm_budget_charge_bytes(lua_State *L, size_t size_bytes)
{
    struct vm_budget *budget = &vm_state_of(L)->budget;
    if (!budget->is_counting || take_bytes(budget, size_bytes))
        return;
    stop(L, budget);
    (void)luaL_error(L, "the budget of memory is spent");
}

bool vm_budget_take_units(struct vm_budget *budget, uint64_t units)
{
    if (!budget->is_counting)
        return true;
    if (units > budget->left) {
        spend_all(budget);
        return false;
    }
    budget->left -= units;
    return true;
}

static bool take_string(struct vm_budget *budget, size_t size_bytes)
{
    if (size_bytes < VM_BUDGET_STRING_MIN) /* short ones are shared, as far as they still exist */
        return true;
    return vm_budget_take_units(budget, size_bytes / VM_BUDGET_BYTES) &&
           take_bytes(budget, size_bytes);
}

bool vm_budget_take(struct vm_budget *budget, size_t type, size_t size_bytes)
{
    if (!budget->is_counting)
        return true;
    if (type == LUA_TSTRING)
        return take_string(budget, size_bytes);
    if (type == LUA_TTABLE || type == LUA_TFUNCTION || type == LUA_TTHREAD)
        return take_bytes(budget, size_bytes);
    return budget->is_exempt || size_bytes < VM_BUDGET_BLOCK_MIN || take_bytes(budget, size_bytes);
}
