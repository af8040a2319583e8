/* etcd.c - etcd's gRPC, as far as a load generator needs it.
 *
 * A request is a stream of HTTP/2 (RFC 9113): a HEADERS frame whose fields are literals that are
 * not indexed (RFC 7541 6.2.2), and a DATA frame with a gRPC message: 0, its size, protobuf. The
 * answer is HEADERS, DATA and trailers, whose end of the stream is all that is looked for; a failed
 * call has no DATA. Windows are opened so wide that they never close. */
#include <stdlib.h>
#include <string.h>

#include "kv_load.h"

enum { DATA = 0, HEADERS = 1, SETTINGS = 4, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, END_HEADERS = 4, ACK = 1 };
enum { FRAME_HEAD = 9 };

static void put_be32(char *out, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        out[i] = (char)(number >> (24 - 8 * i));
}

static void put_head(char *out, size_t size, int type, int flags, uint32_t stream)
{
    out[0] = (char)(size >> 16);
    out[1] = (char)(size >> 8);
    out[2] = (char)size;
    out[3] = (char)type;
    out[4] = (char)flags;
    put_be32(out + 5, stream);
}

static void greet(int fd)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    char bytes[sizeof preface - 1 + FRAME_HEAD + FRAME_HEAD + 4 + FRAME_HEAD];
    char *at = bytes;
    memcpy(at, preface, sizeof preface - 1);
    at += sizeof preface - 1;
    put_head(at, 0, SETTINGS, 0, 0);
    at += FRAME_HEAD;
    put_head(at, 4, WINDOW_UPDATE, 0, 0);
    put_be32(at + FRAME_HEAD, 0x7fff0000);
    at += FRAME_HEAD + 4;
    put_head(at, 0, SETTINGS, ACK, 0);
    load_write(fd, bytes, sizeof bytes);
}

static void put_field(struct peri_buffer *out, const char *name, const char *text)
{
    char sizes[2] = {0, (char)strlen(name)};
    load_append(out, sizes, 2);
    load_append(out, name, strlen(name));
    sizes[1] = (char)strlen(text);
    load_append(out, &sizes[1], 1);
    load_append(out, text, strlen(text));
}

static void put_headers(struct peri_buffer *out, const char *path)
{
    put_field(out, ":method", "POST");
    put_field(out, ":scheme", "http");
    put_field(out, ":path", path);
    put_field(out, ":authority", "bench");
    put_field(out, "content-type", "application/grpc");
    put_field(out, "te", "trailers");
}

/* PutRequest: key = 1, value = 2. RangeRequest: key = 1, linearizable unless it says otherwise. */
static void put_message(struct peri_buffer *out, const struct kv_load_request *request)
{
    size_t value_size = request->is_put ? 2 + request->value.size : 0;
    char head[5 + 2] = {0};
    put_be32(head + 1, (uint32_t)(2 + KV_LOAD_KEY_SIZE + value_size));
    head[5] = 0x0a;
    head[6] = KV_LOAD_KEY_SIZE;
    load_append(out, head, sizeof head);
    load_append(out, request->key, KV_LOAD_KEY_SIZE);
    if (request->is_put) {
        const char value_head[] = {0x12, KV_LOAD_VALUE_SIZE};
        load_append(out, value_head, sizeof value_head);
        load_append(out, request->value.data, request->value.size);
    }
}

/* Streams have to be opened in the order of their numbers, and are answered in any: which ids the
 * last ones of each connection have. */
enum { STREAMS = 4096 };
static struct streams {
    uint64_t ids[STREAMS];
    uint32_t opened;
    bool has_data; /* of one that has not ended; at one request in flight, of that one */
} * connections[LOAD_CONNECTIONS_MAX];

static struct streams *streams(void)
{
    struct streams **of = &connections[load_connection];
    if (*of == NULL)
        *of = calloc(1, sizeof **of);
    return *of;
}

static uint64_t id_of(uint32_t stream)
{
    return streams()->ids[stream / 2 % STREAMS];
}

static void request(struct wire_frames *out, uint64_t id)
{
    static struct peri_buffer bodies[2]; /* header fields of a get, and of a put */
    static struct peri_buffer message;
    struct kv_load_request wanted = kv_load_request(id);
    struct peri_buffer *fields = &bodies[wanted.is_put];
    char head[FRAME_HEAD];
    uint32_t stream = 2 * streams()->opened++ + 1;
    streams()->ids[stream / 2 % STREAMS] = id;
    if (fields->size == 0)
        put_headers(fields, wanted.is_put ? "/etcdserverpb.KV/Put" : "/etcdserverpb.KV/Range");
    message.size = 0;
    put_message(&message, &wanted);
    put_head(head, fields->size, HEADERS, END_HEADERS, stream);
    load_append(&out->bytes, head, sizeof head);
    load_append(&out->bytes, fields->data, fields->size);
    put_head(head, message.size, DATA, END_STREAM, stream);
    load_append(&out->bytes, head, sizeof head);
    load_append(&out->bytes, message.data, message.size);
}

static size_t size_of(const char *frame)
{
    const unsigned char *bytes = (const unsigned char *)frame;
    return (size_t)bytes[0] << 16 | (size_t)bytes[1] << 8 | bytes[2];
}

/* Which stream; the highest bit is reserved. */
static uint32_t stream_of(const char *frame)
{
    const unsigned char *bytes = (const unsigned char *)frame + 5;
    return (uint32_t)(bytes[0] & 0x7f) << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
           bytes[3];
}

static size_t answer(const char *bytes, size_t size, uint64_t *id)
{
    size_t at = 0;
    while (at + FRAME_HEAD <= size && at + FRAME_HEAD + size_of(bytes + at) <= size) {
        const char *frame = bytes + at;
        at += FRAME_HEAD + size_of(frame);
        if (frame[3] == DATA) {
            *id = id_of(stream_of(frame));
            if (!kv_load_is_put(*id) && size_of(frame) < KV_LOAD_VALUE_SIZE)
                load_fail("a value is missing");
            streams()->has_data = true;
        }
        if (stream_of(frame) == 0 || (frame[4] & END_STREAM) == 0)
            continue;
        if (!streams()->has_data)
            load_fail("etcd's answer is an error");
        streams()->has_data = load_depth > 1;
        *id = id_of(stream_of(frame));
        return at;
    }
    return 0;
}

const struct load_protocol kv_load_etcd = {"etcd", false, greet, request, answer};
