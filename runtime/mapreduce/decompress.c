#include "mapreduce/decompress.h"

#include <inttypes.h>
#include <lz4frame.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum { INPUT_SIZE = 128 << 10, ZSTD_WINDOW_LOG_MAX = 27 /* 128 MiB, what zstd -d allows */ };

/* What one library step did. */
enum step {
    STEP_MORE,  /* inside a member */
    STEP_END,   /* a member just ended */
    STEP_WRONG, /* decoder->why says what the library found */
};

struct mr_decoder {
    const struct codec_ops *ops;
    const char *name;
    mr_pull pull;
    void *pull_data;
    union {
        z_stream gzip;
        ZSTD_DStream *zstd;
        LZ4F_dctx *lz4;
    } state;
    const char *why;
    uint64_t pulled; /* compressed bytes pulled so far */
    size_t at;       /* the unread part of input: [at, filled) */
    size_t filled;
    bool is_at_end;    /* pull has no more */
    bool is_in_member; /* the input must not end here */
    int failed;        /* the error that ended the stream, or 0 */
    char input[INPUT_SIZE];
};

/* One library. step reads from [at, filled), moves at, and writes *size bytes at most; it sets
 * *size to what it wrote. */
struct codec_ops {
    const char *name;
    const char *suffix;
    unsigned char magic[MR_CODEC_MAGIC_SIZE];
    size_t magic_size;
    int (*init)(struct mr_decoder *decoder);
    enum step (*step)(struct mr_decoder *decoder, void *out, size_t *size);
    void (*deinit)(struct mr_decoder *decoder);
};

/* ---- gzip ---- */

static int gzip_init(struct mr_decoder *decoder)
{
    enum { GZIP_ONLY = 16 };
    return inflateInit2(&decoder->state.gzip, MAX_WBITS + GZIP_ONLY) == Z_OK ? 0 : PERI_ENOMEM;
}

static enum step gzip_step(struct mr_decoder *decoder, void *out, size_t *size)
{
    z_stream *gzip = &decoder->state.gzip;
    gzip->next_in = (Bytef *)decoder->input + decoder->at;
    gzip->avail_in = (uInt)(decoder->filled - decoder->at);
    gzip->next_out = out;
    gzip->avail_out = (uInt)*size;
    int rc = inflate(gzip, Z_NO_FLUSH);
    decoder->at = decoder->filled - gzip->avail_in;
    *size -= gzip->avail_out;
    if (rc == Z_STREAM_END)
        return inflateReset(gzip) == Z_OK ? STEP_END : STEP_WRONG;
    if (rc == Z_OK || rc == Z_BUF_ERROR)
        return STEP_MORE;
    decoder->why = gzip->msg != NULL ? gzip->msg : "it needs what is not there";
    return STEP_WRONG;
}

static void gzip_deinit(struct mr_decoder *decoder)
{
    inflateEnd(&decoder->state.gzip);
}

/* ---- zstd ---- */

static int zstd_init(struct mr_decoder *decoder)
{
    decoder->state.zstd = ZSTD_createDStream();
    if (decoder->state.zstd == NULL)
        return PERI_ENOMEM;
    (void)ZSTD_DCtx_setParameter(decoder->state.zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
    return 0;
}

static enum step zstd_step(struct mr_decoder *decoder, void *out, size_t *size)
{
    ZSTD_inBuffer in = {decoder->input, decoder->filled, decoder->at};
    ZSTD_outBuffer plain = {out, *size, 0};
    size_t rc = ZSTD_decompressStream(decoder->state.zstd, &plain, &in);
    decoder->at = in.pos;
    *size = plain.pos;
    if (ZSTD_isError(rc)) {
        decoder->why = ZSTD_getErrorName(rc);
        return STEP_WRONG;
    }
    return rc == 0 ? STEP_END : STEP_MORE;
}

static void zstd_deinit(struct mr_decoder *decoder)
{
    ZSTD_freeDStream(decoder->state.zstd);
}

/* ---- lz4 ---- */

static int lz4_init(struct mr_decoder *decoder)
{
    LZ4F_errorCode_t rc = LZ4F_createDecompressionContext(&decoder->state.lz4, LZ4F_VERSION);
    return LZ4F_isError(rc) ? PERI_ENOMEM : 0;
}

static enum step lz4_step(struct mr_decoder *decoder, void *out, size_t *size)
{
    size_t used = decoder->filled - decoder->at;
    size_t rc =
        LZ4F_decompress(decoder->state.lz4, out, size, decoder->input + decoder->at, &used, NULL);
    if (LZ4F_isError(rc)) {
        *size = 0;
        decoder->why = LZ4F_getErrorName(rc);
        return STEP_WRONG;
    }
    decoder->at += used;
    return rc == 0 ? STEP_END : STEP_MORE;
}

static void lz4_deinit(struct mr_decoder *decoder)
{
    LZ4F_freeDecompressionContext(decoder->state.lz4);
}

/* ---- the table of codecs ---- */

static const struct codec_ops codecs[] = {
    [MR_CODEC_GZIP] = {"gzip", ".gz", {0x1f, 0x8b, 0x08}, 3, gzip_init, gzip_step, gzip_deinit},
    [MR_CODEC_ZSTD] =
        {"zstd", ".zst", {0x28, 0xb5, 0x2f, 0xfd}, 4, zstd_init, zstd_step, zstd_deinit},
    [MR_CODEC_LZ4] = {"lz4", ".lz4", {0x04, 0x22, 0x4d, 0x18}, 4, lz4_init, lz4_step, lz4_deinit},
};

enum { CODEC_COUNT = sizeof codecs / sizeof codecs[0] };

const char *mr_codec_name(enum mr_codec codec)
{
    return codec == MR_CODEC_NONE ? "none" : codecs[codec].name;
}

enum mr_codec mr_codec_of_path(const char *path)
{
    size_t size = strlen(path);
    for (int i = MR_CODEC_GZIP; i < CODEC_COUNT; i++) {
        size_t suffix = strlen(codecs[i].suffix);
        if (size > suffix && strcmp(path + size - suffix, codecs[i].suffix) == 0)
            return (enum mr_codec)i;
    }
    return MR_CODEC_NONE;
}

enum mr_codec mr_codec_of_magic(struct peri_slice head)
{
    for (int i = MR_CODEC_GZIP; i < CODEC_COUNT; i++)
        if (head.size >= codecs[i].magic_size &&
            memcmp(head.data, codecs[i].magic, codecs[i].magic_size) == 0)
            return (enum mr_codec)i;
    return MR_CODEC_NONE;
}

/* ---- decoders ---- */

int mr_decoder_create(struct mr_decoder **out, enum mr_codec codec, const char *name, mr_pull pull,
                      void *data, struct peri_error *err)
{
    struct mr_decoder *decoder = calloc(1, sizeof *decoder);
    if (decoder == NULL)
        return peri_fail(err, PERI_ENOMEM, "decoder of %s", name);
    decoder->name = name;
    decoder->pull = pull;
    decoder->pull_data = data;
    decoder->is_in_member = true; /* an empty file has no member, and that is wrong */
    if (codecs[codec].init(decoder) != 0) {
        free(decoder);
        return peri_fail(err, PERI_ENOMEM, "decoder of %s", name);
    }
    decoder->ops = &codecs[codec];
    *out = decoder;
    return 0;
}

static int fail(struct mr_decoder *decoder, struct peri_error *err, const char *what)
{
    uint64_t offset = decoder->pulled - (decoder->filled - decoder->at);
    decoder->failed = peri_fail_plain(err, PERI_EFORMAT, "%s: %s data %s at byte %" PRIu64,
                                      decoder->name, decoder->ops->name, what, offset);
    return decoder->failed;
}

static int refill(struct mr_decoder *decoder, struct peri_error *err)
{
    if (decoder->at < decoder->filled || decoder->is_at_end)
        return 0;
    int64_t count = decoder->pull(decoder->pull_data, decoder->input, sizeof decoder->input, err);
    if (count < 0) {
        decoder->failed = (int)count;
        return decoder->failed;
    }
    decoder->at = 0;
    decoder->filled = (size_t)count;
    decoder->pulled += (uint64_t)count;
    decoder->is_at_end = count == 0;
    return 0;
}

int64_t mr_decoder_read(struct mr_decoder *decoder, void *out, size_t size, struct peri_error *err)
{
    if (decoder->failed != 0)
        return peri_fail(err, decoder->failed, "%s", decoder->name);
    for (;;) {
        int rc = refill(decoder, err);
        if (rc != 0)
            return rc;
        bool has_input = decoder->at < decoder->filled;
        if (!has_input && !decoder->is_in_member)
            return 0;
        decoder->is_in_member = true;
        decoder->why = "no reason given";
        size_t written = size < INT32_MAX ? size : INT32_MAX;
        enum step step = decoder->ops->step(decoder, out, &written);
        if (step == STEP_WRONG) {
            char what[128];
            (void)snprintf(what, sizeof what, "is damaged (%s)", decoder->why);
            return fail(decoder, err, what);
        }
        decoder->is_in_member = step == STEP_MORE;
        if (written > 0)
            return (int64_t)written;
        if (!has_input && decoder->is_in_member)
            return fail(decoder, err, "ends too early");
    }
}

void mr_decoder_close(struct mr_decoder *decoder)
{
    if (decoder == NULL)
        return;
    decoder->ops->deinit(decoder);
    free(decoder);
}
