/* sweep.h - the records of history that nobody can ask for any more leave the disk. */
#ifndef PERI_KV_SWEEP_H
#define PERI_KV_SWEEP_H

#include "node/keys.h"

/* Removes records of compacted history, some events' worth of them: node_machine.sweep. */
int kv_sweep(struct node_keys_sweep *keys, struct peri_error *err);

#endif
