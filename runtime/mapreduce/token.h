/* token.h - words, fields and lines in bytes, without copying. Pure. */
#ifndef PERI_MAPREDUCE_TOKEN_H
#define PERI_MAPREDUCE_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"

/* A set of bytes: member[b] is 1 when it holds b, else 0. */
struct mr_class {
    unsigned char member[256];
};

/* A-Z and a-z. Lent for ever. */
extern const struct mr_class mr_class_letters;
/* Space, tab, line feed, vertical tab, form feed, carriage return. Lent for ever. */
extern const struct mr_class mr_class_space;

/* Compiles the inside of a Lua set ("%a", "%w_", "a-z'", "^%s"), as between [ and ] in a pattern,
 * in the C locale. Errors: PERI_EINVAL for an empty set or a % at the end. */
int mr_class_compile(struct mr_class *out, struct peri_slice set, struct peri_error *err);

/* Walks the longest runs of bytes in a class; filled by mr_words_of, class is borrowed. The text is
 * looked at in blocks of 64 bytes: one bit for each byte says whether a run begins or ends there,
 * so that the walk has no branch for each byte. Edges are starts and ends in turn. */
struct mr_words {
    const char *block; /* that edges is about */
    const char *next;  /* the block behind it */
    const char *end;
    const struct mr_class *word;
    uint64_t edges;    /* not yet visited */
    uint64_t was_word; /* 1 when the byte before next is in the class */
};

/* Starts in front of the first word of text, which stays lent to the walk. */
static inline struct mr_words mr_words_of(struct peri_slice text, const struct mr_class *word)
{
    const char *data = text.size == 0 ? "" : text.data;
    return (struct mr_words){data, data, data + text.size, word, 0, 0};
}

/* Finds the edges of the next block; there is one. */
void mr_words_load(struct mr_words *words);

/* The next place where a word begins or ends; the end of the text when there is none. */
static inline const char *mr_words_edge(struct mr_words *words)
{
    while (words->edges == 0) {
        if (words->next == words->end)
            return words->end;
        mr_words_load(words);
    }
    const char *edge = words->block + __builtin_ctzll(words->edges);
    words->edges &= words->edges - 1;
    return edge;
}

/* Moves to the next word; false at the end. */
static inline bool mr_words_next(struct mr_words *words, struct peri_slice *word)
{
    const char *start = mr_words_edge(words);
    const char *end = mr_words_edge(words);
    *word = peri_slice_of(start, (size_t)(end - start));
    return start != end;
}

/* Walks the pieces between separators; empty pieces count, and empty text is one empty piece. */
struct mr_pieces {
    const char *at; /* NULL after the last piece */
    const char *end;
    struct peri_slice separator; /* at least one byte */
};

/* Starts in front of the first piece of text, which stays lent to the walk. */
static inline struct mr_pieces mr_pieces_of(struct peri_slice text, struct peri_slice separator)
{
    const char *data = text.size == 0 ? "" : text.data;
    return (struct mr_pieces){data, data + text.size, separator};
}

/* Moves to the next piece; false at the end. */
bool mr_pieces_next(struct mr_pieces *pieces, struct peri_slice *piece);

/* Walks the lines that contain needle (all of them when it is empty), without their line ends (LF
 * or CR LF). Looks for needle in the whole text at once, not line by line. */
struct mr_lines {
    const char *at;
    const char *end;
    struct peri_slice needle;
};

static inline struct mr_lines mr_lines_of(struct peri_slice text, struct peri_slice needle)
{
    const char *data = text.size == 0 ? "" : text.data;
    return (struct mr_lines){data, data + text.size, needle};
}

/* Moves to the next line; false at the end. */
bool mr_lines_next(struct mr_lines *lines, struct peri_slice *line);

/* The n-th (from 1) piece, or word of a class. False when there are fewer. */
bool mr_piece_find(struct peri_slice text, struct peri_slice separator, size_t n,
                   struct peri_slice *piece);
bool mr_word_find(struct peri_slice text, const struct mr_class *word, size_t n,
                  struct peri_slice *found);

/* Offset of needle in text at or after from, or SIZE_MAX. An empty needle is found at from. */
size_t mr_find(struct peri_slice text, struct peri_slice needle, size_t from);

/* Copies text to out (as long) with A-Z as a-z. */
void mr_lower(struct peri_slice text, char *out);

#endif
