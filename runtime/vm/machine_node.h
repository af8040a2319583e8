/* machine_node.h - a machine in Lua as that of a Raft group (node/machine.h). */
#ifndef PERI_VM_MACHINE_NODE_H
#define PERI_VM_MACHINE_NODE_H

#include "node/machine.h"
#include "vm/machine.h"

struct vm_machine_node;

/* Creates a machine and gives it the state of its beginning. On success the caller owns *out and
 * ends it with vm_machine_node_close after its group was closed. Errors: as vm_machine_create; what
 * init raises. */
int vm_machine_node_create(struct vm_machine_node **out, const struct vm_machine_options *options,
                           struct peri_slice text, const char *name, struct peri_error *err);
/* Accepts NULL. */
void vm_machine_node_close(struct vm_machine_node *host);

/* What the group is opened with; lent until the close. */
struct node_machine *vm_machine_node_of(struct vm_machine_node *host);

/* The machine; lent until the close. */
struct vm_machine *vm_machine_node_machine(struct vm_machine_node *host);

#endif
