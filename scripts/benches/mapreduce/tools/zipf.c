/* zipf.c - writes lines of lower-case words whose frequencies follow Zipf's law with exponent 1.
 *
 * Usage: zipf SIZE_BYTES. The same bytes on every run: 300,000 made-up words, eight to a line. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define WORDS 300000
#define GUIDES 65536
#define WORDS_IN_LINE 8

struct zipf {
    uint64_t state;
    double cumulated[WORDS];    /* share of the words up to this one, in (0, 1] */
    uint32_t guide[GUIDES + 1]; /* first word whose share reaches guide/GUIDES */
    char word[WORDS][16];       /* ends with a space */
    unsigned char size[WORDS];
};

/* splitmix64 */
static uint64_t random_next(struct zipf *z)
{
    uint64_t x = z->state += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* A word is random letters, a z, and its rank in base 25: distinct, one to twelve letters long. */
static void make_word(struct zipf *z, uint32_t rank)
{
    char *to = z->word[rank];
    unsigned size = 0;
    for (uint64_t more = random_next(z) % 8; size < more;)
        to[size++] = (char)('a' + random_next(z) % 25);
    to[size++] = 'z';
    for (uint32_t rest = rank; rest > 0; rest /= 25)
        to[size++] = (char)('a' + rest % 25);
    to[size++] = ' ';
    z->size[rank] = (unsigned char)size;
}

static void make_words(struct zipf *z)
{
    double total = 0, sum = 0;
    for (uint32_t rank = 0; rank < WORDS; rank++) {
        make_word(z, rank);
        total += 1.0 / (rank + 1);
    }
    uint32_t next = 0;
    for (uint32_t rank = 0; rank < WORDS; rank++) {
        sum += 1.0 / (rank + 1);
        z->cumulated[rank] = rank == WORDS - 1 ? 1 : sum / total;
        for (; next <= GUIDES && next <= z->cumulated[rank] * GUIDES; next++)
            z->guide[next] = rank;
    }
}

static uint32_t pick(struct zipf *z)
{
    uint64_t random = random_next(z) >> 11;
    double share = (double)random / 9007199254740992.0; /* 2^53 */
    uint32_t rank = z->guide[(uint32_t)(share * GUIDES)];
    while (z->cumulated[rank] <= share)
        rank++;
    return rank;
}

int main(int argc, char **argv)
{
    struct zipf *z = calloc(1, sizeof *z);
    if (argc != 2 || z == NULL)
        return 2;
    make_words(z);
    uint64_t size = strtoull(argv[1], NULL, 10);
    for (uint64_t done = 0; done < size;) {
        for (int i = 0; i < WORDS_IN_LINE; i++) {
            uint32_t rank = pick(z);
            bool is_last = i == WORDS_IN_LINE - 1;
            fwrite(z->word[rank], 1, z->size[rank] - (is_last ? 1u : 0u), stdout);
            done += z->size[rank];
        }
        putchar('\n');
    }
    free(z);
    return fclose(stdout) == 0 ? 0 : 1;
}
