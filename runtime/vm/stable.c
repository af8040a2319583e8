#include "vm/stable.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdbool.h>

#include "vm/bounds.h"
#include "vm/budget.h"
#include "vm/preempt.h"

/* Bottom-up: runs of 1, 2, 4 ... elements of one work table are merged into the other. The stack:
 */
enum { LIST = 1, COMPARATOR, FROM, TO, SORT };

struct sort {
    lua_Integer size;
    lua_Integer width;        /* of the runs in FROM; the last may be shorter */
    lua_Integer left, middle; /* next of the left run, and its end */
    lua_Integer right, end;   /* the same of the run behind it */
    lua_Integer out;          /* next in TO */
    bool is_first;            /* no comparison of this pair yet: is it in order already? */
};

static int run(lua_State *L, struct sort *sort);

static void take(lua_State *L, struct sort *sort, lua_Integer *from)
{
    lua_rawgeti(L, FROM, (*from)++);
    lua_rawseti(L, TO, sort->out++);
}

static void begin_pair(struct sort *sort, lua_Integer left)
{
    lua_Integer rest = sort->size + 1 - left;
    sort->left = left;
    sort->middle = left + (sort->width < rest ? sort->width : rest);
    sort->right = sort->middle;
    rest = sort->size + 1 - sort->middle;
    sort->end = sort->middle + (sort->width < rest ? sort->width : rest);
    sort->is_first = true;
}

/* What is left of a pair goes as it is. */
static void end_pair(lua_State *L, struct sort *sort)
{
    while (sort->left < sort->middle)
        take(L, sort, &sort->left);
    while (sort->right < sort->end)
        take(L, sort, &sort->right);
}

/* Goes on to the next two elements that must be compared; false when the list is in order. */
static bool find_comparison(lua_State *L, struct sort *sort)
{
    while (sort->left == sort->middle || sort->right == sort->end) {
        end_pair(L, sort);
        if (sort->out > sort->size) {
            lua_pushvalue(L, FROM);
            lua_copy(L, TO, FROM);
            lua_replace(L, TO);
            sort->width *= 2;
            sort->out = 1;
            if (sort->width >= sort->size)
                return false;
        }
        begin_pair(sort, sort->out);
    }
    return true;
}

/* Pushes the element of the right run, and the one of the left that it may have to precede: first
 * the left run's last. */
static void push_operands(lua_State *L, const struct sort *sort)
{
    lua_rawgeti(L, FROM, sort->right);
    lua_rawgeti(L, FROM, sort->is_first ? sort->middle - 1 : sort->left);
}

/* Acts on "right < left": equal elements come from the left. */
static void decide(lua_State *L, struct sort *sort, bool is_less)
{
    if (sort->is_first) {
        sort->is_first = false;
        if (!is_less)
            end_pair(L, sort);
    } else {
        take(L, sort, is_less ? &sort->right : &sort->left);
    }
}

static bool take_verdict(lua_State *L)
{
    bool is_less = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return is_less;
}

static int finish(lua_State *L, const struct sort *sort)
{
    for (lua_Integer i = 1; i <= sort->size; i++) {
        lua_rawgeti(L, FROM, i);
        lua_seti(L, LIST, i);
    }
    return 0;
}

static int continue_compare(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct sort *sort = (struct sort *)context;
    decide(L, sort, take_verdict(L));
    return run(L, sort);
}

static int continue_attend(lua_State *L, int status, lua_KContext context)
{
    return status == LUA_OK ? VM_GO_ON : run(L, (struct sort *)context);
}

static int run(lua_State *L, struct sort *sort)
{
    while (find_comparison(L, sort)) {
        vm_budget_charge(L, 1);
        if (lua_isnil(L, COMPARATOR)) {
            push_operands(L, sort);
            bool is_less = lua_compare(L, -2, -1, LUA_OPLT);
            lua_pop(L, 2);
            decide(L, sort, is_less);
        } else {
            lua_pushvalue(L, COMPARATOR);
            push_operands(L, sort);
            lua_callk(L, 2, 1, (lua_KContext)sort, continue_compare);
            decide(L, sort, take_verdict(L));
        }
        if (!vm_attention(L))
            continue;
        int count = vm_attend(L, (lua_KContext)sort, continue_attend);
        if (count != VM_GO_ON)
            return count;
    }
    return finish(L, sort);
}

int vm_stable_sort(lua_State *L, lua_Integer size)
{
    if (size < 2)
        return 0;
    luaL_argcheck(L, size < INT_MAX, 1, "array too big");
    lua_createtable(L, (int)size, 0);
    lua_createtable(L, (int)size, 0);
    for (lua_Integer i = 1; i <= size; i++) {
        lua_geti(L, LIST, i);
        lua_rawseti(L, FROM, i);
    }
    struct sort *sort = lua_newuserdatauv(L, sizeof *sort, 0);
    *sort = (struct sort){.size = size, .width = 1, .out = 1};
    begin_pair(sort, 1);
    return run(L, sort);
}
