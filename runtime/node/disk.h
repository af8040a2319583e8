/* disk.h - what disk.c and disk_read.c share. */
#ifndef PERI_NODE_DISK_H
#define PERI_NODE_DISK_H

#include "node/parts.h"

struct node_disk {
    struct node *node;
    struct store_log *log;
    struct peri_list found; /* disk.c: what the log held of groups when it was opened */
};

#endif
