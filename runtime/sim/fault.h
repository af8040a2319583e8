/* fault.h - makes the faults of env/fault.def happen in a simulated world. */
#ifndef PERI_SIM_FAULT_H
#define PERI_SIM_FAULT_H

#include "env/fault.h"
#include "sim/node.h"

/* Sets or triggers a fault; a note with its name enters trace and hash. from is the node of a node
 * fault, or where a link begins, and to where it ends: NULL stands for every node, also those to
 * come for settings of links and of nodes that start later. Settings of one link or node win over
 * those for all. Errors: PERI_EINVAL when value is out of range or a fault that happens to one node
 * has none; PERI_EBUSY when the node's state does not allow it (restart of one that runs, wipe of
 * one that is up); PERI_ENOMEM. */
int sim_fault_apply(struct sim_world *world, enum env_fault fault, struct sim_node *from,
                    struct sim_node *to, const struct env_fault_value *value,
                    struct peri_error *err);

#endif
