/* sequence.h - sequences of 32-bit words, each kept once and known by a small number.
 *
 * Values and the states of models are such sequences: two are equal exactly if their numbers are,
 * so the search compares and hashes single words. Numbers count up from 0 in the order of first
 * use, and never change; memory only grows until close. */
#ifndef PERI_CHECK_SEQUENCE_H
#define PERI_CHECK_SEQUENCE_H

#include <stddef.h>
#include <stdint.h>

struct check_sequences; /* opaque: defined in sequence.c */

/* Creates an empty set of sequences; the caller ends it with check_sequences_close(). Errors:
 * PERI_ENOMEM. */
int check_sequences_create(struct check_sequences **out);

/* Gives the number of the sequence of count words (copied), adding it when it is new. Errors:
 * PERI_ENOMEM; PERI_ETOOBIG past 2^32 - 2 sequences or words. */
int check_sequences_add(struct check_sequences *sequences, const uint32_t *words, size_t count,
                        uint32_t *number);

/* The words of a sequence, *count of them; lent until the next add. */
const uint32_t *check_sequences_get(const struct check_sequences *sequences, uint32_t number,
                                    size_t *count);

/* How many sequences there are. */
uint32_t check_sequences_count(const struct check_sequences *sequences);

/* Bytes that they take. */
size_t check_sequences_memory(const struct check_sequences *sequences);

void check_sequences_close(struct check_sequences *sequences);

#endif
