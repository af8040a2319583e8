/* The limit: what one core can do with a hash table and no engine around it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS (1u << 20)

struct slot {
    const char *word;
    uint32_t size;
    uint32_t count;
};

int main(int argc, char **argv)
{
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : stdin;
    struct slot *table = calloc(SLOTS, sizeof *table);
    if (file == NULL || table == NULL || fseek(file, 0, SEEK_END) != 0)
        return 1;
    size_t size = (size_t)ftell(file);
    char *text = malloc(size + 1);
    rewind(file);
    if (text == NULL || fread(text, 1, size, file) != size)
        return 1;
    text[size] = '\0';
    for (const char *p = text, *end = text + size; p < end;) {
        const char *word = p;
        uint32_t hash = 2166136261u;
        while ((unsigned char)((*p | 32) - 'a') < 26)
            hash = (hash ^ (unsigned char)*p++) * 16777619u;
        uint32_t length = (uint32_t)(p - word);
        if (length == 0) {
            p++;
            continue;
        }
        uint32_t at = hash & (SLOTS - 1);
        while (table[at].word != NULL &&
               (table[at].size != length || memcmp(table[at].word, word, length) != 0))
            at = (at + 1) & (SLOTS - 1);
        table[at] =
            (struct slot){table[at].word ? table[at].word : word, length, table[at].count + 1};
    }
    for (uint32_t at = 0; at < SLOTS; at++)
        if (table[at].word != NULL)
            printf("%.*s %u\n", (int)table[at].size, table[at].word, table[at].count);
    return 0;
}
