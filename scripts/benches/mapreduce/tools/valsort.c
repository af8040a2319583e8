/* valsort.c - judges sorted records on stdin as valsort does, and prints one line:
 * "records N checksum HEX duplicates N unordered N".
 *
 * The checksum is the sum of the records' CRC-32 modulo 2^128, which no order changes: it equals
 * that of the unsorted records when none was lost, doubled or damaged. Exit code 1 when a key is
 * smaller than the one before it, or bytes are left over. */
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "records.h"

static void print_hex(u128 n)
{
    uint64_t high = (uint64_t)(n >> 64), low = (uint64_t)n;
    if (high != 0)
        printf("%llx%016llx", (unsigned long long)high, (unsigned long long)low);
    else
        printf("%llx", (unsigned long long)low);
}

int main(void)
{
    char record[RECORD_SIZE], last[RECORD_KEY_SIZE];
    unsigned long long count = 0, duplicates = 0, unordered = 0;
    u128 sum = 0;
    size_t size;
    while ((size = fread(record, 1, RECORD_SIZE, stdin)) == RECORD_SIZE) {
        int order = count == 0 ? -1 : memcmp(last, record, RECORD_KEY_SIZE);
        duplicates += order == 0;
        unordered += order > 0;
        sum += crc32(0, (const unsigned char *)record, RECORD_SIZE);
        memcpy(last, record, RECORD_KEY_SIZE);
        count++;
    }
    printf("records %llu checksum ", count);
    print_hex(sum);
    printf(" duplicates %llu unordered %llu\n", duplicates, unordered);
    return unordered == 0 && size == 0 ? 0 : 1;
}
