/* assert.h - assertions that stay on in release: a wrong node stops rather than lies.
 *
 * Assert what only a bug can break; return what the world can break. */
#ifndef PERI_BASE_ASSERT_H
#define PERI_BASE_ASSERT_H

/* Prints "file:line: function: assertion failed: text" on stderr and aborts. */
_Noreturn void peri_assert_failed(const char *file, int line, const char *function,
                                  const char *text);

#define PERI_ASSERT(fact)                                                                          \
    ((fact) ? (void)0 : peri_assert_failed(__FILE__, __LINE__, __func__, #fact))

/* The object that holds member at pointer. */
#define container_of(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
