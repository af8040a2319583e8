#include "env/fault.h"

#include <inttypes.h>
#include <stdio.h>
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

/* ---- writing ---- */

/* The largest unit that leaves no fraction; of those that say what is counted. */
static const struct suffix *suffix_for(enum env_fault_unit unit, int64_t number)
{
    const struct unit *row = &units[unit];
    const struct suffix *found = NULL;
    for (size_t i = 0; i < row->suffix_count; i++) {
        const struct suffix *suffix = &row->suffixes[i];
        bool is_rate = strstr(suffix->text, "/s") != NULL;
        if (suffix->text[0] == '\0' || is_rate != (unit == ENV_FAULT_UNIT_BYTES_PER_S))
            continue;
        bool is_better = found == NULL || suffix->factor > found->factor;
        if (suffix->factor == 1 || (number % suffix->factor == 0 && is_better))
            found = is_better ? suffix : found;
    }
    return found;
}

static void format_number(enum env_fault_unit unit, int64_t number, char *out, size_t size)
{
    enum { PERCENT_PPM = 10000 };
    const struct suffix *suffix = suffix_for(unit, number);
    if (unit == ENV_FAULT_UNIT_FLAG && (number == 0 || number == 1))
        (void)snprintf(out, size, "%s", number != 0 ? "on" : "off");
    else if (unit == ENV_FAULT_UNIT_PPM || unit == ENV_FAULT_UNIT_SIGNED_PPM)
        (void)snprintf(out, size, "%.10g%%", (double)number / PERCENT_PPM);
    else if (suffix == NULL || number == 0)
        (void)snprintf(out, size, "%" PRId64, number);
    else
        (void)snprintf(out, size, "%" PRId64 "%s", number / suffix->factor, suffix->text);
}

static void append_time(char *out, uint64_t us)
{
    size_t used = strlen(out);
    out[used++] = ' ';
    format_number(ENV_FAULT_UNIT_US, (int64_t)us, out + used, ENV_FAULT_TEXT_SIZE - used);
}

static void format_delay(const struct env_delay *delay, char *out)
{
    (void)snprintf(out, ENV_FAULT_TEXT_SIZE, "%s", env_delay_shape_name(delay->shape));
    append_time(out, delay->low_us);
    if (delay->shape != ENV_DELAY_CONSTANT)
        append_time(out, delay->high_us);
    if (delay->shape == ENV_DELAY_LONG_TAIL)
        append_time(out, delay->tail_us);
}

void env_fault_format(enum env_fault_unit unit, const struct env_fault_value *value,
                      char out[ENV_FAULT_TEXT_SIZE])
{
    out[0] = '\0';
    if (unit == ENV_FAULT_UNIT_DELAY)
        format_delay(&value->delay, out);
    else if (unit != ENV_FAULT_UNIT_NONE)
        format_number(unit, value->number, out, ENV_FAULT_TEXT_SIZE);
}

/* ---- ranges ---- */

static int check_number(const struct env_fault_info *info, int64_t number, struct peri_error *err)
{
    char given[ENV_FAULT_TEXT_SIZE];
    char low[ENV_FAULT_TEXT_SIZE];
    char high[ENV_FAULT_TEXT_SIZE];
    if (number >= info->min && number <= info->max)
        return 0;
    format_number(info->unit, number, given, sizeof given);
    format_number(info->unit, info->min, low, sizeof low);
    format_number(info->unit, info->max, high, sizeof high);
    return peri_fail_plain(err, PERI_EINVAL, "%s of %s is outside %s .. %s", units[info->unit].name,
                           given, low, high);
}

static int check_delay(const struct env_fault_info *info, const struct env_delay *delay,
                       struct peri_error *err)
{
    uint64_t max = (uint64_t)info->max;
    char text[ENV_FAULT_TEXT_SIZE];
    if (delay->low_us > max || delay->high_us > max || delay->tail_us > max) {
        format_number(ENV_FAULT_UNIT_US, info->max, text, sizeof text);
        return peri_fail_plain(err, PERI_EINVAL, "a delay of more than %s", text);
    }
    bool is_range = delay->shape == ENV_DELAY_UNIFORM || delay->shape == ENV_DELAY_LONG_TAIL;
    if (!is_range || delay->high_us >= delay->low_us)
        return 0;
    format_delay(delay, text);
    return peri_fail_plain(err, PERI_EINVAL, "%s: the smaller time comes first", text);
}

int env_fault_check(enum env_fault fault, const struct env_fault_value *value,
                    struct peri_error *err)
{
    const struct env_fault_info *info = &table[fault];
    if (info->unit == ENV_FAULT_UNIT_NONE)
        return 0;
    return info->unit == ENV_FAULT_UNIT_DELAY ? check_delay(info, &value->delay, err)
                                              : check_number(info, value->number, err);
}
