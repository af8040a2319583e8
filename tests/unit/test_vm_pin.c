/* Stock Lua, pinned from outside: what a simulated state shows of its process is equal in every
 * run. The program starts itself again as "test_vm_pin probe", twenty times, in processes that
 * differ in all that a process can differ in. */
#include <lauxlib.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "env/env.h"
#include "env/pin.h"
#include "env/uv.h"
#include "env_fixed.h"
#include "vm/state.h"

/* Everything that was seen to differ between runs of stock Lua (a line each), and their sum. */
static const char probe_text[] =
    "local out = {}\n"
    "local function show(what, t, name)\n"
    "  local line = {}\n"
    "  for k in pairs(t) do line[#line + 1] = name and name[k] or tostring(k) end\n"
    "  out[#out + 1] = what .. ': ' .. table.concat(line, ' ')\n"
    "end\n"
    "local strings, tables, functions, names = {}, {}, {}, {}\n"
    "for i = 1, 50 do\n"
    "  strings['key' .. i] = true\n"
    "  local t, f = {}, function() return i end\n"
    "  tables[t], functions[f], names[t], names[f] = true, true, i, i\n"
    "end\n"
    "show('strings', strings) show('tables', tables, names) show('functions', functions, names)\n"
    "show('addresses', { [{}] = 1, [coroutine.create(print)] = 1, [io.stdout] = 1 })\n"
    "show('library', { [print] = 1, [pairs] = 1, [string.rep] = 1, [table.sort] = 1, [load] = 1 "
    "})\n"
    "show('globals', _G) show('loaded', package.loaded) show('string', string)\n"
    /* Two million garbage tables, some of which live: what the collector leaves decides addresses.
     */
    "local kept = setmetatable({}, { __mode = 'k' })\n"
    "for i = 1, 20000 do local t = { i, tostring(i) } if i % 7 == 0 then kept[t] = i end end\n"
    "local alive = 0 for _ in pairs(kept) do alive = alive + 1 end\n"
    "out[#out + 1] = 'weak: ' .. alive\n"
    "out[#out + 1] = 'memory: ' .. collectgarbage 'count'\n"
    /* Unbalanced partitions make stock's table.sort ask the clock. The metatable keeps it stock. */
    "local function count(n, list)\n"
    "  local calls = 0\n"
    "  for i = 1, n do list[i] = i % 3 == 0 and 0 or i end\n"
    "  table.sort(list, function(a, b) calls = calls + 1 return a < b end)\n"
    "  return calls\n"
    "end\n"
    "local proxy = setmetatable({}, { __index = function() end, __len = function() return 20000 "
    "end })\n"
    "out[#out + 1] = 'sort: ' .. count(20000, {}) .. ' ' .. count(20000, proxy)\n"
    "out[#out + 1] = 'random: ' .. math.random(0)\n"
    "out[#out + 1] = 'number: ' .. 1.5 .. ' ' .. os.date()\n"
    "return table.concat(out, '\\n')\n";

enum { STATES = 3, HASH_SEED = 7 };

struct probe {
    struct env *env;
    bool is_stock; /* planted: nothing is pinned */
    uint64_t hash_seed;
    char *texts[STATES];
};

static char *run_probe_text(struct vm_state *vm)
{
    int status = luaL_dostring(vm->L, probe_text);
    if (status != LUA_OK)
        (void)fprintf(stderr, "%s\n", lua_tostring(vm->L, -1));
    assert_int_equal(status, LUA_OK);
    char *text = strdup(lua_tostring(vm->L, -1));
    lua_settop(vm->L, 0);
    return text;
}

static void probe_states(void *data)
{
    struct probe *probe = data;
    struct vm_state *vms[STATES];
    struct vm_simulated simulated[STATES];
    struct vm_options options[STATES] = {0};
    for (uint32_t i = 0; i < STATES; i++) {
        simulated[i] = (struct vm_simulated){.slot = i + 1, .hash_seed = probe->hash_seed};
        options[i] = (struct vm_options){.env = probe->env,
                                         .simulated = probe->is_stock ? NULL : &simulated[i]};
        assert_int_equal(vm_state_create(&vms[i], &options[i], NULL), 0);
    }
    for (uint32_t i = 0; i < STATES; i++)
        probe->texts[i] = run_probe_text(vms[i]);
    for (uint32_t i = 0; i < STATES; i++)
        vm_state_close(vms[i]);
}

static void probe_run(struct probe *probe, uint64_t hash_seed, bool is_stock)
{
    struct peri_error err = PERI_ERROR_INIT;
    *probe = (struct probe){.hash_seed = hash_seed, .is_stock = is_stock};
    assert_int_equal(env_uv_create(&probe->env, &err), 0);
    env_fix(probe->env); /* an env of libuv draws from the kernel */
    int rc = 0;
    if (is_stock)
        probe_states(probe);
    else
        rc = env_pinned_call(probe_states, probe, &err);
    if (rc != 0)
        (void)fprintf(stderr, "%s\n", err.text);
    assert_int_equal(rc, 0);
    env_close(probe->env);
}

static void probe_free(struct probe *probe)
{
    for (int i = 0; i < STATES; i++)
        free(probe->texts[i]);
}

struct dirt {
    struct dirt *next;
};

/* Takes bytes_max bytes of heap in blocks of many sizes. */
static struct dirt *make_dirt(size_t bytes_max)
{
    struct dirt *dirt = NULL;
    size_t size = sizeof *dirt;
    for (size_t bytes = 0; bytes < bytes_max; bytes += size) {
        size = size % 512 + 24;
        struct dirt *more = malloc(size);
        memset(more, 0x5a, size);
        more->next = dirt;
        dirt = more;
    }
    return dirt;
}

/* "probe N" or "stock N": dirties N bytes of heap first. */
static int probe_main(const char *heap, bool is_stock)
{
    struct probe probe;
    struct dirt *dirt = make_dirt(strtoul(heap, NULL, 10));
    probe_run(&probe, HASH_SEED, is_stock);
    for (int i = 0; i < STATES; i++)
        (void)printf("%s\n", probe.texts[i]);
    probe_free(&probe);
    while (dirt != NULL) {
        struct dirt *next = dirt->next;
        free(dirt);
        dirt = next;
    }
    return 0;
}

/* ---- twenty processes ---- */

static char self_path[PATH_MAX];

static char *output_of(const char *command)
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    FILE *pipe = popen(command, "r"); /* NOLINT(cert-env33-c): the command is ours */
    char chunk[4096];
    size_t got;
    assert_non_null(pipe);
    while ((got = fread(chunk, 1, sizeof chunk, pipe)) > 0)
        (void)fwrite(chunk, 1, got, memory);
    int status = pclose(pipe);
    (void)fclose(memory);
    if (status != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static void test_runs_are_equal(void **state)
{
    (void)state;
    static const char *const surroundings[] = {
        "",
        "env -i ",
        "PAD=$(head -c 5000 /dev/zero | tr '\\0' x) ",
        "PAD=$(head -c 99001 /dev/zero | tr '\\0' x) ",
        "MALLOC_PERTURB_=1 ",
        "MALLOC_PERTURB_=255 ",
        "LC_ALL=de_DE.UTF-8 LANG=tr_TR ",
        "cd / && ",
        "GLIBC_TUNABLES=glibc.malloc.mmap_threshold=4096 ",
        "setarch -R ",
        "PAD=x setarch -R ",
        "ulimit -s unlimited && ",
    };
    static const size_t count = sizeof surroundings / sizeof *surroundings;
    char command[PATH_MAX + 256];
    (void)snprintf(command, sizeof command, "'%s' probe 0", self_path);
    char *first = output_of(command);
    assert_non_null(first);
    for (size_t i = 1; i <= 20; i++) {
        const char *around = surroundings[i % count];
        (void)snprintf(command, sizeof command, "%s'%s' probe %zu 2>&1", around, self_path,
                       i * i * 5003);
        char *text = output_of(command);
        if (text == NULL && strstr(around, "setarch") != NULL)
            continue; /* a container may forbid it */
        if (text == NULL || strcmp(text, first) != 0)
            (void)fprintf(stderr, "run %zu under '%s':\n%s\nnot as the first:\n%s\n", i, around,
                          text != NULL ? text : "failed", first);
        assert_non_null(text);
        assert_string_equal(text, first);
        free(text);
    }
    free(first);
}

/* Copies the line that starts with name; "" when there is none. */
static void copy_line(const char *text, const char *name, char *out, size_t size)
{
    const char *line = text;
    while (line != NULL && strncmp(line, name, strlen(name)) != 0) {
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    (void)snprintf(out, size, "%.*s", line != NULL ? (int)strcspn(line, "\n") : 0,
                   line != NULL ? line : "");
}

/* Planted: what the probe shows does leak from stock Lua, so that the test above tests something.
 */
static void test_stock_differs(void **state)
{
    (void)state;
    static const char *const leaks[] = {
        "strings:", "tables:", "functions:", "addresses:", "library:", "globals:"};
    char command[PATH_MAX + 64];
    char *texts[6];
    for (size_t i = 0; i < 6; i++) {
        (void)snprintf(command, sizeof command, "'%s' stock %zu", self_path, i * 100000);
        texts[i] = output_of(command);
        assert_non_null(texts[i]);
    }
    for (size_t leak = 0; leak < sizeof leaks / sizeof *leaks; leak++) {
        char first[8192];
        char other[8192];
        bool is_caught = false;
        copy_line(texts[0], leaks[leak], first, sizeof first);
        for (size_t i = 1; i < 6; i++) {
            copy_line(texts[i], leaks[leak], other, sizeof other);
            is_caught = is_caught || strcmp(first, other) != 0;
        }
        if (!is_caught)
            fail_msg("six runs of stock Lua show the same: %s", first);
    }
    for (size_t i = 0; i < 6; i++)
        free(texts[i]);
}

/* The order of strings is the seed's; that of tables is not, but that of the addresses is kept. */
static void test_seed_changes_order(void **state)
{
    (void)state;
    struct probe a;
    struct probe b;
    struct probe c;
    probe_run(&a, 1, false);
    probe_run(&b, 1, false);
    probe_run(&c, UINT64_C(1) << 40, false);
    for (int i = 0; i < STATES; i++) {
        assert_string_equal(a.texts[i], b.texts[i]);
        assert_string_not_equal(a.texts[i], c.texts[i]);
    }
    probe_free(&a);
    probe_free(&b);
    probe_free(&c);
}

/* ---- what cannot be pinned is refused ---- */

static void test_unpinned_is_refused(void **state)
{
    (void)state;
    struct peri_error err = PERI_ERROR_INIT;
    struct env *env;
    struct vm_state *vm;
    struct vm_simulated simulated = {.slot = 1};
    assert_int_equal(env_uv_create(&env, NULL), 0);
    struct vm_options options = {.env = env, .simulated = &simulated};
    assert_int_equal(vm_state_create(&vm, &options, &err), PERI_EINVAL);
    assert_non_null(strstr(err.text, "outside a pinned call"));
    env_close(env);
}

static void open_twice(void *data)
{
    struct env *env = data;
    struct peri_error err = PERI_ERROR_INIT;
    struct vm_state *first;
    struct vm_state *second;
    struct vm_simulated simulated = {.slot = ENV_REGION_SLOTS_MAX};
    struct vm_options options = {.env = env, .simulated = &simulated};
    assert_int_equal(vm_state_create(&first, &options, NULL), 0);
    assert_int_equal(vm_state_create(&second, &options, &err), PERI_EBUSY);
    assert_non_null(strstr(err.text, "slot 2047"));
    assert_int_equal(env_pinned_call(open_twice, env, &err), PERI_EBUSY);
    vm_state_close(first);
    assert_int_equal(vm_state_create(&second, &options, NULL), 0);
    vm_state_close(second);
}

static void test_slot_in_use_is_refused(void **state)
{
    (void)state;
    struct env *env;
    assert_int_equal(env_uv_create(&env, NULL), 0);
    assert_false(env_is_pinned());
    assert_int_equal(env_pinned_call(open_twice, env, NULL), 0);
    env_close(env);
}

/* ---- the arena ---- */

struct block {
    unsigned char *data;
    size_t size;
};

enum { BLOCKS = 600, STEPS = 200000 };

static uint32_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(*state >> 33);
}

static size_t random_size(uint64_t *random)
{
    static const size_t bounds[] = {16, 80, 300, 2000, 70000, 3000000};
    uint32_t draw = next_random(random) % 1000;
    size_t bound = bounds[draw < 500   ? 0
                          : draw < 800 ? 1
                          : draw < 950 ? 2
                          : draw < 990 ? 3
                          : draw < 999 ? 4
                                       : 5];
    return 1 + next_random(random) % bound;
}

static bool is_filled(const struct block *block, size_t size, unsigned char with)
{
    for (size_t i = 0; i < size; i++)
        if (block->data[i] != with)
            return false;
    return true;
}

/* Every block keeps its content whatever happens to the others, and the same steps give the same
 * addresses. Returns a sum of the addresses. */
static uint64_t arena_steps(uint64_t seed, int steps)
{
    static struct block blocks[BLOCKS];
    struct vm_arena arena;
    uint64_t sum = 0;
    memset(blocks, 0, sizeof blocks);
    assert_int_equal(vm_arena_init(&arena, 5), 0);
    for (int step = 0; step < steps; step++) {
        uint32_t i = next_random(&seed) % BLOCKS;
        struct block *block = &blocks[i];
        size_t size = next_random(&seed) % 4 == 0 ? 0 : random_size(&seed);
        size_t kept = size < block->size ? size : block->size;
        unsigned char *data = vm_arena_resize(&arena, block->data, block->size, size);
        assert_int_equal(data == NULL, size == 0);
        assert_true((uintptr_t)data % 16 == 0);
        *block = (struct block){data, size};
        assert_true(is_filled(block, kept, (unsigned char)i));
        if (data != NULL)
            memset(data, (int)(unsigned char)i, size);
        sum = sum * 31 + (uintptr_t)data;
    }
    vm_arena_deinit(&arena);
    return sum;
}

static void test_arena_keeps_blocks(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++)
        assert_true(arena_steps(seed, STEPS / 4) == arena_steps(seed, STEPS / 4));
}

static void test_arena_ends(void **state)
{
    (void)state;
    struct vm_arena arena;
    assert_int_equal(vm_arena_init(&arena, 1), 0);
    char *block = vm_arena_resize(&arena, NULL, 0, 100);
    memset(block, 'x', 100);
    assert_null(vm_arena_resize(&arena, block, 100, ENV_REGION_BYTES_MAX));
    assert_null(vm_arena_resize(&arena, block, 100, SIZE_MAX / 2));
    assert_int_equal(block[99], 'x');
    assert_null(vm_arena_resize(&arena, block, 100, 0));
    vm_arena_deinit(&arena);
    vm_arena_deinit(&arena);
}

static void limited(void *data)
{
    struct vm_simulated simulated = {.slot = 3};
    struct vm_options options = {
        .env = data, .simulated = &simulated, .memory_limit_bytes = (size_t)4 << 20};
    struct vm_state *vm;
    assert_int_equal(vm_state_create(&vm, &options, NULL), 0);
    assert_true(luaL_dostring(vm->L, "local t = {} while true do t[#t + 1] = {} end") != LUA_OK);
    assert_true(vm->alloc.peak_bytes <= options.memory_limit_bytes);
    vm_state_close(vm);
}

static void test_memory_limit_holds(void **state)
{
    (void)state;
    struct env *env;
    assert_int_equal(env_uv_create(&env, NULL), 0);
    assert_int_equal(env_pinned_call(limited, env, NULL), 0);
    env_close(env);
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return probe_main(argv[2], strcmp(argv[1], "stock") == 0);
    ssize_t size = readlink("/proc/self/exe", self_path, sizeof self_path - 1);
    if (size < 0)
        return EXIT_FAILURE;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stock_differs),
        cmocka_unit_test(test_runs_are_equal),
        cmocka_unit_test(test_seed_changes_order),
        cmocka_unit_test(test_unpinned_is_refused),
        cmocka_unit_test(test_slot_in_use_is_refused),
        cmocka_unit_test(test_arena_keeps_blocks),
        cmocka_unit_test(test_arena_ends),
        cmocka_unit_test(test_memory_limit_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
