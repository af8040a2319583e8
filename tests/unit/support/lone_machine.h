/* lone_machine.h - a machine in Lua without a group, and jobs for it. Failures of what prepares a
 * job fail the test that runs. */
#ifndef PERI_TESTS_LONE_MACHINE_H
#define PERI_TESTS_LONE_MACHINE_H

#include "vm/machine.h"
#include "vm/machine_entry.h"

struct lone_machine {
    struct vm_machine *machine;
    struct peri_buffer output; /* of the last job */
    struct peri_error err;
    uint64_t index;           /* of the last entry */
    struct peri_buffer entry; /* that is applied next */
};

/* A machine in the state of its beginning. */
void lone_open(struct lone_machine *it, struct env *env, const char *text);
void lone_close(struct lone_machine *it);

/* Does a job to its end. Returns how it ended. */
int lone_run(struct lone_machine *it, enum vm_machine_kind kind, struct peri_slice input);

/* Prepares the next entry; its body is MessagePack. */
void lone_prepare(struct lone_machine *it, const struct vm_entry *entry);
/* Applies the one that was prepared. */
int lone_apply(struct lone_machine *it);

/* Both, of a command that is a string. */
int lone_command(struct lone_machine *it, const char *command, uint64_t seed);

#endif
