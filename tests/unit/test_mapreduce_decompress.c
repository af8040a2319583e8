/* Decoders: members in a row, every truncation, every flipped byte, bombs. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "mapreduce/decompress.h"

enum { TEXT_SIZE = 600, PACKED_SIZE = 4096 };

struct bytes {
    const char *data;
    size_t size;
    size_t at;
    size_t step; /* the most that one pull gives */
};

static int64_t pull(void *data, void *out, size_t size, struct peri_error *err)
{
    struct bytes *bytes = data;
    (void)err;
    size_t count = bytes->size - bytes->at;
    count = count < size ? count : size;
    count = count < bytes->step ? count : bytes->step;
    if (count > 0)
        memcpy(out, bytes->data + bytes->at, count);
    bytes->at += count;
    return (int64_t)count;
}

static void make_text(char *text)
{
    uint32_t seed = 1;
    for (int i = 0; i < TEXT_SIZE; i++) {
        seed = seed * 1664525u + 1013904223u;
        text[i] = "the raven \n"[seed >> 24 & 7];
    }
}

static size_t pack(enum mr_codec codec, const char *text, size_t size, char *out)
{
    if (codec == MR_CODEC_GZIP) {
        z_stream gzip = {0};
        assert_int_equal(deflateInit2(&gzip, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
        gzip.next_in = (Bytef *)text;
        gzip.avail_in = (uInt)size;
        gzip.next_out = (Bytef *)out;
        gzip.avail_out = PACKED_SIZE;
        assert_int_equal(deflate(&gzip, Z_FINISH), Z_STREAM_END);
        deflateEnd(&gzip);
        return gzip.total_out;
    }
    if (codec == MR_CODEC_ZSTD) {
        ZSTD_CCtx *zstd = ZSTD_createCCtx();
        (void)ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
        size_t packed = ZSTD_compress2(zstd, out, PACKED_SIZE, text, size);
        ZSTD_freeCCtx(zstd);
        return packed;
    }
    LZ4F_preferences_t preferences = {.frameInfo = {.contentChecksumFlag = 1}};
    return LZ4F_compressFrame(out, PACKED_SIZE, text, size, &preferences);
}

/* Decodes everything: the plain size, or the error. */
static int64_t unpack(enum mr_codec codec, const char *packed, size_t size, size_t step, char *out,
                      size_t max, struct peri_error *err)
{
    struct bytes bytes = {packed, size, 0, step};
    struct mr_decoder *decoder;
    assert_int_equal(mr_decoder_create(&decoder, codec, "input.bin", pull, &bytes, err), 0);
    size_t total = 0;
    int64_t count;
    do {
        count = mr_decoder_read(decoder, out + total, max - total, err);
        total += count > 0 ? (size_t)count : 0;
    } while (count > 0 && total < max);
    mr_decoder_close(decoder);
    return count < 0 ? count : (int64_t)total;
}

static const enum mr_codec codecs[] = {MR_CODEC_GZIP, MR_CODEC_ZSTD, MR_CODEC_LZ4};

static void test_members_in_a_row(void **state)
{
    (void)state;
    char text[TEXT_SIZE], packed[2 * PACKED_SIZE], out[3 * TEXT_SIZE];
    make_text(text);
    for (int i = 0; i < 3; i++) {
        size_t first = pack(codecs[i], text, TEXT_SIZE, packed);
        size_t size = first + pack(codecs[i], text, TEXT_SIZE, packed + first);
        for (size_t step = 1; step <= size; step = step * 5 + 1) {
            assert_int_equal(unpack(codecs[i], packed, size, step, out, sizeof out, NULL),
                             2 * TEXT_SIZE);
            assert_memory_equal(out, text, TEXT_SIZE);
            assert_memory_equal(out + TEXT_SIZE, text, TEXT_SIZE);
        }
        packed[size] = 'x';
        assert_int_equal(unpack(codecs[i], packed, size + 1, size, out, sizeof out, NULL),
                         PERI_EFORMAT);
        assert_int_equal(mr_codec_of_magic(peri_slice_of(packed, size)), codecs[i]);
        assert_int_equal(mr_codec_of_magic(peri_slice_of(packed, 2)), MR_CODEC_NONE);
    }
}

static void test_every_truncation_is_an_error(void **state)
{
    (void)state;
    char text[TEXT_SIZE], packed[PACKED_SIZE], out[2 * TEXT_SIZE];
    make_text(text);
    for (int i = 0; i < 3; i++) {
        size_t size = pack(codecs[i], text, TEXT_SIZE, packed);
        for (size_t cut = 0; cut < size; cut++) {
            struct peri_error err = PERI_ERROR_INIT;
            int64_t rc = unpack(codecs[i], packed, cut, 64, out, sizeof out, &err);
            if (rc != PERI_EFORMAT)
                fail_msg("%s cut to %zu of %zu bytes gives %lld", mr_codec_name(codecs[i]), cut,
                         size, (long long)rc);
            assert_non_null(strstr(err.text, "input.bin"));
            assert_non_null(strstr(err.text, "at byte"));
        }
    }
}

static void test_no_flipped_byte_changes_the_text_silently(void **state)
{
    (void)state;
    char text[TEXT_SIZE], packed[PACKED_SIZE], out[2 * TEXT_SIZE];
    make_text(text);
    for (int i = 0; i < 3; i++) {
        size_t size = pack(codecs[i], text, TEXT_SIZE, packed);
        for (size_t at = 0; at < size; at++) {
            for (int flip = 1; flip < 256; flip++) {
                packed[at] = (char)(packed[at] ^ flip);
                int64_t rc = unpack(codecs[i], packed, size, size, out, sizeof out, NULL);
                if (rc >= 0 && (rc != TEXT_SIZE || memcmp(out, text, TEXT_SIZE) != 0))
                    fail_msg("%s: byte %zu ^ %d goes unseen", mr_codec_name(codecs[i]), at, flip);
                packed[at] = (char)(packed[at] ^ flip);
            }
        }
    }
}

/* A member that unpacks to 1000 times its size comes out in pieces no larger than asked for. */
static void test_bombs_come_in_pieces(void **state)
{
    (void)state;
    enum { BOMB = 4 << 20 };
    char *zeros = calloc(1, BOMB), *packed = malloc(BOMB), out[1000];
    struct bytes bytes = {packed, 0, 0, SIZE_MAX};
    uLongf size = BOMB;
    struct mr_decoder *decoder;
    bytes.size = ZSTD_compress(packed, size, zeros, BOMB, 1);
    assert_int_equal(mr_decoder_create(&decoder, MR_CODEC_ZSTD, "bomb", pull, &bytes, NULL), 0);
    int64_t count, total = 0;
    while ((count = mr_decoder_read(decoder, out, sizeof out, NULL)) > 0) {
        assert_true(count <= (int64_t)sizeof out);
        total += count;
    }
    assert_int_equal(total, BOMB);
    mr_decoder_close(decoder);
    free(zeros);
    free(packed);
}

static int64_t pull_fails(void *data, void *out, size_t size, struct peri_error *err)
{
    (void)data;
    (void)out;
    (void)size;
    return peri_fail(err, -5, "disk");
}

static void test_a_failing_disk_stays_failed(void **state)
{
    (void)state;
    struct mr_decoder *decoder;
    char out[8];
    assert_int_equal(mr_decoder_create(&decoder, MR_CODEC_LZ4, "input.bin", pull_fails, NULL, NULL),
                     0);
    assert_int_equal(mr_decoder_read(decoder, out, sizeof out, NULL), -5);
    assert_int_equal(mr_decoder_read(decoder, out, sizeof out, NULL), -5);
    mr_decoder_close(decoder);
    mr_decoder_close(NULL);
}

static void test_suffixes(void **state)
{
    (void)state;
    assert_int_equal(mr_codec_of_path("a/b.gz"), MR_CODEC_GZIP);
    assert_int_equal(mr_codec_of_path("b.zst"), MR_CODEC_ZSTD);
    assert_int_equal(mr_codec_of_path("b.txt.lz4"), MR_CODEC_LZ4);
    assert_int_equal(mr_codec_of_path("gz"), MR_CODEC_NONE);
    assert_int_equal(mr_codec_of_path(".gz"), MR_CODEC_NONE);
    assert_int_equal(mr_codec_of_path("a.gzip"), MR_CODEC_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_in_a_row),
        cmocka_unit_test(test_every_truncation_is_an_error),
        cmocka_unit_test(test_no_flipped_byte_changes_the_text_silently),
        cmocka_unit_test(test_bombs_come_in_pieces),
        cmocka_unit_test(test_a_failing_disk_stays_failed),
        cmocka_unit_test(test_suffixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
