/* Partial connectivity: five replicas, sets of links between them. A replica that hears a
 * majority is elected although others hear only some, and those unsettle nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "raft_random.h"

/* One in so many; "test_raft_links all" takes every one. */
static unsigned every = 7;

static void test_sets_of_links(void **state)
{
    (void)state;
    for (unsigned links = 0; links < 1U << RAFT_LINKS; links += every) {
        struct peri_error err = PERI_ERROR_INIT;
        if (raft_random_links(links + 1, links, &err) != 0)
            fail_msg("links %#x: %s", links, err.text);
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "all") == 0)
        every = 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sets_of_links)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
