#include "mapreduce/token.h"

#include <stdlib.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* clang-format off */
const struct mr_class mr_class_letters = {{
    ['A'] = 1, ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1, ['F'] = 1, ['G'] = 1, ['H'] = 1,
    ['I'] = 1, ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1, ['N'] = 1, ['O'] = 1, ['P'] = 1,
    ['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1, ['V'] = 1, ['W'] = 1, ['X'] = 1,
    ['Y'] = 1, ['Z'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1, ['e'] = 1, ['f'] = 1,
    ['g'] = 1, ['h'] = 1, ['i'] = 1, ['j'] = 1, ['k'] = 1, ['l'] = 1, ['m'] = 1, ['n'] = 1,
    ['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1, ['s'] = 1, ['t'] = 1, ['u'] = 1, ['v'] = 1,
    ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1,
}};
/* clang-format on */

const struct mr_class mr_class_space = {
    {[' '] = 1, ['\t'] = 1, ['\n'] = 1, ['\v'] = 1, ['\f'] = 1, ['\r'] = 1}};

/* ---- classes ---- */

static bool is_in_range(unsigned char byte, char from, char to)
{
    return byte >= (unsigned char)from && byte <= (unsigned char)to;
}

static bool is_alpha(unsigned char byte)
{
    return is_in_range(byte | 0x20, 'a', 'z');
}

static bool is_digit(unsigned char byte)
{
    return is_in_range(byte, '0', '9');
}

static bool is_graphic(unsigned char byte)
{
    return byte > 0x20 && byte < 0x7f;
}

/* True when byte is in %name, for the lower-case names of Lua; a name that is no letter of Lua's
 * stands for itself. */
static bool is_in_named(char name, unsigned char byte)
{
    switch (name) {
    case 'a':
        return is_alpha(byte);
    case 'c':
        return byte < 0x20 || byte == 0x7f;
    case 'd':
        return is_digit(byte);
    case 'g':
        return is_graphic(byte);
    case 'l':
        return is_in_range(byte, 'a', 'z');
    case 'p':
        return is_graphic(byte) && !is_alpha(byte) && !is_digit(byte);
    case 's':
        return mr_class_space.member[byte] != 0;
    case 'u':
        return is_in_range(byte, 'A', 'Z');
    case 'w':
        return is_alpha(byte) || is_digit(byte);
    case 'x':
        return is_digit(byte) || is_in_range(byte | 0x20, 'a', 'f');
    default:
        return byte == (unsigned char)name;
    }
}

static void add_named(struct mr_class *class, char name)
{
    bool is_inverse = strchr("ACDGLPSUWX", name) != NULL && name != '\0';
    char plain = is_inverse ? (char)(name | 0x20) : name;
    for (int byte = 0; byte < 256; byte++)
        if (is_in_named(plain, (unsigned char)byte) != is_inverse)
            class->member[byte] = 1;
}

static void add_range(struct mr_class *class, char from, char to)
{
    for (int byte = (unsigned char)from; byte <= (unsigned char)to; byte++)
        class->member[byte] = 1;
}

static void complement(struct mr_class *class)
{
    for (int byte = 0; byte < 256; byte++)
        class->member[byte] = !class->member[byte];
}

int mr_class_compile(struct mr_class *out, struct peri_slice set, struct peri_error *err)
{
    struct mr_class class = {{0}};
    size_t at = 0;
    bool is_complement = set.size > 1 && set.data[0] == '^';
    if (is_complement)
        at = 1;
    if (at == set.size)
        return peri_fail_plain(err, PERI_EINVAL, "a set needs at least one character");
    while (at < set.size) {
        if (set.data[at] == '%') {
            if (at + 1 == set.size)
                return peri_fail_plain(err, PERI_EINVAL, "the set '%.*s' ends with '%%'",
                                       (int)(set.size < 60 ? set.size : 60), set.data);
            add_named(&class, set.data[at + 1]);
            at += 2;
        } else if (at + 2 < set.size && set.data[at + 1] == '-') {
            add_range(&class, set.data[at], set.data[at + 2]);
            at += 3;
        } else {
            class.member[(unsigned char)set.data[at]] = 1;
            at++;
        }
    }
    if (is_complement)
        complement(&class);
    *out = class;
    return 0;
}

/* ---- words ---- */

enum { BLOCK_SIZE = 64 };

static uint64_t mask_of(const struct mr_class *class, const unsigned char *bytes, size_t size)
{
    uint64_t mask = 0;
    if (size == BLOCK_SIZE)
        for (size_t i = 0; i < BLOCK_SIZE; i++)
            mask |= (uint64_t) class->member[bytes[i]] << i;
    else
        for (size_t i = 0; i < size; i++)
            mask |= (uint64_t) class->member[bytes[i]] << i;
    return mask;
}

#ifdef __SSE2__
enum { VECTOR_SIZE = 16 };

/* A bit for each of 16 bytes that is a letter. Signed comparison: letters are moved to -128.. */
static uint64_t letters_in_vector(const unsigned char *bytes)
{
    __m128i text = _mm_loadu_si128((const __m128i *)(const void *)bytes);
    __m128i folded = _mm_or_si128(text, _mm_set1_epi8(0x20));
    __m128i moved = _mm_sub_epi8(folded, _mm_set1_epi8((char)('a' - INT8_MIN)));
    __m128i is_letter = _mm_cmplt_epi8(moved, _mm_set1_epi8(INT8_MIN + 26));
    return (uint64_t)_mm_movemask_epi8(is_letter);
}

static uint64_t mask_of_letters(const unsigned char *bytes, size_t size)
{
    uint64_t mask = 0;
    size_t done = 0;
    if (size < VECTOR_SIZE)
        return mask_of(&mr_class_letters, bytes, size);
    for (; done + VECTOR_SIZE <= size; done += VECTOR_SIZE)
        mask |= letters_in_vector(bytes + done) << done;
    if (done < size) { /* the last 16 bytes again, for those not done */
        uint64_t last = letters_in_vector(bytes + size - VECTOR_SIZE);
        mask |= last >> (VECTOR_SIZE - (size - done)) << done;
    }
    return mask;
}
#else
static uint64_t mask_of_letters(const unsigned char *bytes, size_t size)
{
    return mask_of(&mr_class_letters, bytes, size);
}
#endif

void mr_words_load(struct mr_words *words)
{
    const unsigned char *bytes = (const unsigned char *)words->next;
    size_t left = (size_t)(words->end - words->next);
    size_t size = left < BLOCK_SIZE ? left : BLOCK_SIZE;
    uint64_t mask = words->word == &mr_class_letters ? mask_of_letters(bytes, size)
                                                     : mask_of(words->word, bytes, size);
    words->edges = mask ^ (mask << 1 | words->was_word);
    words->was_word = mask >> (BLOCK_SIZE - 1);
    words->block = words->next;
    words->next += size;
}

/* ---- pieces ---- */

#ifdef __SSE2__
enum { NEEDLE_SHORT = 32 }; /* bounds what false places cost; memmem's worst case is linear */

/* Looks at 16 places at a time, of which text has as many or more: only where both the first and
 * the last byte of needle stand is the rest compared. */
static const char *find_short(struct peri_slice text, struct peri_slice needle)
{
    const __m128i first = _mm_set1_epi8(needle.data[0]);
    const __m128i last = _mm_set1_epi8(needle.data[needle.size - 1]);
    const char *place = text.data;
    const char *final = text.data + text.size - needle.size + 1 - VECTOR_SIZE;
    for (;;) {
        __m128i begins = _mm_loadu_si128((const __m128i *)(const void *)place);
        __m128i ends = _mm_loadu_si128((const __m128i *)(const void *)(place + needle.size - 1));
        __m128i both = _mm_and_si128(_mm_cmpeq_epi8(begins, first), _mm_cmpeq_epi8(ends, last));
        unsigned mask = (unsigned)_mm_movemask_epi8(both);
        for (; mask != 0; mask &= mask - 1) {
            const char *found = place + __builtin_ctz(mask);
            if (memcmp(found + 1, needle.data + 1, needle.size - 2) == 0)
                return found;
        }
        if (place == final)
            return NULL;
        place = final - place > VECTOR_SIZE ? place + VECTOR_SIZE : final;
    }
}

static const char *find_bytes(struct peri_slice text, struct peri_slice needle)
{
    bool is_short = needle.size <= NEEDLE_SHORT && needle.size + VECTOR_SIZE - 1 <= text.size;
    return is_short ? find_short(text, needle)
                    : memmem(text.data, text.size, needle.data, needle.size);
}
#else
static const char *find_bytes(struct peri_slice text, struct peri_slice needle)
{
    return memmem(text.data, text.size, needle.data, needle.size);
}
#endif

size_t mr_find(struct peri_slice text, struct peri_slice needle, size_t from)
{
    if (from > text.size)
        return SIZE_MAX;
    if (needle.size == 0)
        return from;
    size_t size = text.size - from;
    if (size < needle.size)
        return SIZE_MAX;
    const char *start = text.data + from;
    const char *found = needle.size == 1 ? memchr(start, needle.data[0], size)
                                         : find_bytes(peri_slice_of(start, size), needle);
    return found == NULL ? SIZE_MAX : (size_t)(found - text.data);
}

bool mr_pieces_next(struct mr_pieces *pieces, struct peri_slice *piece)
{
    const char *start = pieces->at;
    if (start == NULL)
        return false;
    struct peri_slice rest = peri_slice_of(start, (size_t)(pieces->end - start));
    size_t size = mr_find(rest, pieces->separator, 0);
    pieces->at = size == SIZE_MAX ? NULL : start + size + pieces->separator.size;
    *piece = peri_slice_of(start, size == SIZE_MAX ? rest.size : size);
    return true;
}

/* ---- lines ---- */

/* The line around found: from the line end before it, or from start, to its own end. */
static struct peri_slice line_around(const char *start, const char *found, const char *end)
{
    const char *before = memrchr(start, '\n', (size_t)(found - start));
    const char *behind = memchr(found, '\n', (size_t)(end - found));
    start = before == NULL ? start : before + 1;
    return peri_slice_of(start, (size_t)((behind == NULL ? end : behind) - start));
}

bool mr_lines_next(struct mr_lines *lines, struct peri_slice *line)
{
    while (lines->at < lines->end) {
        struct peri_slice rest = peri_slice_of(lines->at, (size_t)(lines->end - lines->at));
        size_t found = mr_find(rest, lines->needle, 0);
        if (found == SIZE_MAX)
            break;
        *line = line_around(rest.data, rest.data + found, lines->end);
        const char *behind = line->data + line->size;
        lines->at = behind == lines->end ? behind : behind + 1;
        if (line->size > 0 && line->data[line->size - 1] == '\r')
            line->size--;
        if (mr_find(*line, lines->needle, 0) != SIZE_MAX)
            return true; /* else needle has found its own line end */
    }
    lines->at = lines->end;
    return false;
}

/* ---- the n-th ---- */

bool mr_piece_find(struct peri_slice text, struct peri_slice separator, size_t n,
                   struct peri_slice *piece)
{
    struct mr_pieces pieces = mr_pieces_of(text, separator);
    while (mr_pieces_next(&pieces, piece))
        if (--n == 0)
            return true;
    return false;
}

bool mr_word_find(struct peri_slice text, const struct mr_class *word, size_t n,
                  struct peri_slice *found)
{
    struct mr_words words = mr_words_of(text, word);
    while (mr_words_next(&words, found))
        if (--n == 0)
            return true;
    return false;
}

void mr_lower(struct peri_slice text, char *out)
{
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        out[i] = (char)(byte | (is_in_range(byte, 'A', 'Z') << 5));
    }
}
