/* sim_machine.h - one simulated machine, whose disk is what tests look at.
 *
 * A job runs as background work of its process. Failures fail the test that runs. */
#ifndef PERI_TESTS_SIM_MACHINE_H
#define PERI_TESTS_SIM_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "env/env.h"
#include "sim/fault.h"
#include "sim/node.h"

enum { SECOND = 1000000, PPM = 1000000 };

struct machine {
    struct sim_world *world;
    struct sim_node *node;
    struct env *env;
    void (*job)(struct machine *machine);
    struct env_timer *timer;
    bool is_done;
    struct env_file *file;
    struct peri_error err;
    int rc;
    uint64_t took_us;
};

/* A machine that is up. Lent until the next call; its world is the caller's. */
struct machine *machine_create(uint64_t seed);

/* Runs job as background work, and then until it is done. */
void machine_perform(struct machine *machine, void (*job)(struct machine *machine));

/* For env_work: runs the job of the machine that is data. */
void machine_job(void *data);

/* Sets a fault; what a crash keeps, tears and garbles. */
void machine_set(struct machine *machine, enum env_fault fault, int64_t number);
void machine_set_crash(struct machine *machine, int64_t keep, int64_t tear, int64_t garble);

/* Loses power and starts again. */
void machine_restart(struct machine *machine);

/* Opens a file that the caller closes. */
struct env_file *machine_open(struct machine *machine, const char *path, int flags);

/* What the process would read, the caller's to free; the file is there. */
struct peri_buffer machine_content(struct machine *machine, const char *path);

/* Whether there is such a file; fails unless it holds just that. */
bool machine_has(struct machine *machine, const char *path);
void machine_assert_content(struct machine *machine, const char *path, const char *wanted);

/* Jobs: "/f" is open as machine->file, its name durable, and "hello" written; that file is synced,
 * with what came of it in machine->rc. */
void machine_write_hello(struct machine *machine);
void machine_sync_file(struct machine *machine);

#endif
