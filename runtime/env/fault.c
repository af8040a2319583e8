#include "env/fault.h"

#include <string.h>

#define PERI_COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct env_fault_info table[] = {
#define FAULT(id, name, target, unit, min, max, text)                                              \
    {name, ENV_FAULT_TARGET_##target, ENV_FAULT_UNIT_##unit, min, max, text},
#include "env/fault.def"
#undef FAULT
};

/* What people write behind a number. */
struct suffix {
    const char *text;
    int64_t factor; /* the number's value is multiplied by it */
};

#define KI INT64_C(1024)
#define KILO INT64_C(1000)

static const struct suffix time_suffixes[] = {
    {"us", 1},
    {"ms", KILO},
    {"s", KILO *KILO},
    {"m", 60 * KILO *KILO},
    {"h", 3600 * KILO *KILO},
    {"", KILO *KILO},
};
static const struct suffix ppm_suffixes[] = {{"ppm", 1}, {"%", 10000}, {"", KILO *KILO}};
static const struct suffix byte_suffixes[] = {
    {"KiB", KI},
    {"MiB", KI *KI},
    {"GiB", KI *KI *KI},
    {"kB", KILO},
    {"MB", KILO *KILO},
    {"GB", KILO *KILO *KILO},
    {"B", 1},
    {"", 1},
    {"KiB/s", KI},
    {"MiB/s", KI *KI},
    {"kB/s", KILO},
    {"MB/s", KILO *KILO},
    {"GB/s", KILO *KILO *KILO},
    {"B/s", 1},
};
static const struct suffix count_suffixes[] = {{"", 1}};

struct unit {
    const char *name;
    const char *example;
    const struct suffix *suffixes;
    size_t suffix_count;
    bool is_signed;
};

static const struct unit units[] = {
    [ENV_FAULT_UNIT_NONE] = {"nothing", "nothing", NULL, 0, false},
    [ENV_FAULT_UNIT_FLAG] = {"a flag", "\"on\" or \"off\"", NULL, 0, false},
    [ENV_FAULT_UNIT_COUNT] = {"a count", "3", count_suffixes, 1, false},
    [ENV_FAULT_UNIT_PPM] = {"a share", "0.01, \"1%\" or \"10000ppm\"", ppm_suffixes,
                            PERI_COUNT(ppm_suffixes), false},
    [ENV_FAULT_UNIT_SIGNED_PPM] = {"a signed share", "\"-200ppm\" or \"1%\"", ppm_suffixes,
                                   PERI_COUNT(ppm_suffixes), true},
    [ENV_FAULT_UNIT_US] = {"a time", "\"20ms\" or 1.5 (s)", time_suffixes,
                           PERI_COUNT(time_suffixes), false},
    [ENV_FAULT_UNIT_SIGNED_US] = {"a signed time", "\"-20ms\" or 1.5 (s)", time_suffixes,
                                  PERI_COUNT(time_suffixes), true},
    [ENV_FAULT_UNIT_BYTES] = {"a size", "\"64KiB\"", byte_suffixes, PERI_COUNT(byte_suffixes),
                              false},
    [ENV_FAULT_UNIT_BYTES_PER_S] = {"a rate", "\"10MB/s\"", byte_suffixes,
                                    PERI_COUNT(byte_suffixes), false},
    [ENV_FAULT_UNIT_DELAY] = {"a distribution of times", "{\"uniform\", \"1ms\", \"10ms\"}", NULL,
                              0, false},
};

const struct env_fault_info *env_fault_info(enum env_fault fault)
{
    return &table[fault];
}

int env_fault_from_name(const char *name)
{
    for (int fault = 0; fault < ENV_FAULT_COUNT; fault++)
        if (strcmp(table[fault].name, name) == 0)
            return fault;
    return PERI_EINVAL;
}

const char *env_fault_unit_name(enum env_fault_unit unit)
{
    return units[unit].name;
}

static const char *const shape_names[] = {"constant", "uniform", "exponential", "long_tail"};

const char *env_delay_shape_name(enum env_delay_shape shape)
{
    return shape_names[shape];
}

int env_delay_shape_from_name(const char *name)
{
    for (size_t shape = 0; shape < PERI_COUNT(shape_names); shape++)
        if (strcmp(shape_names[shape], name) == 0)
            return (int)shape;
    return PERI_EINVAL;
}

/* ---- parsing: decimal numbers become integers without floating point ---- */

/* A decimal number: digits / 10^decimals. */
struct decimal {
    int64_t digits;
    unsigned decimals;
    bool is_negative;
};

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* Returns how many bytes it took; 0: not a number, or one with more than 15 digits. */
static size_t scan(struct peri_slice text, struct decimal *out)
{
    enum { DIGITS_MAX = 15 };
    size_t at = text.size > 0 && (*text.data == '-' || *text.data == '+');
    unsigned digits = 0;
    bool has_point = false;
    *out = (struct decimal){.is_negative = at > 0 && *text.data == '-'};
    for (; at < text.size; at++) {
        if (text.data[at] == '.' && !has_point) {
            has_point = true;
        } else if (is_digit(text.data[at])) {
            out->digits = out->digits * 10 + (text.data[at] - '0');
            out->decimals += has_point;
            digits++;
        } else {
            break;
        }
    }
    return digits > 0 && digits <= DIGITS_MAX ? at : 0;
}

static const struct suffix *find_suffix(const struct unit *unit, struct peri_slice text)
{
    for (size_t i = 0; i < unit->suffix_count; i++)
        if (strlen(unit->suffixes[i].text) == text.size &&
            (text.size == 0 || memcmp(unit->suffixes[i].text, text.data, text.size) == 0))
            return &unit->suffixes[i];
    return NULL;
}

/* Rounds towards zero; negative for what does not fit. */
static int scale(const struct decimal *decimal, int64_t factor, int64_t *out)
{
    __extension__ __int128 value = (__int128)decimal->digits * factor;
    for (unsigned i = 0; i < decimal->decimals; i++)
        value /= 10;
    if (value > INT64_MAX)
        return PERI_EINVAL;
    *out = decimal->is_negative ? -(int64_t)value : (int64_t)value;
    return 0;
}

static int fail_parse(const struct unit *unit, struct peri_slice text, struct peri_error *err)
{
    return peri_fail_plain(err, PERI_EINVAL, "\"%.*s\" is not %s, such as %s",
                           (int)(text.size < 40 ? text.size : 40), text.data, unit->name,
                           unit->example);
}

static bool is_text(struct peri_slice text, const char *wanted)
{
    return text.size == strlen(wanted) && memcmp(text.data, wanted, text.size) == 0;
}

int env_fault_parse(enum env_fault_unit unit, struct peri_slice text, int64_t *out,
                    struct peri_error *err)
{
    struct decimal decimal;
    if (unit == ENV_FAULT_UNIT_FLAG && (is_text(text, "on") || is_text(text, "off"))) {
        *out = is_text(text, "on");
        return 0;
    }
    size_t taken = scan(text, &decimal);
    const struct suffix *suffix =
        taken > 0 ? find_suffix(&units[unit], peri_slice_of(text.data + taken, text.size - taken))
                  : NULL;
    bool is_part = unit == ENV_FAULT_UNIT_COUNT && decimal.decimals > 0;
    if (suffix == NULL || is_part || (decimal.is_negative && !units[unit].is_signed) ||
        scale(&decimal, suffix->factor, out) != 0)
        return fail_parse(&units[unit], text, err);
    if (*out == 0 && decimal.digits != 0)
        return peri_fail_plain(err, PERI_EINVAL, "\"%.*s\" is too small for %s", (int)text.size,
                               text.data, units[unit].name);
    return 0;
}

static int check_number(const struct env_fault_info *info, int64_t number, struct peri_error *err)
{
    if (number >= info->min && number <= info->max)
        return 0;
    return peri_fail_plain(err, PERI_EINVAL, "fault %s: %s of %lld is outside %lld .. %lld",
                           info->name, units[info->unit].name, (long long)number,
                           (long long)info->min, (long long)info->max);
}

int env_fault_check(enum env_fault fault, const struct env_fault_value *value,
                    struct peri_error *err)
{
    const struct env_fault_info *info = &table[fault];
    if (info->unit == ENV_FAULT_UNIT_NONE)
        return 0;
    if (info->unit != ENV_FAULT_UNIT_DELAY)
        return check_number(info, value->number, err);
    const struct env_delay *delay = &value->delay;
    uint64_t max = (uint64_t)info->max;
    if (delay->low_us > max || delay->high_us > max || delay->tail_us > max)
        return peri_fail_plain(err, PERI_EINVAL, "fault %s: a delay of more than %llu us",
                               info->name, (unsigned long long)max);
    bool is_range = delay->shape == ENV_DELAY_UNIFORM || delay->shape == ENV_DELAY_LONG_TAIL;
    if (is_range && delay->high_us < delay->low_us)
        return peri_fail_plain(err, PERI_EINVAL, "fault %s: delays from %llu to %llu us",
                               info->name, (unsigned long long)delay->low_us,
                               (unsigned long long)delay->high_us);
    return 0;
}
