/* A machine whose memory runs out at any place: either it says that it is broken, and its replica
 * ends, or it has done exactly what it would have done with memory, for the other replicas had it.
 * A snapshot that cannot be made changes nothing. Nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "alloc.h"
#include "env_fixture.h"
#include "lone_machine.h"
#include "wire/pack.h"

enum { TRIES_MAX = 100000, PLACES_MAX = 400 };

#define TABLES                                                                                     \
    "local function order(a, b) return a > b end\n"                                                \
    "return { budget = { instructions = 20000 },\n"                                                \
    "  init = function() return { list = { 3, 1, 2 }, inner = {} } end,\n"                         \
    "  apply = function(s, c, ctx)\n"                                                              \
    "    if c == 'fail' then s.inner.x = { 1 } error({ message = 'no' }) end\n"                    \
    "    if c == 'spend' then s.inner.x = 1 while true do end end\n"                               \
    "    local parts = {}\n"                                                                       \
    "    for k, v in pairs(s.list) do parts[#parts + 1] = k .. '=' .. v end\n"                     \
    "    for k in next, { b = 1, a = 2, [3] = 1 } do parts[#parts + 1] = tostring(k) end\n"        \
    "    local copy = { table.unpack(s.list) }\n"                                                  \
    "    table.sort(copy, order)\n"                                                                \
    "    s.list[#s.list + 1] = ctx.random(1, 100)\n"                                               \
    "    s.inner['k' .. ctx.index] = { at = ctx.now, by = ctx.client, c, { copy[1] } }\n"          \
    "    s.inner.moved, s.inner.k2 = s.inner.k2, nil\n"                                            \
    "    local text = table.concat(parts, ','):gsub('%d', '<%0>'):rep(20)\n"                       \
    "    local ok, why = pcall(error, tostring({}) .. ('%5.2f %s'):format(1.5, {}))\n"             \
    "    local co = coroutine.wrap(function(a) coroutine.yield(a + 1) end)\n"                      \
    "    return { text, ok, why, co(1), text:find('<(%d)>'), #text:upper() }\n"                    \
    "  end,\n"                                                                                     \
    "  query = function(s, q) return { s.list, q, tostring(s) } end,\n"

static const char tables[] = TABLES "}";
static const char whole[] = TABLES "  snapshot = function(s) return { s.list, s.inner } end,\n"
                                   "  restore = function(d) return { list = d[1], inner = d[2] } "
                                   "end }";
static const char next[] = TABLES
    "  version = 2, migrate = function(s, old) s.old = old s.list = nil s.list = { 1 } end }";
static const char stored[] =
    "return { store = true, budget = { instructions = 20000 },\n"
    "  apply = function(_, c, ctx)\n"
    "    local store, seen = ctx.store, {}\n"
    "    if c == 'spend' then store:put('a', 1) while true do end end\n"
    "    for i = 1, 5 do store:put('key' .. i, { ctx.index, c }) end\n"
    "    for k, v in store:range { prefix = 'key', reverse = true } do seen[#seen + 1] = k .. v[1] "
    "end\n"
    "    store:delete 'key3'\n"
    "    if c == 'fail' then error('no', 0) end\n"
    "    return { seen, store:get 'key1', store:get 'key3' }\n"
    "  end,\n"
    "  query = function(_, q, ctx) return { ctx.store:get 'key2', q } end }";

/* What is done, in this order; the machine is shown it from the first on. */
struct step {
    const char *name;
    enum vm_machine_kind kind;
    struct vm_entry entry; /* of VM_MACHINE_APPLY */
};

#define BYTES(text)                                                                                \
    {                                                                                              \
        text, sizeof text - 1                                                                      \
    }
static const struct step steps[] = {
    {"init", VM_MACHINE_INIT, {.seed = 0}},
    {"a command", VM_MACHINE_APPLY, {.now_us = 5, .seed = 7, .body = BYTES("\xa1x")}},
    {"another one", VM_MACHINE_APPLY, {.now_us = 6, .seed = 8, .body = BYTES("\xa1y")}},
    {"one that fails",
     VM_MACHINE_APPLY,
     {.now_us = 7,
      .body = BYTES("\xa4"
                    "fail")}},
    {"one that spends", VM_MACHINE_APPLY, {.now_us = 8, .body = BYTES("\xa5spend")}},
    {"no command", VM_MACHINE_APPLY, {.now_us = 9, .body = BYTES("\xc1")}},
    {"a session", VM_MACHINE_APPLY, {.kind = VM_ENTRY_OPEN, .now_us = 10, .body = BYTES("\x64")}},
    {"its command",
     VM_MACHINE_APPLY,
     {.now_us = 11, .session = 1, .sequence = 1, .body = BYTES("\xa1z")}},
    {"it again",
     VM_MACHINE_APPLY,
     {.now_us = 12, .session = 1, .sequence = 1, .body = BYTES("\xa1z")}},
    {"a question", VM_MACHINE_QUERY, {.seed = 0}},
    {"an upgrade", VM_MACHINE_APPLY, {.kind = VM_ENTRY_PREPARE, .now_us = 13, .body = {NULL, 0}}},
    {"its decision",
     VM_MACHINE_APPLY,
     {.kind = VM_ENTRY_DECIDE, .now_us = 14, .body = BYTES("\x92\x09\xc3")}},
    {"a command after it", VM_MACHINE_APPLY, {.now_us = 15, .body = BYTES("\xa1w")}},
    {"the session's end", VM_MACHINE_APPLY, {.kind = VM_ENTRY_SHUT, .now_us = 16, .session = 1}},
    {"a snapshot", VM_MACHINE_SNAPSHOT, {.seed = 0}},
    {"its restore", VM_MACHINE_RESTORE, {.seed = 0}},
    {"the state", VM_MACHINE_STATE, {.seed = 0}},
};
enum { STEPS = sizeof steps / sizeof *steps };

/* What is done, and how it ended when memory sufficed. */
struct run {
    const char *text, *next;
    struct step_end {
        int status;
        struct peri_buffer output;
        char why[sizeof((struct peri_error *)NULL)->text];
        uint64_t hash;
        long places[PLACES_MAX]; /* allocations from places of their own */
        size_t count;
    } ends[STEPS];
};

static int do_step(const struct run *run, struct lone_machine *it, const struct step *step)
{
    struct peri_buffer body = {NULL, 0, 0};
    struct vm_entry entry = step->entry;
    if (step->kind == VM_MACHINE_RESTORE) {
        body = it->output; /* of the snapshot */
        it->output = (struct peri_buffer){NULL, 0, 0};
        int rc = lone_run(it, step->kind, peri_buffer_slice(&body));
        peri_buffer_deinit(&body);
        return rc;
    }
    if (step->kind != VM_MACHINE_APPLY)
        return lone_run(it, step->kind,
                        peri_slice_of("\xa1q", step->kind == VM_MACHINE_QUERY ? 2 : 0));
    test_alloc_spare(true);
    if (entry.kind == VM_ENTRY_PREPARE) {
        struct wire_packer packer = {&body, 0};
        wire_pack_array(&packer, 3);
        wire_pack_bytes(&packer, peri_slice_of("next.lua", strlen("next.lua")));
        wire_pack_bytes(&packer, peri_slice_of(run->next, strlen(run->next)));
        wire_pack_uint(&packer, 1000);
        entry.body = peri_buffer_slice(&body);
    }
    lone_prepare(it, &entry);
    peri_buffer_deinit(&body);
    test_alloc_spare(false);
    return lone_apply(it);
}

/* The allocations of the step that come from places of which none came before. */
static void note_places(struct step_end *end, const uint64_t *places, long count)
{
    for (long i = 0; i < count && end->count < PLACES_MAX; i++) {
        long first = 0;
        while (places[first] != places[i])
            first++;
        if (first == i)
            end->places[end->count++] = i + 1;
    }
}

static void learn(struct run *run)
{
    static uint64_t places[TRIES_MAX];
    struct lone_machine it;
    lone_open(&it, env, run->text);
    for (size_t i = 0; i < STEPS; i++) {
        struct step_end *end = &run->ends[i];
        (void)test_alloc_note(places, TRIES_MAX);
        end->status = do_step(run, &it, &steps[i]);
        note_places(end, places, test_alloc_note(NULL, 0));
        assert_int_equal(peri_buffer_append(&end->output, it.output.data, it.output.size), 0);
        (void)snprintf(end->why, sizeof end->why, "%s", it.err.text);
        end->hash = vm_machine_hash(it.machine);
    }
    lone_close(&it);
}

/* Returns true when nothing follows: its replica ends, for the machine is broken or could not
 * restore, or there is no snapshot. */
static bool check_end(const struct lone_machine *it, const struct step *step,
                      const struct step_end *end, int status, long n)
{
    bool is_same =
        status == end->status && strcmp(it->err.text, end->why) == 0 &&
        peri_slice_compare(peri_buffer_slice(&it->output), peri_buffer_slice(&end->output)) == 0;
    bool changes_nothing = step->kind == VM_MACHINE_SNAPSHOT || step->kind == VM_MACHINE_STATE;
    bool has_ended =
        step->kind == VM_MACHINE_RESTORE && (status == PERI_EMEMORY || status == PERI_ENOMEM);
    if (vm_machine_is_broken(it->machine) || has_ended) {
        if (status == 0 || it->err.text[0] == '\0')
            fail_msg("%s, allocation %ld: broken, and does not say so", step->name, n);
        return true;
    }
    if (vm_machine_hash(it->machine) != end->hash)
        fail_msg("%s, allocation %ld: another hash (%s)", step->name, n, it->err.text);
    if (!is_same && !(changes_nothing && (status == PERI_EMEMORY || status == PERI_ENOMEM)))
        fail_msg("%s, allocation %ld: %s (%s), not %s (%s)", step->name, n, peri_error_name(status),
                 it->err.text, peri_error_name(end->status), end->why);
    return !is_same;
}

/* Returns how many allocations have failed. */
static long starve(const struct run *run, size_t at, long n, bool is_lasting)
{
    struct lone_machine it;
    lone_open(&it, env, run->text);
    for (size_t i = 0; i < at; i++)
        (void)do_step(run, &it, &steps[i]);
    if (is_lasting)
        test_alloc_fail_from(n);
    else
        test_alloc_fail(n);
    int status = do_step(run, &it, &steps[at]);
    bool has_failed = test_alloc_end();
    bool is_broken = check_end(&it, &steps[at], &run->ends[at], status, n);
    for (size_t i = at + 1; i < STEPS && !is_broken; i++) /* it goes on as if nothing had been */
        (void)check_end(&it, &steps[i], &run->ends[i], do_step(run, &it, &steps[i]), n);
    lone_close(&it);
    return has_failed;
}

/* Where one allocation alone fails, Lua collects its garbage and mostly gets what it asks for. */
static void check_text(const char *text, const char *after)
{
    static struct run run;
    long tries = 0, failed = 0;
    run = (struct run){.text = text, .next = after};
    learn(&run);
    for (size_t i = 0; i < STEPS; i++) {
        for (size_t place = 0; place < run.ends[i].count; place++) {
            long n = run.ends[i].places[place];
            failed += starve(&run, i, n, true) + starve(&run, i, n, false);
            tries += 2;
        }
    }
    for (size_t i = 0; i < STEPS; i++)
        peri_buffer_deinit(&run.ends[i].output);
    print_message("%ld of %ld allocations failed\n", failed, tries);
    assert_true(failed > tries / 2);
}

static void test_tables(void **unused)
{
    (void)unused;
    check_text(tables, next);
}

static void test_own_snapshot(void **unused)
{
    (void)unused;
    check_text(whole, whole);
}

static void test_store(void **unused)
{
    (void)unused;
    check_text(stored, stored);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_own_snapshot),
        cmocka_unit_test(test_store),
    };
    return cmocka_run_group_tests(tests, open_env, close_env);
}
