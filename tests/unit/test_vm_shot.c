/* A snapshot that is written piece by piece while commands change the state shows the state as it
 * was at its beginning, byte for byte; and the commands do what they would have done without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "env_fixture.h"
#include "lone_machine.h"
#include "vm/machine_shot.h"

enum { SEEDS = 60, PIECES_MAX = 100000, LARGE = 10000 };

/* A command is a number: the seed of what is done to a tree of some hundred tables. */
static const char program[] =
    "local function walk(state, random)\n"
    "  local at = state\n"
    "  for _ = 1, random(1, 4) do\n"
    "    local inner = at[random(1, 6)] or at['t' .. random(1, 6)]\n"
    "    if type(inner) == 'table' then at = inner end\n"
    "  end\n"
    "  return at\n"
    "end\n"
    "local function name(random)\n"
    "  local n = random(1, 6)\n"
    "  return ({ n, 't' .. n, 'a field of the table' .. n * 1000, n + 0.5 })[random(1, 4)]\n"
    "end\n"
    "local function value(random, depth)\n"
    "  if depth == 0 or random(1, 3) > 1 then\n"
    "    return ({ random(1, 1 << 40), 'v' .. random(1, 99), true, false, random() })[random(1, "
    "5)]\n"
    "  end\n"
    "  local made = {}\n"
    "  for _ = 1, random(0, 6) do made[name(random)] = value(random, depth - 1) end\n"
    "  return made\n"
    "end\n"
    "return {\n"
    "  init = function() return { large = {} } end,\n"
    "  apply = function(state, command, ctx)\n"
    "    if command == 'fill' then\n"
    "      for i = 1, 10000 do state.large['key' .. i] = i end\n"
    "      for i = 1, 30 do state['t' .. i] = value(ctx.random, 5) end\n"
    "      return\n"
    "    end\n"
    "    for _ = 1, ctx.random(1, 8) do\n"
    "      local at, what = walk(state, ctx.random), ctx.random(1, 10)\n"
    "      if what <= 5 then at[name(ctx.random)] = value(ctx.random, 2)\n"
    "      elseif what <= 7 then at[name(ctx.random)] = nil\n"
    "      elseif what == 8 then\n"
    "        local from, to = name(ctx.random), name(ctx.random)\n"
    "        at[to], at[from] = at[from], nil\n"
    "      else\n"
    "        local large = state.large\n"
    "        large['key' .. ctx.random(1, 10000)] = ctx.random(1, 2) == 1 and ctx.random(1, 9) or "
    "nil\n"
    "        if what == 10 then large['more' .. ctx.random(1, 1 << 30)] = true end\n"
    "      end\n"
    "      if ctx.random(1, 20) == 1 then error 'no' end\n"
    "    end\n"
    "  end }\n";

/* The next piece. Returns false when that was the last. */
static bool walk(struct lone_machine *it, size_t units)
{
    const atomic_bool is_wanted = true;
    const struct vm_shot_pace pace = {units / 2, units, &is_wanted};
    vm_machine_lend(it->machine);
    int end = vm_machine_snapshot_walk(it->machine, &pace, &it->err);
    vm_machine_take_back(it->machine);
    assert_true(end >= 0);
    if (end == VM_SHOT_SORT)
        vm_machine_snapshot_sort(it->machine);
    return end != VM_SHOT_DONE;
}

static void check_seed(uint64_t seed, size_t units)
{
    struct lone_machine it, twin; /* the twin does the same, without a snapshot */
    struct peri_buffer state = {NULL, 0, 0}, shot = {NULL, 0, 0};
    int pieces = 0, failed = 0;
    lone_open(&it, env, program);
    lone_open(&twin, env, program);
    assert_int_equal(lone_command(&it, "fill", seed), 0);
    assert_int_equal(lone_command(&twin, "fill", seed), 0);
    assert_int_equal(lone_run(&it, VM_MACHINE_STATE, peri_slice_of("", 0)), 0);
    assert_int_equal(peri_buffer_append(&state, it.output.data, it.output.size), 0);
    assert_int_equal(vm_machine_snapshot_begin(it.machine, &it.err), 1);
    do {
        int rc = lone_command(&it, "change", seed * 100003 + it.index);
        failed += rc != 0;
        assert_int_equal(lone_command(&twin, "change", seed * 100003 + twin.index), rc);
        pieces++;
    } while (walk(&it, units) && pieces < PIECES_MAX);
    vm_machine_snapshot_end(it.machine, &shot);
    assert_true(pieces > 10 && failed > 0);
    if (state.data == NULL || shot.size <= state.size ||
        memcmp(shot.data + shot.size - state.size, state.data, state.size) != 0)
        fail_msg("seed %d: the snapshot has not the state of its beginning", (int)seed);
    assert_true(vm_machine_hash(it.machine) == vm_machine_hash(twin.machine));
    assert_true(vm_machine_used(it.machine) == vm_machine_used(twin.machine));
    assert_int_equal(lone_run(&twin, VM_MACHINE_RESTORE, peri_buffer_slice(&shot)), 0);
    assert_int_equal(lone_run(&twin, VM_MACHINE_STATE, peri_slice_of("", 0)), 0);
    assert_int_equal(peri_slice_compare(peri_buffer_slice(&twin.output), peri_buffer_slice(&state)),
                     0);
    lone_close(&it);
    lone_close(&twin);
    peri_buffer_deinit(&state);
    peri_buffer_deinit(&shot);
}

static void test_shows_the_beginning(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        check_seed(seed, 64 + seed * 37 % 1000);
}

/* A machine ends with a snapshot under way; a second one follows the first. */
static void test_ends_early(void **unused)
{
    (void)unused;
    struct lone_machine it;
    struct peri_buffer shot = {NULL, 0, 0};
    lone_open(&it, env, program);
    assert_int_equal(lone_command(&it, "fill", 1), 0);
    assert_int_equal(vm_machine_snapshot_begin(it.machine, &it.err), 1);
    assert_true(walk(&it, 100));
    vm_machine_snapshot_end(it.machine, NULL);
    assert_int_equal(lone_run(&it, VM_MACHINE_SNAPSHOT, peri_slice_of("", 0)), 0);
    assert_int_equal(vm_machine_snapshot_begin(it.machine, &it.err), 1);
    while (walk(&it, LARGE))
        ;
    vm_machine_snapshot_end(it.machine, &shot);
    assert_int_equal(peri_slice_compare(peri_buffer_slice(&it.output), peri_buffer_slice(&shot)),
                     0);
    assert_int_equal(vm_machine_snapshot_begin(it.machine, &it.err), 1);
    assert_true(walk(&it, 100));
    lone_close(&it);
    peri_buffer_deinit(&shot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shows_the_beginning),
        cmocka_unit_test(test_ends_early),
    };
    return cmocka_run_group_tests(tests, open_env, close_env);
}
