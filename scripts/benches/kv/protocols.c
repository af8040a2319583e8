/* protocols.c - what the load generator says to each store. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv_load.h"
#include "wire/pack.h"

const char load_cluster[] = "default";

static char value[KV_LOAD_VALUE_SIZE + 1] = "012345678901234567890123456789012345678901234567890123"
                                            "4567890123456789012345678901234567890123456"
                                            "789";

/* ---- requests ---- */

/* The finalizer of splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t random_of(uint64_t id)
{
    return mix(((uint64_t)load_connection << 40 | id) + UINT64_C(0x9e3779b97f4a7c15));
}

bool kv_load_is_put(uint64_t id)
{
    return *load_mode == 'm' ? random_of(id) >> 63 : *load_mode != 'g';
}

struct kv_load_request kv_load_request(uint64_t id)
{
    enum { FILLERS = 64 };
    struct kv_load_request request = {.is_put = kv_load_is_put(id),
                                      .value = {value, KV_LOAD_VALUE_SIZE}};
    uint64_t number = *load_mode == 'f' ? load_connection + FILLERS * id : random_of(id);
    (void)snprintf(request.key, sizeof request.key, "key-%08u", (unsigned)(number % KV_LOAD_KEYS));
    return request;
}

static struct peri_slice key_of(const struct kv_load_request *request)
{
    return peri_slice_of(request->key, KV_LOAD_KEY_SIZE);
}

/* ---- Perilune: a session for each request in flight, as kv.connect has them ---- */

static struct slot {
    uint64_t session, sequence;
} * slots;
static uint64_t slot_count;
static struct peri_buffer args;

static struct slot *slot_of(uint64_t id)
{
    return &slots[load_connection * load_depth + id % load_depth];
}

static struct wire_message call(const char *name, uint64_t id)
{
    struct wire_message message = {.kind = WIRE_CALL, .budget_ms = 5000, .id = id + 1};
    message.call.name = peri_slice_of(name, strlen(name));
    message.call.args = peri_buffer_slice(&args);
    return message;
}

static struct wire_packer begin_args(uint32_t count)
{
    args.size = 0;
    struct wire_packer out = {&args, 0};
    wire_pack_array(&out, count);
    return out;
}

static void pack_word(struct wire_packer *out, const char *word)
{
    wire_pack_bytes(out, peri_slice_of(word, strlen(word)));
}

/* The values of an answer that says yes: id, true, ...; *out stands behind these. */
static void read_yes(const struct wire_message *reply, struct wire_unpacker *out)
{
    *out = wire_unpack(reply->reply.values);
    uint32_t count = wire_unpack_array(out);
    (void)wire_unpack_uint(out);
    if (reply->kind != WIRE_REPLY || count < 3 || !wire_unpack_bool(out) || out->rc != 0) {
        (void)fprintf(stderr, "%.*s\n", (int)reply->reply.values.size, reply->reply.values.data);
        load_rpc_fail(reply);
    }
}

static void open_session(int fd, struct slot *slot, uint64_t id)
{
    struct wire_packer out = begin_args(4);
    struct wire_unpacker in;
    wire_pack_uint(&out, 0);
    wire_pack_uint(&out, 0);
    pack_word(&out, "open");
    wire_pack_uint(&out, 600000);
    struct wire_message message = call("kv.command", id);
    struct wire_message reply = load_rpc_ask(fd, &message, WIRE_REPLY);
    read_yes(&reply, &in);
    (void)wire_unpack_array(&in);
    (void)wire_unpack_uint(&in);
    (void)wire_unpack_uint(&in);
    *slot = (struct slot){wire_unpack_uint(&in), 0};
}

static void perilune_greet(int fd)
{
    load_rpc_greet(fd);
    uint64_t needed = (load_connection + 1) * load_depth;
    if (needed > slot_count) {
        slots = realloc(slots, 2 * needed * sizeof *slots);
        slot_count = 2 * needed;
    }
    for (uint64_t i = 0; i < load_depth; i++)
        open_session(fd, slot_of(i), i); /* these ids are not used again */
}

static void pack_put(const struct kv_load_request *request, struct slot *slot)
{
    struct wire_packer out = begin_args(6);
    wire_pack_uint(&out, slot->session);
    wire_pack_uint(&out, ++slot->sequence);
    pack_word(&out, "do");
    wire_pack_array(&out, 0);
    wire_pack_array(&out, 1);
    wire_pack_array(&out, 4);
    pack_word(&out, "put");
    wire_pack_bytes(&out, key_of(request));
    wire_pack_bytes(&out, request->value);
    wire_pack_uint(&out, 0);
    wire_pack_array(&out, 0);
}

static void pack_get(const struct kv_load_request *request)
{
    struct wire_packer out = begin_args(4);
    pack_word(&out, "linearizable");
    pack_word(&out, "get");
    wire_pack_bytes(&out, key_of(request));
    wire_pack_uint(&out, 0);
}

static void perilune_request(struct wire_frames *out, uint64_t id)
{
    struct kv_load_request request = kv_load_request(id);
    if (request.is_put)
        pack_put(&request, slot_of(id));
    else
        pack_get(&request);
    struct wire_message message = call(request.is_put ? "kv.command" : "kv.query", load_depth + id);
    load_rpc_put(out, load_rpc_encode(&message));
}

static size_t perilune_answer(const char *bytes, size_t size, uint64_t *id)
{
    struct peri_slice answer;
    static struct wire_message reply; /* may be said again */
    struct wire_unpacker in;
    size_t whole = load_rpc_get(bytes, size, &answer);
    if (whole == 0)
        return 0;
    load_rpc_decode_next(answer, &reply);
    *id = reply.id - 1 - load_depth;
    read_yes(&reply, &in);
    if (!kv_load_is_put(*id) && answer.size < KV_LOAD_VALUE_SIZE)
        load_fail("a value is missing");
    return whole;
}

static const struct load_protocol perilune = {"perilune", true, perilune_greet, perilune_request,
                                              perilune_answer};

/* ---- the bare loop (bare.c): size, operation, size of the key, key, value ---- */

static void bare_request(struct wire_frames *out, uint64_t id)
{
    struct kv_load_request request = kv_load_request(id);
    size_t value_size = request.is_put ? request.value.size : 0;
    char head[6];
    bits_put_le32(head, (uint32_t)(2 + KV_LOAD_KEY_SIZE + value_size));
    head[4] = request.is_put ? 'p' : 'g';
    head[5] = KV_LOAD_KEY_SIZE;
    load_append(&out->bytes, head, sizeof head);
    load_append(&out->bytes, request.key, KV_LOAD_KEY_SIZE);
    load_append(&out->bytes, request.value.data, value_size);
}

static size_t bare_answer(const char *bytes, size_t size, uint64_t *id)
{
    if (size < 4 || size < 4 + bits_get_le32(bytes))
        return 0;
    size_t wanted = kv_load_is_put(*id) ? 0 : KV_LOAD_VALUE_SIZE;
    if (bits_get_le32(bytes) != wanted)
        load_fail("the bare loop answers with something else");
    return 4 + wanted;
}

static const struct load_protocol bare = {"bare", false, NULL, bare_request, bare_answer};

/* ---- Redis; with WAIT 1 behind each SET ---- */

static void resp_request(struct wire_frames *out, uint64_t id)
{
    struct kv_load_request request = kv_load_request(id);
    char line[KV_LOAD_VALUE_SIZE + 128];
    int size =
        request.is_put
            ? snprintf(line, sizeof line, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%.*s\r\n",
                       KV_LOAD_KEY_SIZE, request.key, KV_LOAD_VALUE_SIZE, KV_LOAD_VALUE_SIZE, value)
            : snprintf(line, sizeof line, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", KV_LOAD_KEY_SIZE,
                       request.key);
    load_append(&out->bytes, line, (size_t)size);
}

static void wait_request(struct wire_frames *out, uint64_t id)
{
    static const char wait[] = "*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n0\r\n";
    resp_request(out, id);
    if (kv_load_is_put(id))
        load_append(&out->bytes, wait, sizeof wait - 1);
}

static size_t resp_answer(const char *bytes, size_t size, uint64_t *id)
{
    static const char head[] = "$100\r\n";
    size_t wanted = kv_load_is_put(*id) ? 5 : sizeof head - 1 + KV_LOAD_VALUE_SIZE + 2;
    const char *begin = kv_load_is_put(*id) ? "+OK\r\n" : head;
    size_t known = size < strlen(begin) ? size : strlen(begin);
    if (memcmp(bytes, begin, known) != 0) {
        (void)fprintf(stderr, "%.*s\n", (int)size, bytes);
        load_fail("RESP answers with something else");
    }
    return size < wanted ? 0 : wanted;
}

static size_t wait_answer(const char *bytes, size_t size, uint64_t *id)
{
    size_t set = resp_answer(bytes, size, id);
    if (set == 0 || !kv_load_is_put(*id))
        return set;
    if (size < set + 4)
        return 0;
    if (bytes[set] != ':' || bytes[set + 1] == '0')
        load_fail("no replica has it");
    return set + 4;
}

static const struct load_protocol resp = {"resp", false, NULL, resp_request, resp_answer};
static const struct load_protocol resp_wait = {"resp-wait", false, NULL, wait_request, wait_answer};

/* ---- Tarantool: REPLACE and SELECT in space 512 ---- */

static void iproto_request(struct wire_frames *out, uint64_t id)
{
    enum { SELECT = 1, REPLACE = 3 };
    static const char put[] = {'\x82', 0x10, '\xcd', 2, 0, 0x21, '\x92'};
    static const char get[] = {'\x86', 0x10, '\xcd', 2,    0, 0x11, 0,     0x12,
                               1,      0x13, 0,      0x14, 0, 0x20, '\x91'};
    struct kv_load_request request = kv_load_request(id);
    struct wire_packer body = {&args, 0};
    args.size = 0;
    load_append(&args, request.is_put ? put : get, request.is_put ? sizeof put : sizeof get);
    const char string_head = (char)(0xa0 | KV_LOAD_KEY_SIZE); /* its strings are no bytes */
    load_append(&args, &string_head, 1);
    load_append(&args, request.key, KV_LOAD_KEY_SIZE);
    if (request.is_put) {
        static const char value_head[] = {'\xd9', KV_LOAD_VALUE_SIZE};
        load_append(&args, value_head, sizeof value_head);
        load_append(&args, value, KV_LOAD_VALUE_SIZE);
    }
    load_iproto_put(&out->bytes, request.is_put ? REPLACE : SELECT, id,
                    peri_buffer_slice(body.out));
}

static size_t iproto_answer(const char *bytes, size_t size, uint64_t *id)
{
    size_t whole = load_iproto_get(bytes, size, id);
    if (whole > 0 && whole < LOAD_IPROTO_HEADER_SIZE + KV_LOAD_VALUE_SIZE)
        load_fail("a value is missing");
    return whole;
}

static const struct load_protocol iproto = {"iproto", false, load_iproto_greet, iproto_request,
                                            iproto_answer};

const struct load_protocol *const load_protocols[] = {&perilune, &bare,         &resp, &resp_wait,
                                                      &iproto,   &kv_load_etcd, NULL};
