#include "rpc/stream.h"

#include <string.h>

#include "base/assert.h"
#include "rpc/client_state.h"

static struct rpc_stream *stream_of(struct rpc_request *request)
{
    return container_of(request, struct rpc_stream, request);
}

/* ---- what comes ---- */

static struct peri_slice keep(struct peri_buffer *text, struct peri_slice slice)
{
    size_t at = text->size;
    if (peri_buffer_append(text, slice.data, slice.size) != 0)
        return peri_slice_of("", 0);
    return peri_slice_of(text->data + at, slice.size);
}

/* The result is lent for the call only, and whoever reads may come later. */
static void keep_failure(struct rpc_stream *stream, const struct rpc_result *result)
{
    struct peri_buffer *text = &stream->failure_text;
    stream->is_over = true;
    stream->failure = *result;
    (void)peri_buffer_reserve(text, result->code_name.size + result->message.size +
                                        result->traceback.size + 1); /* else keep gives "" */
    stream->failure.code_name = keep(text, result->code_name);
    stream->failure.message = keep(text, result->message);
    stream->failure.traceback = keep(text, result->traceback);
}

static void on_done(struct rpc_request *request, const struct rpc_result *result)
{
    struct rpc_stream *stream = stream_of(request);
    keep_failure(stream, result);
    stream->on_change(stream);
}

static void fail(struct rpc_stream *stream, int code, const char *what)
{
    struct peri_error err = PERI_ERROR_INIT;
    (void)peri_fail(&err, code, "%s", what);
    rpc_request_fail(&stream->request, &err);
}

static void take_item(struct rpc_stream *stream, const struct wire_message *message)
{
    uint64_t number = message->item.number;
    if (number < stream->next || number - stream->next >= RPC_STREAM_WINDOW)
        return; /* it came before, or was never asked for */
    struct peri_buffer *item = &stream->items[number % RPC_STREAM_WINDOW];
    if (item->size > 0)
        return;
    struct peri_slice values = message->item.values;
    if (!stream->is_expected)
        rpc_request_set_due(&stream->request, UINT64_MAX);
    if (peri_buffer_append(item, values.data, values.size) != 0)
        fail(stream, PERI_ENOMEM, "an item");
    else if (number == stream->next)
        stream->on_change(stream);
}

static void on_item(struct rpc_request *request, const struct wire_message *message)
{
    struct rpc_stream *stream = stream_of(request);
    if (message->kind == WIRE_ITEM) {
        take_item(stream, message);
        return;
    }
    stream->has_count = true;
    stream->count = message->end.items;
    if (stream->count < stream->next)
        fail(stream, PERI_EPROTOCOL, "its end comes before its items");
    else if (stream->count == stream->next)
        stream->on_change(stream);
}

/* ---- for whoever reads ---- */

void rpc_stream_open(struct rpc_stream *stream, struct rpc_client *client, struct peri_slice name,
                     struct peri_slice args, uint64_t due_us, bool may_wait, const void *owner,
                     void (*on_change)(struct rpc_stream *stream))
{
    struct peri_error err = PERI_ERROR_INIT;
    *stream = (struct rpc_stream){.on_change = on_change};
    stream->request.name = name;
    stream->request.due_us = due_us;
    stream->request.on_done = on_done;
    stream->request.on_item = on_item;
    stream->request.owner = owner;
    stream->request.granted = RPC_STREAM_WINDOW;
    if (rpc_client_call(client, &stream->request, args, may_wait, &err) != 0) {
        struct rpc_result result = rpc_result_of(&err);
        keep_failure(stream, &result);
    }
}

static void grant(struct rpc_stream *stream)
{
    struct rpc_request *request = &stream->request;
    if (request->granted - stream->next > RPC_STREAM_WINDOW / 2)
        return;
    request->granted = stream->next + RPC_STREAM_WINDOW;
    rpc_request_say_credit(request);
}

enum rpc_stream_outcome rpc_stream_take(struct rpc_stream *stream, struct peri_buffer *values)
{
    struct peri_buffer *item = &stream->items[stream->next % RPC_STREAM_WINDOW];
    if (stream->failure.code != 0)
        return RPC_STREAM_FAILED;
    if (item->size > 0) {
        *values = *item;
        *item = (struct peri_buffer){NULL, 0, 0};
        stream->next++;
        if (!stream->has_count)
            grant(stream);
        return RPC_STREAM_ITEM;
    }
    if (!stream->has_count || stream->next < stream->count)
        return RPC_STREAM_WAIT;
    rpc_request_end(&stream->request);
    stream->is_over = true;
    return RPC_STREAM_END;
}

void rpc_stream_expect(struct rpc_stream *stream, uint64_t due_us)
{
    stream->is_expected = due_us != UINT64_MAX;
    if (!stream->is_over)
        rpc_request_set_due(&stream->request, due_us);
}

void rpc_stream_close(struct rpc_stream *stream)
{
    if (!stream->is_over)
        rpc_request_cancel(&stream->request, "nobody reads the stream any more");
    stream->is_over = true;
    for (size_t i = 0; i < RPC_STREAM_WINDOW; i++)
        peri_buffer_deinit(&stream->items[i]);
    peri_buffer_deinit(&stream->failure_text);
}
