#include "vm/rewrite.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#define LENGTH " \"\\0#\"^"

struct rewriter {
    const char *at;
    const char *end;
    const char *copied; /* everything before is in out */
    const char *chunk;
    struct peri_buffer *out;
    int line;
    bool is_after_operand; /* what stands before could be called with a string: no # belongs here */
};

static int copy_until(struct rewriter *r, const char *until)
{
    int rc = peri_buffer_append(r->out, r->copied, (size_t)(until - r->copied));
    r->copied = until;
    return rc;
}

static bool is_refused(struct peri_slice name)
{
    return (name.size == 4 && memcmp(name.data, "__gc", 4) == 0) ||
           (name.size == 6 && memcmp(name.data, "__mode", 6) == 0);
}

static int check_name(const struct rewriter *r, const char *from, const char *until,
                      struct peri_error *err)
{
    struct peri_slice name = peri_slice_of(from, (size_t)(until - from));
    if (!is_refused(name))
        return 0;
    return peri_fail_plain(err, PERI_ELUA,
                           "%s:%d: %.*s is not available in a machine: what it does depends on the "
                           "garbage collector",
                           r->chunk, r->line, (int)name.size, name.data);
}

static void count_lines(struct rewriter *r, const char *until)
{
    for (; r->at < until; r->at++)
        r->line += *r->at == '\n';
}

/* The level of the long bracket that opens at p ("[==[" has 2), or -1. */
static int bracket_level(const struct rewriter *r, const char *p)
{
    const char *q = p + 1;
    if (p == r->end || *p != '[')
        return -1;
    while (q < r->end && *q == '=')
        q++;
    return q < r->end && *q == '[' ? (int)(q - p) - 1 : -1;
}

/* Where the text of a long bracket ends, whose text begins at p; the end of all when it is open. */
static const char *bracket_end(const struct rewriter *r, const char *p, int level)
{
    for (; p < r->end; p++) {
        const char *q = p + 1;
        if (*p != ']')
            continue;
        while (q < r->end && *q == '=')
            q++;
        if (q < r->end && *q == ']' && q - p - 1 == level)
            return p;
    }
    return p;
}

static int skip_bracket(struct rewriter *r, int level, bool is_string, struct peri_error *err)
{
    const char *text = r->at + level + 2;
    const char *until = bracket_end(r, text, level);
    int rc = is_string ? check_name(r, text, until, err) : 0;
    count_lines(r, until);
    if (r->at < r->end)
        r->at += level + 2;
    return rc;
}

static bool is_newline(char byte)
{
    return byte == '\n' || byte == '\r';
}

static int skip_comment(struct rewriter *r)
{
    r->at += 2;
    int level = bracket_level(r, r->at);
    if (level >= 0)
        return skip_bracket(r, level, false, NULL);
    while (r->at < r->end && !is_newline(*r->at))
        r->at++;
    return 0;
}

/* Behind the escape sequence at p: a backslash takes the next byte with it, be it a quote or an end
 * of line, which may have two; \z takes all white space. */
static const char *skip_escape(const struct rewriter *r, const char *p)
{
    char escaped = *++p;
    p++;
    if (escaped == 'z')
        while (p < r->end && isspace((unsigned char)*p))
            p++;
    else if (is_newline(escaped) && p < r->end && is_newline(*p) && *p != escaped)
        p++;
    return p;
}

/* An end of line that is not escaped ends what is then no string. */
static int skip_string(struct rewriter *r, struct peri_error *err)
{
    char quote = *r->at;
    const char *p = r->at + 1;
    while (p < r->end && *p != quote && !is_newline(*p))
        p = *p == '\\' && p + 1 < r->end ? skip_escape(r, p) : p + 1;
    int rc = check_name(r, r->at + 1, p, err);
    count_lines(r, p < r->end && *p == quote ? p + 1 : p);
    return rc;
}

static bool is_name_byte(char byte)
{
    return isalnum((unsigned char)byte) || byte == '_';
}

/* True for the words that an expression follows. */
static bool is_operator(struct peri_slice name)
{
    static const char *const words[] = {"and", "elseif", "if",    "in",   "not",
                                        "or",  "return", "until", "while"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (name.size == strlen(words[i]) && memcmp(name.data, words[i], name.size) == 0)
            return true;
    return false;
}

/* Names and numbers. */
static int skip_name(struct rewriter *r, struct peri_error *err)
{
    const char *from = r->at;
    while (r->at < r->end && is_name_byte(*r->at))
        r->at++;
    r->is_after_operand = !is_operator(peri_slice_of(from, (size_t)(r->at - from)));
    return check_name(r, from, r->at, err);
}

static int replace_length(struct rewriter *r)
{
    int rc = copy_until(r, r->at);
    if (rc == 0)
        rc = peri_buffer_append(r->out, LENGTH, sizeof LENGTH - 1);
    r->copied = ++r->at;
    return rc;
}

static int step(struct rewriter *r, struct peri_error *err)
{
    char byte = *r->at;
    int level;
    if (is_name_byte(byte))
        return skip_name(r, err);
    if (byte == '-' && r->at + 1 < r->end && r->at[1] == '-')
        return skip_comment(r);
    if (byte == '#' && !r->is_after_operand)
        return replace_length(r);
    if (!isspace((unsigned char)byte))
        r->is_after_operand = byte != '\0' && strchr(")]}\"'", byte) != NULL;
    if (byte == '"' || byte == '\'')
        return skip_string(r, err);
    if (byte == '[' && (level = bracket_level(r, r->at)) >= 0) {
        r->is_after_operand = true;
        return skip_bracket(r, level, true, err);
    }
    count_lines(r, r->at + 1);
    return 0;
}

int vm_rewrite(struct peri_slice text, const char *chunk, struct peri_buffer *out,
               struct peri_error *err)
{
    struct rewriter r = {text.data, text.data + text.size, text.data, chunk, out, 1, false};
    int rc = 0;
    if (text.size > 0 && *r.at == '#') {
        const char *newline = memchr(r.at, '\n', text.size);
        r.at = r.copied = newline != NULL ? newline : r.end;
    }
    while (rc == 0 && r.at < r.end)
        rc = step(&r, err);
    if (rc == 0)
        rc = copy_until(&r, r.end);
    return rc == PERI_ENOMEM ? peri_fail(err, rc, "the text of %s", chunk) : rc;
}
