/* posix_pin.c - what pins a process: fixed addresses and clocks that stand still.
 *
 * Address space layout is not switched off (personality(ADDR_NO_RANDOMIZE) and a second exec):
 * containers forbid that call, a program that restarts itself confuses debuggers, and it would not
 * do, because the environment's size still moves the stack. Instead the binary is linked without
 * PIE, so functions and static data have fixed addresses; the stack of a pinned call and the
 * regions that simulated Lua states live in are mapped where no layout of any kernel puts anything
 * by itself; and what Lua mixes into its hash seed is replaced (vm/hash_seed.h). Measured over 20
 * runs with ASLR on and off, other environments and heaps: one order of pairs each. Without the
 * regions: 20 for tables as keys; without the seed: 20 for strings.
 *
 * The map, chosen clear of libraries and stack (from 0x7... down), PIE and brk (0x55..., 0x4...),
 * mimalloc's hints (2 to 30 TiB) and the address sanitizer's shadow (below 16 TiB) and heap (96
 * TiB):
 *
 *   32 TiB + 0          slot 0: stack of the pinned call, at the slot's end
 *   32 TiB + 16 GiB*n   slot n: a region
 *
 * MAP_FIXED_NOREPLACE: should something lie there all the same, that is an error, never a wrong
 * answer. Kernels before 4.17 take it as a hint, which the check of the result covers. */
#include "env/pin.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/assert.h"

#ifdef __SANITIZE_ADDRESS__
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifdef HAS_ASAN
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif

#define MAP_START UINT64_C(0x200000000000)
#define STACK_BYTES ((size_t)64 << 20)

/* One pinned call at a time in a process: there is one map. */
static atomic_bool is_taken;
static _Thread_local bool is_pinned;

/* ---- clocks; the linker's --wrap gives these their names ---- */

time_t __real_time(time_t *out);
time_t __wrap_time(time_t *out);
clock_t __real_clock(void);
clock_t __wrap_clock(void);

time_t __wrap_time(time_t *out)
{
    if (!is_pinned)
        return __real_time(out);
    if (out != NULL)
        *out = 0;
    return 0;
}

clock_t __wrap_clock(void)
{
    return is_pinned ? 0 : __real_clock();
}

/* ---- memory ---- */

static char *slot_address(uint32_t slot)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr) */
    return (char *)(uintptr_t)(MAP_START + slot * (uint64_t)ENV_REGION_BYTES_MAX);
}

static int map_at(char *at, size_t size_bytes, int flags)
{
    void *got =
        mmap(at, size_bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE | flags, -1, 0);
    if (got == MAP_FAILED)
        return errno == EEXIST ? PERI_EBUSY : -errno;
    if (got == at)
        return 0;
    (void)munmap(got, size_bytes);
    return PERI_EINVAL;
}

/* The leak checker must look for pointers there: handles of Lua own memory of the heap. */
static void watch(const char *at, size_t size_bytes)
{
#ifdef HAS_ASAN
    __lsan_register_root_region(at, size_bytes);
#else
    (void)at, (void)size_bytes;
#endif
}

static void unwatch(const char *at, size_t size_bytes)
{
#ifdef HAS_ASAN
    __lsan_unregister_root_region(at, size_bytes);
#else
    (void)at, (void)size_bytes;
#endif
}

int env_region_open(struct env_region *region, uint32_t slot, size_t size_bytes)
{
    PERI_ASSERT(slot >= 1 && slot <= ENV_REGION_SLOTS_MAX && size_bytes <= ENV_REGION_BYTES_MAX);
    char *base = slot_address(slot);
    int rc = map_at(base, size_bytes, 0);
    if (rc != 0)
        return rc;
    watch(base, size_bytes);
    *region = (struct env_region){base, size_bytes};
    return 0;
}

int env_region_extend(struct env_region *region, size_t size_bytes)
{
    if (size_bytes > ENV_REGION_BYTES_MAX - region->mapped_bytes)
        return PERI_ENOMEM;
    int rc = map_at(region->base + region->mapped_bytes, size_bytes, 0);
    if (rc != 0)
        return rc;
    unwatch(region->base, region->mapped_bytes);
    region->mapped_bytes += size_bytes;
    watch(region->base, region->mapped_bytes);
    return 0;
}

void env_region_discard(void *from, size_t size_bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    size_t skipped = (page - (uintptr_t)from % page) % page;
    if (size_bytes >= skipped + page)
        (void)madvise((char *)from + skipped, (size_bytes - skipped) / page * page, MADV_DONTNEED);
}

void env_region_close(struct env_region *region)
{
    if (region->base == NULL)
        return;
    unwatch(region->base, region->mapped_bytes);
    (void)munmap(region->base, region->mapped_bytes);
    *region = (struct env_region){0};
}

/* ---- the call ---- */

struct pinned_call {
    void (*run)(void *data);
    void *data;
    volatile bool has_begun;
    ucontext_t caller;
    ucontext_t callee;
#ifdef HAS_ASAN
    const void *caller_stack;
    size_t caller_stack_bytes;
#endif
};

/* makecontext passes ints only: the pointer comes in two halves. */
static void enter(unsigned int high, unsigned int low)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr) */
    struct pinned_call *call = (struct pinned_call *)((uintptr_t)high << 32 | low);
#ifdef HAS_ASAN
    __sanitizer_finish_switch_fiber(NULL, &call->caller_stack, &call->caller_stack_bytes);
#endif
    call->run(call->data);
#ifdef HAS_ASAN
    __sanitizer_start_switch_fiber(NULL, call->caller_stack, call->caller_stack_bytes);
#endif
}

static void switch_to(struct pinned_call *call, char *stack)
{
    (void)getcontext(&call->callee); /* cannot fail on Linux; nor can the two below */
    call->callee.uc_stack.ss_sp = stack;
    call->callee.uc_stack.ss_size = STACK_BYTES;
    call->callee.uc_link = &call->caller;
    uintptr_t at = (uintptr_t)call;
    makecontext(&call->callee, (void (*)(void))enter, 2, (unsigned int)(at >> 32),
                (unsigned int)at);
#ifdef HAS_ASAN
    void *fake_stack = NULL;
    __sanitizer_start_switch_fiber(&fake_stack, stack, STACK_BYTES);
#endif
    (void)getcontext(&call->caller); /* returns again when enter has returned */
    if (!call->has_begun) {
        call->has_begun = true;
        (void)setcontext(&call->callee);
    }
#ifdef HAS_ASAN
    __sanitizer_finish_switch_fiber(fake_stack, NULL, NULL);
#endif
}

int env_pinned_call(void (*run)(void *data), void *data, struct peri_error *err)
{
    struct pinned_call call = {.run = run, .data = data};
    if (atomic_exchange(&is_taken, true))
        return peri_fail(err, PERI_EBUSY, "a pinned call runs in this process already");
    char *stack = slot_address(1) - STACK_BYTES;
    int rc = map_at(stack, STACK_BYTES, MAP_STACK);
    if (rc == 0) {
        watch(stack, STACK_BYTES);
        is_pinned = true;
        switch_to(&call, stack);
        is_pinned = false;
        unwatch(stack, STACK_BYTES);
        (void)munmap(stack, STACK_BYTES);
    }
    atomic_store(&is_taken, false);
    return rc == 0 ? 0 : peri_fail(err, rc, "a stack at a fixed address");
}

bool env_is_pinned(void)
{
    return is_pinned;
}
