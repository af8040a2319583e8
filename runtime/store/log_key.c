/* log_key.c - the log's keys as bytes. */
#include "base/bits.h"
#include "store/log_format.h"

static size_t key_size(enum log_key_kind kind)
{
    switch (kind) {
    case LOG_KEY_IDENTITY:
        return 1;
    case LOG_KEY_BATCH:
        return 1 + 8;
    case LOG_KEY_DROPPED:
    case LOG_KEY_HEAD:
        return 1 + 2 * 8;
    case LOG_KEY_RECORD:
        return 1 + 3 * 8;
    }
    return 0;
}

struct peri_slice log_key_write(const struct log_key *key, char *out)
{
    out[0] = (char)key->kind;
    if (key->kind == LOG_KEY_BATCH) {
        bits_put_be64(out + 1, key->number);
    } else if (key->kind != LOG_KEY_IDENTITY) {
        bits_put_be64(out + 1, key->group);
        bits_put_be64(out + 9, key->replica);
        if (key->kind == LOG_KEY_RECORD)
            bits_put_be64(out + 17, key->number);
    }
    return peri_slice_of(out, key_size(key->kind));
}

bool log_key_read(struct peri_slice bytes, struct log_key *out)
{
    if (bytes.size == 0 || bytes.size != key_size((enum log_key_kind)bytes.data[0]))
        return false;
    *out = (struct log_key){.kind = (enum log_key_kind)bytes.data[0]};
    if (out->kind == LOG_KEY_BATCH) {
        out->number = bits_get_be64(bytes.data + 1);
    } else if (out->kind != LOG_KEY_IDENTITY) {
        out->group = bits_get_be64(bytes.data + 1);
        out->replica = bits_get_be64(bytes.data + 9);
        if (out->kind == LOG_KEY_RECORD)
            out->number = bits_get_be64(bytes.data + 17);
    }
    return true;
}
