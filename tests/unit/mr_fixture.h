/* mr_fixture.h - what the tests of the record path share: an environment, a scratch directory that
 * must be empty in the end, seeded numbers, encoded keys and values. */
#ifndef PERI_TESTS_MR_FIXTURE_H
#define PERI_TESTS_MR_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "env/env.h"
#include "env/uv.h"
#include "mapreduce/value.h"

struct fixture {
    struct env *env;
    char dir[64];
    char path[8][96]; /* dir/0, dir/1, ... */
};

static inline int fixture_setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct peri_error err = PERI_ERROR_INIT;
    if (fixture == NULL || env_uv_create(&fixture->env, &err) != 0)
        return -1;
    strcpy(fixture->dir, "/tmp/perilune-mr-XXXXXX");
    if (mkdtemp(fixture->dir) == NULL)
        return -1;
    for (int i = 0; i < 8; i++)
        (void)snprintf(fixture->path[i], sizeof fixture->path[i], "%s/%d", fixture->dir, i);
    *state = fixture;
    return 0;
}

/* Fails when a test left files behind: temporary files are the code's to remove. */
static inline int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    int rc = rmdir(fixture->dir);
    if (rc != 0)
        print_error("%s is not empty\n", fixture->dir);
    env_close(fixture->env);
    free(fixture);
    return rc;
}

/* splitmix64. */
static inline uint64_t random_next(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline uint64_t random_below(uint64_t *seed, uint64_t limit)
{
    return random_next(seed) % limit;
}

/* Appends an encoded value, or a key of one part, to an emptied buffer. */
static inline struct peri_slice value_of(struct peri_buffer *out, struct mr_datum datum)
{
    out->size = 0;
    assert_int_equal(mr_value_encode(&datum, out), 0);
    return peri_buffer_slice(out);
}

static inline struct peri_slice key_of(struct peri_buffer *out, struct mr_datum datum)
{
    out->size = 0;
    assert_int_equal(mr_key_encode(&datum, 1, out, NULL), 0);
    return peri_buffer_slice(out);
}

static inline struct mr_datum integer_of(int64_t integer)
{
    return (struct mr_datum){.type = MR_INTEGER, .integer = integer};
}

static inline struct mr_datum float_of(double number)
{
    return (struct mr_datum){.type = MR_FLOAT, .number = number};
}

static inline struct mr_datum string_of(const char *text)
{
    return (struct mr_datum){.type = MR_STRING, .string = peri_slice_of(text, strlen(text))};
}

#endif
