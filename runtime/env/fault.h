/* fault.h - the vocabulary of what can go wrong, as data (fault.def), and its values. */
#ifndef PERI_ENV_FAULT_H
#define PERI_ENV_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"

enum env_fault {
#define FAULT(id, name, target, unit, min, max, text) ENV_FAULT_##id,
#include "env/fault.def"
#undef FAULT
    ENV_FAULT_COUNT
};

enum env_fault_target { ENV_FAULT_TARGET_LINK, ENV_FAULT_TARGET_NODE };

/* What a value's number counts, and how people write it (env_fault_parse). */
enum env_fault_unit {
    ENV_FAULT_UNIT_NONE,
    ENV_FAULT_UNIT_FLAG,        /* 0 or 1: "on", "off" */
    ENV_FAULT_UNIT_COUNT,       /* "3" */
    ENV_FAULT_UNIT_PPM,         /* parts of a million: "0.01", "1%", "100ppm" */
    ENV_FAULT_UNIT_SIGNED_PPM,  /* the same with a sign: "-200ppm" */
    ENV_FAULT_UNIT_US,          /* microseconds: "20us", "1.5ms", "10s", "2m", "1h"; alone: s */
    ENV_FAULT_UNIT_SIGNED_US,   /* the same with a sign: "-2s" */
    ENV_FAULT_UNIT_BYTES,       /* "512", "4KiB", "1MB", "2GiB" */
    ENV_FAULT_UNIT_BYTES_PER_S, /* "125MB", "125MB/s" */
    ENV_FAULT_UNIT_DELAY,       /* a distribution of times: struct env_delay */
};

enum env_delay_shape {
    ENV_DELAY_CONSTANT,    /* low */
    ENV_DELAY_UNIFORM,     /* low to high, both possible */
    ENV_DELAY_EXPONENTIAL, /* low, and beyond it an exponential part with mean high */
    ENV_DELAY_LONG_TAIL,   /* 999 of 1000 uniform, the others high plus an exponential part of mean
                              tail */
};

/* A distribution of delays. */
struct env_delay {
    enum env_delay_shape shape;
    uint64_t low_us, high_us, tail_us;
};

struct env_fault_value {
    int64_t number;         /* of every unit but DELAY */
    struct env_delay delay; /* of DELAY */
};

struct env_fault_info {
    const char *name;
    enum env_fault_target target;
    enum env_fault_unit unit;
    int64_t min, max;
    const char *text; /* what it does, for the documentation */
};

/* The row of fault.def. Lent for ever. */
const struct env_fault_info *env_fault_info(enum env_fault fault);

/* The fault of a name, or negative when no fault has that name. */
int env_fault_from_name(const char *name);

/* "ppm", "time", ...: the name of a unit, for messages. Lent for ever. */
const char *env_fault_unit_name(enum env_fault_unit unit);

/* Reads one number with its unit; not DELAY, whose parts are US. Errors: PERI_EINVAL, and err says
 * what was expected. */
int env_fault_parse(enum env_fault_unit unit, struct peri_slice text, int64_t *out,
                    struct peri_error *err);

/* Checks a value against the fault's range. Errors: PERI_EINVAL, and err names range and unit. */
int env_fault_check(enum env_fault fault, const struct env_fault_value *value,
                    struct peri_error *err);

enum { ENV_FAULT_TEXT_SIZE = 128 };

/* Writes a value as env_fault_parse reads it, or a distribution as a scenario writes it: "1.5ms",
 * "0.5%", "uniform 1ms 10ms"; "" for none. Of a share that has more digits, the first ten. */
void env_fault_format(enum env_fault_unit unit, const struct env_fault_value *value,
                      char out[ENV_FAULT_TEXT_SIZE]);

/* The name of a shape. Lent for ever. */
const char *env_delay_shape_name(enum env_delay_shape shape);

/* The shape of a name ("constant", "uniform", "exponential", "long_tail"), or negative. */
int env_delay_shape_from_name(const char *name);

#endif
