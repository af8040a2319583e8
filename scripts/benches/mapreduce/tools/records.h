/* records.h - the 100-byte records of the sort benchmark (sortbenchmark.org), as gensort makes
 * them. */
#ifndef RECORDS_H
#define RECORDS_H

#include <stdint.h>

#define RECORD_SIZE 100
#define RECORD_KEY_SIZE 10

__extension__ typedef unsigned __int128 u128;

/* x(n+1) = x(n) * a + c modulo 2^128; the record 0 uses the number after the seed 0. */
#define RECORD_A ((u128)0x2360ED051FC65DA4u << 64 | 0x4385DF649FCCF645u)
#define RECORD_C ((u128)0x4A696D4772617952u << 64 | 0x4950202020202001u)

#endif
