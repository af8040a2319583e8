/* pin.h - memory and clocks that are the same in every run, for what is simulated.
 *
 * Stock Lua mixes addresses and the time into its string hashes, its table order and the pivots of
 * table.sort, so equal seeds alone do not give equal runs (measured: 12 runs, 12 orders of pairs).
 * What depends on the process enters here: a call on a stack at a fixed address in which the C
 * library's time() and clock() stand still, and regions of memory at fixed addresses. No struct env
 * is needed: these belong to the process. */
#ifndef PERI_ENV_PIN_H
#define PERI_ENV_PIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Slots that regions can be opened in: 1 to this. */
enum { ENV_REGION_SLOTS_MAX = 2047 };

/* Most memory of one region. */
#define ENV_REGION_BYTES_MAX ((size_t)1 << 34)

/* Memory that starts at an address which depends on its slot alone. */
struct env_region {
    char *base;          /* NULL: not open */
    size_t mapped_bytes; /* from base on; zeros when they are new */
};

/* Calls run(data) on a stack at a fixed address and returns when it has returned; on this thread
 * time() and clock(), as linked into this binary, return 0 meanwhile. run must not leave by a
 * longjmp. Errors, after which run was not called: PERI_EBUSY inside another pinned call, of this
 * thread or any other, and where something else lies at the address, as the thread sanitizer's
 * shadow does; PERI_EINVAL from a kernel that maps elsewhere; PERI_ENOMEM; errno codes. */
int env_pinned_call(void (*run)(void *data), void *data, struct peri_error *err);

/* True inside a pinned call, on its thread. */
bool env_is_pinned(void);

/* Opens the region of a slot and maps its first size_bytes, a multiple of the page size. On success
 * the caller owns it and ends it with env_region_close. Errors: PERI_EBUSY when the slot's region
 * is open or something else lies there; PERI_ENOMEM; PERI_EINVAL. */
int env_region_open(struct env_region *region, uint32_t slot, size_t size_bytes);

/* Maps size_bytes more, a multiple of the page size, behind what is mapped. Errors: PERI_ENOMEM,
 * also beyond ENV_REGION_BYTES_MAX; PERI_EBUSY, PERI_EINVAL as above. The region is then unchanged.
 */
int env_region_extend(struct env_region *region, size_t size_bytes);

/* Tells the system that the content of the whole pages in [from, from + size_bytes) is not needed:
 * they stay mapped, and are zeros when they are used again. */
void env_region_discard(void *from, size_t size_bytes);

/* Unmaps it. Accepts one that is not open. */
void env_region_close(struct env_region *region);

#endif
