/* repair.h - the question of a replica that repairs itself, and its answer: repair.c asks,
 * repair_serve.c answers. Each is a call of raft.repair with one byte string (numbers u64,
 * little-endian).
 *
 *   question   envelope without messages (message.h), group, last index, health u8
 *   answer     term, last index, term of that entry, commit index, flags u8 (health, and whether it
 *              leads), members (members.c)
 */
#ifndef PERI_NODE_REPAIR_H
#define PERI_NODE_REPAIR_H

#include "node/state.h"

enum {
    REPAIR_QUESTION_SIZE = 8 + 8 + 1, /* behind the envelope */
    REPAIR_ANSWER_HEAD = 4 * 8 + 1,   /* before the members */
    REPAIR_HEALTH_MASK = 3,
    REPAIR_FLAG_LEADER = 4
};

#endif
