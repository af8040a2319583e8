#include "wire/codec.h"

void wire_scanner_init(struct wire_scanner *scanner)
{
    mpack_tokbuf_init(&scanner->tokens);
    scanner->depth = 0;
    scanner->payload = 0;
    scanner->left[0] = 1;
}

static int open_items(struct wire_scanner *scanner, uint64_t count, struct peri_error *err)
{
    if (scanner->depth == WIRE_DEPTH_MAX)
        return peri_fail_plain(err, PERI_ETOOBIG, "MessagePack: nesting too deep");
    scanner->depth++;
    scanner->left[scanner->depth] = count;
    return 0;
}

/* One item is complete; so are the arrays and maps that it was the last of. */
static void close_items(struct wire_scanner *scanner)
{
    while (scanner->depth > 0 && scanner->left[scanner->depth] == 0)
        scanner->depth--;
}

static int take_token(struct wire_scanner *scanner, const mpack_token_t *token,
                      struct peri_error *err)
{
    if (token->type == MPACK_TOKEN_CHUNK) {
        scanner->payload -= token->length;
        return 0;
    }
    scanner->left[scanner->depth]--;
    switch (token->type) {
    case MPACK_TOKEN_ARRAY:
        return open_items(scanner, token->length, err);
    case MPACK_TOKEN_MAP:
        return open_items(scanner, 2 * (uint64_t)token->length, err);
    case MPACK_TOKEN_STR:
    case MPACK_TOKEN_BIN:
        scanner->payload = token->length;
        return 0;
    case MPACK_TOKEN_EXT:
        return peri_fail_plain(err, PERI_EFORMAT, "MessagePack: extension type");
    default:
        return 0;
    }
}

int wire_scanner_feed(struct wire_scanner *scanner, struct peri_slice bytes, size_t *used,
                      struct peri_error *err)
{
    const char *at = bytes.data;
    size_t left = bytes.size;
    while (left > 0) { /* libmpack must not be asked with no byte left */
        mpack_token_t token;
        int status = mpack_read(&scanner->tokens, &at, &left, &token);
        if (status == MPACK_EOF)
            break;
        if (status != MPACK_OK)
            return peri_fail_plain(err, PERI_EFORMAT, "MessagePack: invalid type byte");
        int rc = take_token(scanner, &token, err);
        if (rc != 0)
            return rc;
        if (scanner->payload > 0)
            continue;
        close_items(scanner);
        if (scanner->depth == 0 && scanner->left[0] == 0) {
            wire_scanner_init(scanner);
            *used = bytes.size - left;
            return 1;
        }
    }
    *used = bytes.size;
    return 0;
}
