/* Fuzzes the readers of untrusted input: decoders, CSV, words, numbers, JSON paths.
 *
 * The first byte chooses what reads the rest. Beyond the sanitizers: CSV records and fields must
 * not depend on how the text was cut, and walks must stay inside the text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "mapreduce/csv.h"
#include "mapreduce/decompress.h"
#include "mapreduce/json_path.h"
#include "mapreduce/number.h"
#include "mapreduce/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t pull(void *data, void *out, size_t size, struct peri_error *err)
{
    struct peri_slice *rest = data;
    size_t count = rest->size < size ? rest->size : size;
    (void)err;
    memcpy(out, rest->data, count);
    *rest = peri_slice_of(rest->data + count, rest->size - count);
    return (int64_t)count;
}

static void fuzz_decoder(enum mr_codec codec, struct peri_slice text)
{
    enum { OUTPUT_MAX = 4 << 20 };
    struct mr_decoder *decoder;
    struct peri_error err = PERI_ERROR_INIT;
    char out[4096];
    int64_t total = 0, count = 0;
    if (mr_decoder_create(&decoder, codec, "fuzz", pull, &text, &err) != 0)
        return;
    while (total < OUTPUT_MAX && (count = mr_decoder_read(decoder, out, sizeof out, &err)) > 0)
        total += count;
    PERI_ASSERT(count >= 0 || mr_decoder_read(decoder, out, sizeof out, NULL) == count);
    mr_decoder_close(decoder);
}

static void check_fields(struct peri_slice record)
{
    struct mr_csv_fields fields = mr_csv_fields_of(record, ',');
    struct mr_csv_field field;
    char *value = malloc(record.size + 1);
    size_t total = 0;
    while (value != NULL && mr_csv_fields_next(&fields, &field)) {
        total += field.raw.size + 1;
        if (field.has_quotes)
            PERI_ASSERT(mr_csv_unquote(field.raw, value) < field.raw.size);
    }
    PERI_ASSERT(value == NULL || total == record.size + 1);
    free(value);
}

static void fuzz_csv(struct peri_slice text)
{
    size_t start = 0;
    while (start < text.size) {
        enum mr_csv_place whole = MR_CSV_FIELD_START;
        enum mr_csv_place byte = MR_CSV_FIELD_START;
        struct peri_slice rest = peri_slice_of(text.data + start, text.size - start);
        size_t size = mr_csv_record_end(rest, ',', &whole);
        size_t at = 0;
        while (at < rest.size &&
               mr_csv_record_end(peri_slice_of(rest.data + at, 1), ',', &byte) == 0)
            at++;
        PERI_ASSERT(size == 0 ? at == rest.size && whole == byte : at + 1 == size);
        size = size == 0 ? rest.size : size;
        check_fields(peri_slice_of(rest.data, size));
        start += size;
    }
}

static void fuzz_tokens(struct peri_slice text)
{
    struct mr_class class;
    struct peri_slice set = peri_slice_of(text.data, text.size < 4 ? text.size : 4);
    if (mr_class_compile(&class, set, NULL) != 0)
        return;
    struct mr_words words = mr_words_of(text, &class);
    struct peri_slice word;
    size_t members = 0, covered = 0;
    while (mr_words_next(&words, &word))
        covered += word.size;
    for (size_t i = 0; i < text.size; i++)
        members += class.member[(unsigned char)text.data[i]];
    PERI_ASSERT(covered == members);
    struct mr_number number;
    (void)mr_number_parse(text, &number);
}

static void fuzz_path(struct peri_slice text)
{
    json_error_t error;
    json_t *found, *root = json_loads("{\"a\":{\"b\":[1,[2]]},\"\":0}", 0, &error);
    (void)mr_json_find(root, text, &found, NULL);
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct peri_slice text = peri_slice_of((const char *)data + 1, size - 1);
    switch (data[0] % 6) {
    case 0:
        fuzz_csv(text);
        break;
    case 1:
        fuzz_tokens(text);
        break;
    case 2:
        fuzz_path(text);
        break;
    default:
        fuzz_decoder((enum mr_codec)(data[0] % 6 - 2), text);
    }
    return 0;
}
