/* labs.c - the network of the MIT labs: order and odds of labrpc's processReq.
 *
 * labrpc loses calls, not messages, and tells the caller of each at once. So it is the messages of
 * rpc that carry calls and answers whose fate is decided here; a lost one is answered in the
 * callee's stead, by an ERROR that says no more than labrpc does: the call may have been executed
 * or not. What keeps a connection alive, streams and parts of long bodies get through. */
#include <string.h>

#include "sim/net_internal.h"
#include "wire/message.h"

enum {
    US_PER_MS = 1000,
    DELAY_US = 10,
    REQUEST_MAX_US = 26000,
    DROP_PPM = 100000,
    LATE_PPM = 666667,
    LATE_MIN_MS = 200,
    LATE_RANGE_MS = 2000,
    CUT_MS = 100,
    LONG_CUT_MS = 7000,
};

static bool decode(const struct sim_packet *packet, struct wire_message *message)
{
    return wire_message_decode(peri_slice_of(packet->bytes, packet->size), message, NULL) == 0;
}

/* What is not rpc's is taken for a call or an answer by its direction. */
static bool is_call_or_answer(const struct sim_packet *packet)
{
    struct wire_message message;
    if (!decode(packet, &message))
        return true;
    return message.kind == WIRE_CALL || message.kind == WIRE_CAST || message.kind == WIRE_REPLY ||
           message.kind == WIRE_ERROR;
}

uint64_t sim_labs_decide(struct sim_stream *stream, const struct sim_net_labs *labs,
                         struct sim_packet *packet, bool is_request, struct sim_fate *fate)
{
    if (packet->kind != SIM_PACKET_MESSAGE)
        return DELAY_US;
    packet->is_late = true; /* calls do not wait for each other */
    if (!is_call_or_answer(packet))
        return DELAY_US;
    if (labs->unreliable)
        fate->is_lost = sim_stream_chance(stream, DROP_PPM);
    if (is_request)
        return labs->unreliable ? sim_stream_below(stream, REQUEST_MAX_US + 1) : DELAY_US;
    if (!labs->long_reordering || fate->is_lost || !sim_stream_chance(stream, LATE_PPM))
        return DELAY_US;
    uint64_t range_ms = 1 + sim_stream_below(stream, LATE_RANGE_MS);
    return (LATE_MIN_MS + sim_stream_below(stream, range_ms)) * US_PER_MS;
}

static int encode_failure(uint64_t id, struct peri_buffer *out)
{
    static const char code[] = "EDISCONNECTED";
    static const char text[] = "the network of the labs has lost the call or its answer";
    struct wire_message message;
    struct peri_slice tail;
    wire_message_start(&message, WIRE_ERROR, id);
    message.error.code = peri_slice_of(code, sizeof code - 1);
    message.error.message = peri_slice_of(text, sizeof text - 1);
    message.error.retryable = true;
    message.error.traceback = peri_slice_of("", 0);
    return wire_message_encode(&message, out, &tail);
}

int sim_labs_tell_lost(struct sim_conn *caller, const struct sim_packet *lost, uint64_t at_us)
{
    struct wire_message message;
    struct peri_buffer bytes = {0};
    struct sim_packet *packet = NULL;
    if (!decode(lost, &message) || message.kind == WIRE_CAST)
        return 0;
    int rc = encode_failure(message.id, &bytes);
    if (rc == 0)
        rc = sim_packet_create(caller, caller->peer_node, caller->node, SIM_PACKET_MESSAGE,
                               bytes.size, &packet);
    if (rc == 0) {
        memcpy(packet->bytes, bytes.data, bytes.size);
        packet->event.payload = sim_mix(packet->event.payload, message.id);
        packet->is_late = true;
        packet->is_uncounted = true;
        sim_conn_deliver_at(caller, packet, at_us);
    }
    peri_buffer_deinit(&bytes);
    return rc;
}

uint64_t sim_net_cut_delay_us(struct sim_world *world, struct sim_node *from)
{
    const struct sim_net_labs *labs = &world->net.labs;
    if (!labs->is_on)
        return 0;
    uint64_t range_ms = labs->long_delays ? LONG_CUT_MS : CUT_MS;
    return 1 + sim_stream_below(&from->streams[SIM_NET], range_ms) * US_PER_MS;
}
