/* gensort.c - writes records first .. first+count-1 of the sort benchmark to stdout.
 *
 * Usage: gensort ascii|v1.1|v1.5 COUNT [FIRST]. "ascii" is gensort -a, "v1.1" what Hadoop's TeraGen
 * makes, "v1.5" the incompressible binary form. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "records.h"

struct random {
    u128 x;
};

static u128 random_next(struct random *r)
{
    return r->x = r->x * RECORD_A + RECORD_C;
}

/* Moves n numbers on. Two steps x*a+c are one step with a*a and c*(a+1): squares of squares. */
static void random_skip(struct random *r, uint64_t n)
{
    for (u128 a = RECORD_A, c = RECORD_C; n > 0; n >>= 1) {
        if (n & 1)
            r->x = r->x * a + c;
        c *= a + 1;
        a *= a;
    }
}

/* Digit i of the 32 upper-case hexadecimal digits of n. */
static char digit(u128 n, int i)
{
    return "0123456789ABCDEF"[(unsigned)(n >> (124 - 4 * i)) & 15];
}

static void put_digits(char *to, u128 n)
{
    for (int i = 0; i < 32; i++)
        to[i] = digit(n, i);
}

static void put_top_bytes(char *to, u128 n)
{
    for (int i = 0; i < RECORD_KEY_SIZE; i++)
        to[i] = (char)(n >> (120 - 8 * i));
}

static void put_printable(char *to, int count, uint64_t n)
{
    for (int i = 0; i < count; i++, n /= 95)
        to[i] = (char)(32 + n % 95);
}

static void put_filler(char *to, u128 x, int first_digit)
{
    for (int i = first_digit; i < 32; i++, to += 4)
        memset(to, digit(x, i), 4);
}

static void make_ascii(char *record, struct random *r, uint64_t number)
{
    u128 x = random_next(r);
    put_printable(record, 8, (uint64_t)(x >> 64));
    put_printable(record + 8, 2, (uint64_t)x);
    memset(record + 10, ' ', 2);
    put_digits(record + 12, number);
    memset(record + 44, ' ', 2);
    put_filler(record + 46, x, 19);
    record[98] = '\r';
    record[99] = '\n';
}

static void make_v11(char *record, struct random *r, uint64_t number)
{
    u128 x = random_next(r);
    put_top_bytes(record, x);
    memcpy(record + 10, "\x00\x11", 2);
    put_digits(record + 12, number);
    memcpy(record + 44, "\x88\x99\xAA\xBB", 4);
    put_filler(record + 48, x, 20);
    memcpy(record + 96, "\xCC\xDD\xEE\xFF", 4);
}

/* Ten parts from the next ten numbers; the record itself moves the sequence by one. */
static void make_v15(char *record, struct random *r, uint64_t number)
{
    static const unsigned char mask[10][10] = {
        {0},
        {0xF0, 0xE8, 0xE4, 0xE2, 0xE1, 0xD8, 0xD4, 0xD2, 0xD1, 0xCC},
        {0xCA, 0xC9, 0xC6, 0xC5, 0xC3, 0xB8, 0xB4, 0xB2, 0xB1, 0xAC},
        {0xAA, 0xA9, 0xA6, 0xA5, 0xA3, 0x9C, 0x9A, 0x99, 0x96, 0x95},
        {0x93, 0x8E, 0x8D, 0x8B, 0x87, 0x78, 0x74, 0x72, 0x71, 0x6C},
        {0x6A, 0x69, 0x66, 0x65, 0x63, 0x5C, 0x5A, 0x59, 0x56, 0x55},
        {0x53, 0x4E, 0x4D, 0x4B, 0x47, 0x3C, 0x3A, 0x39, 0x36, 0x35},
        {0x33, 0x2E, 0x2D, 0x2B, 0x27, 0x1E, 0x1D, 0x1B, 0x17, 0x0F},
        {0xC8, 0xC4, 0xC2, 0xC1, 0x98, 0x94, 0x92, 0x91, 0x8C, 0xE0},
        {0x17, 0x0F, 0x33, 0x2E, 0x2D, 0x2B, 0x27, 0x1E, 0x1D, 0x1B},
    };
    (void)number;
    struct random ahead = *r;
    for (int part = 0; part < 10; part++) {
        char *to = record + part * 10;
        put_top_bytes(to, random_next(&ahead));
        for (int i = 0; i < 10; i++)
            to[i] = (char)(to[i] ^ mask[part][i]);
    }
    random_next(r);
}

typedef void make_record(char *record, struct random *r, uint64_t number);

static make_record *kind_of(const char *name)
{
    if (strcmp(name, "ascii") == 0)
        return make_ascii;
    if (strcmp(name, "v1.1") == 0)
        return make_v11;
    return strcmp(name, "v1.5") == 0 ? make_v15 : NULL;
}

int main(int argc, char **argv)
{
    make_record *make = argc == 3 || argc == 4 ? kind_of(argv[1]) : NULL;
    if (make == NULL) {
        fprintf(stderr, "usage: gensort ascii|v1.1|v1.5 COUNT [FIRST]\n");
        return 2;
    }
    uint64_t count = strtoull(argv[2], NULL, 10);
    uint64_t first = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
    struct random r = {0};
    random_skip(&r, first);
    for (uint64_t number = first; number < first + count; number++) {
        char record[RECORD_SIZE];
        make(record, &r, number);
        if (fwrite(record, RECORD_SIZE, 1, stdout) != 1)
            return 1;
    }
    return fclose(stdout) == 0 ? 0 : 1;
}
