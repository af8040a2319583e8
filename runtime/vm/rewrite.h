/* rewrite.h - Lua text whose operator # asks us.
 *
 * Stock's # of a table with holes depends on how the table came to be (chaos.md, finding 3: one
 * table in six differs after a restore), and no metamethod can change it for tables without
 * metatable. So text is rewritten before it is compiled: each operator # becomes "\0#"^, the power
 * of a string that says so, and the metamethod of strings for ^ asks vm/border.h. Both operators
 * bind the same: ^ takes its right operand as a unary operator does (#x^2 is #(x^2)), and binds
 * tighter to the left than any operator that could stand there. Only # in strings and comments must
 * be left alone, and # behind an operand, for the compiler to refuse; lines stay where they are,
 * columns do not. What differs: a syntax error just behind a # is "near '^'" or the like.
 *
 * Refused, because what they ask for depends on the collector: the names __gc and __mode, as
 * identifiers and as whole strings. */
#ifndef PERI_VM_REWRITE_H
#define PERI_VM_REWRITE_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/slice.h"

/* Appends the rewritten text to out. A first line that starts with # is left out, its end of line
 * kept. chunk names the text in messages. Errors: PERI_ENOMEM; PERI_ELUA with "chunk:line: ..." for
 * a refused name. Text that is no Lua is copied as it is, for the compiler to refuse. */
int vm_rewrite(struct peri_slice text, const char *chunk, struct peri_buffer *out,
               struct peri_error *err);

#endif
