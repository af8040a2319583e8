#include "kv/service.h"

#include <stdlib.h>
#include <string.h>

#include "wire/pack.h"

enum {
    IDLE_MAX = 1024,
    BODY_KEPT_MAX = 64 << 10,
    WAY_BACK_US = 100000 /* at most, of an answer to who asked */
};

/* One call, from its bytes to its answer. */
struct call {
    struct node_request request;
    struct rpc_call *rpc;
    struct kv_service *service;
    struct peri_buffer body; /* of the request */
    struct peri_list link;   /* among the idle ones */
};

/* ---- life ---- */

static void free_call(struct call *call)
{
    peri_buffer_deinit(&call->body);
    free(call);
}

void kv_service_init(struct kv_service *service, const struct node *node, struct node_group *group,
                     struct kv_machine *machine)
{
    memset(service, 0, sizeof *service);
    service->node_id = node_id(node);
    service->group = group;
    service->machine = machine;
    service->env = node_env(node);
    peri_list_init(&service->idle);
}

void kv_service_deinit(struct kv_service *service)
{
    if (service->group == NULL)
        return;
    service->group = NULL;
    while (!peri_list_is_empty(&service->idle)) {
        struct call *call = container_of(service->idle.next, struct call, link);
        peri_list_remove(&call->link);
        free_call(call);
    }
    service->idle_count = 0;
    peri_buffer_deinit(&service->answer);
}

static struct call *take_call(struct kv_service *service, struct rpc_call *rpc)
{
    struct call *call = NULL;
    if (peri_list_is_empty(&service->idle)) {
        call = calloc(1, sizeof *call);
        if (call == NULL)
            return NULL;
        call->service = service;
        peri_list_init(&call->link);
    } else {
        call = container_of(service->idle.prev, struct call, link);
        peri_list_remove(&call->link);
        service->idle_count--;
    }
    call->rpc = rpc;
    call->body.size = 0;
    rpc->data = call;
    return call;
}

static void give_back(struct call *call)
{
    struct kv_service *service = call->service;
    if (service->group == NULL || service->idle_count == IDLE_MAX) {
        free_call(call);
        return;
    }
    peri_buffer_reset(&call->body, BODY_KEPT_MAX);
    call->rpc = NULL;
    peri_list_append(&service->idle, &call->link);
    service->idle_count++;
}

/* ---- answers ---- */

static void pack_text(struct wire_packer *out, const char *text)
{
    wire_pack_bytes(out, peri_slice_of(text, strlen(text)));
}

static struct wire_packer begin_answer(struct kv_service *service, uint32_t count, bool is_ok)
{
    struct wire_packer out = {&service->answer, 0};
    wire_pack_array(&out, count);
    wire_pack_uint(&out, service->node_id);
    wire_pack_bool(&out, is_ok);
    return out;
}

static void send_answer(struct kv_service *service, struct rpc_call *rpc,
                        const struct wire_packer *out)
{
    struct peri_error err;
    if (out->rc == 0) {
        rpc_call_reply_taking(rpc, &service->answer);
    } else {
        peri_error_clear(&err);
        (void)peri_fail(&err, out->rc, "no room for the answer");
        rpc_call_fail_code(rpc, &err);
    }
    service->answer.size = 0;
    if (service->group == NULL)
        peri_buffer_deinit(&service->answer);
}

static void refuse(struct kv_service *service, struct rpc_call *rpc, enum node_certainty certainty,
                   const struct peri_error *err)
{
    static const char *const certainties[] = {"ok", "never", "unknown"};
    uint64_t leader = service->group != NULL ? node_group_leader(service->group) : 0;
    struct wire_packer out = begin_answer(service, 6, false);
    pack_text(&out, err->text);
    pack_text(&out, peri_error_name(err->code));
    pack_text(&out, certainties[certainty]);
    if (leader != 0)
        wire_pack_uint(&out, leader);
    else
        wire_pack_nil(&out);
    send_answer(service, rpc, &out);
}

/* age_us: NULL when nobody asked for it. */
static void succeed(struct kv_service *service, struct rpc_call *rpc, struct peri_slice result,
                    const uint64_t *age_us)
{
    struct wire_packer out = begin_answer(service, age_us != NULL ? 4 : 3, true);
    if (out.rc == 0)
        out.rc = peri_buffer_append(&service->answer, result.data, result.size);
    if (age_us != NULL)
        wire_pack_double(&out, (double)*age_us / 1e6);
    send_answer(service, rpc, &out);
}

static void on_command_done(struct node_request *request, const struct node_outcome *outcome)
{
    struct call *call = container_of(request, struct call, request);
    if (outcome->code == 0)
        succeed(call->service, call->rpc, outcome->result, NULL);
    else /* what is too big for a group is so at every replica */
        refuse(call->service, call->rpc,
               outcome->code == PERI_ETOOBIG ? NODE_OK : outcome->certainty, outcome->err);
    give_back(call);
}

/* How long ago this replica heard of its leader; false when it knows of none. */
static bool find_age(const struct kv_service *service, uint64_t *age_us)
{
    struct node_member_status member;
    uint64_t term = 0, leader = node_group_leader(service->group);
    *age_us = 0;
    if (leader == 0 || node_group_leads(service->group, &term))
        return leader != 0;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (node_group_member(service->group, i, &member) && member.raft.id == leader &&
            member.heard_us != 0) {
            *age_us = env_now_us(service->env) - member.heard_us;
            return true;
        }
    return false;
}

/* What is wrong with the question would be so at every replica. */
static enum node_certainty certainty_of(int code)
{
    return code == PERI_ECOMPACTED || code == PERI_EINVAL || code == PERI_ETOOBIG ||
                   code == PERI_EVERSION
               ? NODE_OK
               : NODE_NEVER;
}

static void on_query_done(struct node_request *request, const struct node_outcome *outcome)
{
    struct call *call = container_of(request, struct call, request);
    struct kv_service *service = call->service;
    uint64_t age_us = 0;
    bool has_age = outcome->code == 0 && request->consistency == NODE_STALE &&
                   service->group != NULL && find_age(service, &age_us);
    if (outcome->code == 0)
        succeed(service, call->rpc, outcome->result, has_age ? &age_us : NULL);
    else
        refuse(service, call->rpc, certainty_of(outcome->code), outcome->err);
    give_back(call);
}

/* ---- calls ---- */

/* What stands behind the first values of the arguments, unchanged, goes into the body. */
static int append_rest(struct wire_packer *out, const struct wire_unpacker *in)
{
    int rc = in->rc != 0 ? in->rc : out->rc;
    return rc == 0 ? peri_buffer_append(out->out, in->at, (size_t)(in->end - in->at)) : rc;
}

static int read_command(struct call *call, struct peri_error *err)
{
    struct kv_service *service = call->service;
    struct wire_unpacker in = wire_unpack(call->rpc->args);
    struct wire_packer out = {&call->body, 0};
    wire_pack_array(&out, wire_unpack_array(&in) + 2);
    wire_pack_uint(&out, KV_COMMAND_VERSION);
    wire_pack_uint(&out,
                   kv_machine_clock(service->machine, service->group, env_now_us(service->env)));
    int rc = append_rest(&out, &in);
    if (rc == 0)
        rc = kv_command_decode(peri_buffer_slice(&call->body), &service->command, err);
    call->request = (struct node_request){.kind = NODE_PROPOSE, .on_done = on_command_done};
    return rc;
}

static int read_consistency(struct peri_slice word, enum node_consistency *out,
                            struct peri_error *err)
{
    static const char *const words[] = {"linearizable", "lease", "stale"};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
        if (word.size == strlen(words[i]) && memcmp(word.data, words[i], word.size) == 0) {
            *out = (enum node_consistency)i;
            return 0;
        }
    return peri_fail_plain(err, PERI_EINVAL,
                           "a read is linearizable, lease or stale, and nothing else");
}

static int read_query(struct call *call, struct peri_error *err)
{
    struct wire_unpacker in = wire_unpack(call->rpc->args);
    struct wire_packer out = {&call->body, 0};
    uint32_t count = wire_unpack_array(&in);
    call->request = (struct node_request){.kind = NODE_READ, .on_done = on_query_done};
    int rc = read_consistency(wire_unpack_bytes(&in), &call->request.consistency, err);
    wire_pack_array(&out, count);
    wire_pack_uint(&out, KV_COMMAND_VERSION);
    return rc == 0 ? append_rest(&out, &in) : rc;
}

/* When a request has to have ended so that its caller still hears why it was in vain. */
static uint64_t due_us(const struct kv_service *service, const struct rpc_call *rpc)
{
    uint64_t now_us = env_now_us(service->env);
    uint64_t left_us = rpc->due_us > now_us ? rpc->due_us - now_us : 0;
    uint64_t way_us = left_us / 8 < WAY_BACK_US ? left_us / 8 : WAY_BACK_US;
    return rpc->due_us - way_us;
}

/* Starts what has been read; a request that cannot be is refused by this replica as by all. */
static void start(struct call *call, int rc, struct peri_error *err)
{
    struct kv_service *service = call->service;
    struct rpc_call *rpc = call->rpc;
    enum node_certainty certainty = certainty_of(rc);
    if (rc != 0 && err->code == 0)
        (void)peri_fail(err, rc, "what was asked of the store");
    if (rc == 0) {
        call->request.body = peri_buffer_slice(&call->body);
        call->request.due_us = due_us(service, rpc);
        call->request.is_patient = true;
        rc = node_request_start(service->group, &call->request, err);
        certainty = certainty_of(rc);
    }
    if (rc == 0)
        return;
    give_back(call);
    refuse(service, rpc, certainty, err);
}

static void take(struct rpc_call *rpc, int (*read)(struct call *call, struct peri_error *err))
{
    struct kv_service *service = rpc->handler->data;
    struct peri_error err;
    struct call *call = service->group != NULL ? take_call(service, rpc) : NULL;
    peri_error_clear(&err);
    if (call != NULL) {
        start(call, read(call, &err), &err);
        return;
    }
    (void)peri_fail(&err, service->group != NULL ? PERI_ENOMEM : PERI_ECLOSED, "the store");
    refuse(service, rpc, NODE_NEVER, &err);
}

static void on_command(struct rpc_call *rpc)
{
    take(rpc, read_command);
}

static void on_query(struct rpc_call *rpc)
{
    take(rpc, read_query);
}

static void on_cancel(struct rpc_call *rpc, int code, const char *reason)
{
    struct call *call = rpc->data;
    (void)code;
    (void)reason;
    node_request_cancel(&call->request);
    give_back(call);
}

int kv_service_serve(struct kv_service *service, struct rpc_server *server, bool has_commands,
                     struct peri_error *err)
{
    struct rpc_handler handler = {.on_call = on_query, .on_cancel = on_cancel, .data = service};
    int rc = rpc_server_handle(server, "kv.query", &handler, err);
    handler.on_call = on_command;
    return rc == 0 && has_commands ? rpc_server_handle(server, "kv.command", &handler, err) : rc;
}
