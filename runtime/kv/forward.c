#include "kv/forward.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "kv/command.h"
#include "kv/machine.h"
#include "rpc/server.h"
#include "wire/pack.h"

static const char METHOD[] = "kv.propose";
enum { AGAIN_US = 10000 };

/* Commands carry the log time of who leads, whoever was asked. */
static int stamp(const struct node_group *group, struct peri_buffer *command, uint64_t now_us,
                 struct peri_error *err)
{
    struct kv_machine *machine = kv_machine_of(node_group_machine(group));
    if (machine == NULL)
        return peri_fail_plain(err, PERI_EINVAL, "the group is no key/value store");
    if (kv_command_stamp(command, kv_machine_clock(machine, group, now_us)) != 0)
        return peri_fail_plain(err, PERI_EINVAL, "a command without room for log time");
    return 0;
}

/* ---- the leader's side: [group, command] --> [certainty, code, text, result] ---- */

struct guest {
    struct node_request request;
    struct rpc_call *call;
    struct peri_buffer body;
};

static void free_guest(struct guest *guest)
{
    peri_buffer_deinit(&guest->body);
    free(guest);
}

static void answer(struct rpc_call *call, const struct node_outcome *outcome)
{
    struct peri_buffer values = {NULL, 0, 0};
    struct wire_packer out = {&values, 0};
    const char *text = outcome->err != NULL ? outcome->err->text : "";
    struct peri_error err = PERI_ERROR_INIT;
    wire_pack_array(&out, 4);
    wire_pack_uint(&out, (uint64_t)outcome->certainty);
    wire_pack_int(&out, outcome->code);
    wire_pack_bytes(&out, peri_slice_of(text, strlen(text)));
    wire_pack_bytes(&out, outcome->result);
    if (out.rc == 0) {
        rpc_call_reply_taking(call, &values);
    } else {
        (void)peri_fail(&err, PERI_ENOMEM, "no room for the result");
        rpc_call_fail_code(call, &err);
    }
    peri_buffer_deinit(&values);
}

static void on_guest_done(struct node_request *request, const struct node_outcome *outcome)
{
    struct guest *guest = container_of(request, struct guest, request);
    answer(guest->call, outcome);
    free_guest(guest);
}

static void refuse(struct rpc_call *call, struct guest *guest, const struct peri_error *err)
{
    const struct node_outcome outcome = {.certainty = NODE_NEVER, .code = err->code, .err = err};
    free_guest(guest);
    answer(call, &outcome);
}

static void on_call(struct rpc_call *call)
{
    struct node *node = call->handler->data;
    struct wire_unpacker in = wire_unpack(call->args);
    struct peri_error err = PERI_ERROR_INIT;
    (void)wire_unpack_array(&in);
    struct node_group *group = node_group_find(node, wire_unpack_uint(&in));
    struct peri_slice body = wire_unpack_bytes(&in);
    struct guest *guest = calloc(1, sizeof *guest);
    if (wire_unpack_end(&in) != 0 || guest == NULL) {
        (void)peri_fail(&err, guest == NULL ? PERI_ENOMEM : PERI_EFORMAT, "a command");
        free(guest);
        rpc_call_fail_code(call, &err);
        return;
    }
    guest->call = call;
    call->data = guest;
    int rc = peri_buffer_append(&guest->body, body.data, body.size);
    if (rc != 0)
        rc = peri_fail(&err, rc, "a command");
    else if (group == NULL)
        rc = peri_fail_plain(&err, PERI_ENOTLEADER, "the group is not open there");
    else
        rc = stamp(group, &guest->body, env_now_us(node_env(node)), &err);
    guest->request = (struct node_request){.kind = NODE_PROPOSE,
                                           .body = peri_buffer_slice(&guest->body),
                                           .due_us = call->due_us,
                                           .on_done = on_guest_done};
    if (rc == 0)
        rc = node_request_start(group, &guest->request, &err);
    if (rc != 0)
        refuse(call, guest, &err);
}

static void on_cancel(struct rpc_call *call, int code, const char *reason)
{
    struct guest *guest = call->data;
    (void)code;
    (void)reason;
    node_request_cancel(&guest->request);
    free_guest(guest);
}

int kv_forward_serve(struct node *node, struct peri_error *err)
{
    const struct rpc_handler handler = {.on_call = on_call, .on_cancel = on_cancel, .data = node};
    int rc = node_serve(node, METHOD, &handler, err);
    return rc == -EEXIST ? 0 : rc;
}

/* ---- our side ---- */

struct kv_forwarder {
    struct node *node;
    struct node_group *group;
    uint64_t group_id;
    struct rpc_client *client; /* of leader; NULL: none yet */
    uint64_t leader;
    struct env_timer *again;
    struct peri_list waiting; /* to be tried again */
    struct peri_buffer args;
};

static void try_waiting(void *data);

int kv_forwarder_create(struct kv_forwarder **out, struct node *node, uint64_t group_id,
                        struct node_group *group)
{
    struct kv_forwarder *forwarder = calloc(1, sizeof *forwarder);
    if (forwarder == NULL)
        return PERI_ENOMEM;
    forwarder->node = node;
    forwarder->group = group;
    forwarder->group_id = group_id;
    peri_list_init(&forwarder->waiting);
    if (env_timer_create(node_env(node), try_waiting, forwarder, &forwarder->again) != 0) {
        free(forwarder);
        return PERI_ENOMEM;
    }
    *out = forwarder;
    return 0;
}

void kv_forwarder_close(struct kv_forwarder *forwarder)
{
    if (forwarder == NULL)
        return;
    PERI_ASSERT(peri_list_is_empty(&forwarder->waiting));
    rpc_client_close(forwarder->client);
    env_timer_close(forwarder->again);
    peri_buffer_deinit(&forwarder->args);
    free(forwarder);
}

static void try_later(struct kv_proposal *proposal)
{
    struct kv_forwarder *forwarder = proposal->forwarder;
    if (peri_list_is_empty(&forwarder->waiting))
        env_timer_start(forwarder->again, AGAIN_US);
    peri_list_append(&forwarder->waiting, &proposal->link);
}

static void fail(struct kv_proposal *proposal, enum node_certainty certainty)
{
    const struct node_outcome outcome = {
        .certainty = certainty, .code = proposal->err.code, .err = &proposal->err};
    proposal->forwarder = NULL;
    proposal->on_done(proposal, &outcome);
}

/* It has not happened: again, unless the time is over. */
static void again_or_fail(struct kv_proposal *proposal)
{
    if (env_now_us(node_env(proposal->forwarder->node)) + AGAIN_US < proposal->due_us)
        try_later(proposal);
    else
        fail(proposal, NODE_NEVER);
}

static bool is_worth_another_try(int code)
{
    return code == PERI_ENOTLEADER || code == PERI_EUNREACHABLE || code == PERI_EBUSY ||
           code == PERI_ENOFUNCTION;
}

/* An outcome, from here or from there. */
static void finish(struct kv_proposal *proposal, const struct node_outcome *outcome)
{
    if (outcome->certainty == NODE_NEVER && is_worth_another_try(outcome->code)) {
        proposal->err = *outcome->err;
        again_or_fail(proposal);
        return;
    }
    proposal->forwarder = NULL;
    proposal->on_done(proposal, outcome);
}

static void on_there_done(struct rpc_request *request, const struct rpc_result *result)
{
    struct kv_proposal *proposal = container_of(request, struct kv_proposal, there);
    struct wire_unpacker in = wire_unpack(result->values);
    if (result->code != 0) {
        bool was_sent = result->code != PERI_EUNREACHABLE && result->code != PERI_ENOFUNCTION;
        (void)peri_fail_plain(&proposal->err, result->code, "%.*s", (int)result->message.size,
                              result->message.data);
        if (was_sent)
            fail(proposal, NODE_UNKNOWN);
        else
            again_or_fail(proposal);
        return;
    }
    struct node_outcome outcome = {.code = 0};
    (void)wire_unpack_array(&in);
    outcome.certainty = (enum node_certainty)wire_unpack_uint(&in);
    outcome.code = (int)wire_unpack_int(&in);
    struct peri_slice text = wire_unpack_bytes(&in);
    outcome.result = wire_unpack_bytes(&in);
    if (wire_unpack_end(&in) != 0 || outcome.certainty > NODE_UNKNOWN) {
        (void)peri_fail(&proposal->err, PERI_EFORMAT, "an outcome");
        fail(proposal, NODE_UNKNOWN);
        return;
    }
    if (outcome.code != 0) {
        (void)peri_fail_plain(&proposal->err, outcome.code, "%.*s", (int)text.size, text.data);
        outcome.err = &proposal->err;
    }
    finish(proposal, &outcome);
}

/* A client for the leader's node, or NULL when no leader or no address is known. */
static struct rpc_client *client_of(struct kv_forwarder *forwarder, uint64_t leader)
{
    if (forwarder->client != NULL && forwarder->leader == leader)
        return forwarder->client;
    const char *address = node_group_member_address(forwarder->group, leader);
    if (address == NULL)
        return NULL;
    rpc_client_close(forwarder->client); /* what is under way there ends as unknown */
    forwarder->client = NULL;
    forwarder->leader = leader;
    (void)rpc_client_open(&forwarder->client, node_env(forwarder->node),
                          node_identity(forwarder->node), address, NULL);
    return forwarder->client;
}

static void propose_there(struct kv_proposal *proposal, uint64_t leader)
{
    struct kv_forwarder *forwarder = proposal->forwarder;
    struct rpc_client *client = client_of(forwarder, leader);
    struct wire_packer args = {&forwarder->args, 0};
    forwarder->args.size = 0;
    wire_pack_array(&args, 2);
    wire_pack_uint(&args, forwarder->group_id);
    wire_pack_bytes(&args, peri_buffer_slice(proposal->body));
    proposal->there = (struct rpc_request){.name = {METHOD, sizeof METHOD - 1},
                                           .due_us = proposal->due_us,
                                           .on_done = on_there_done,
                                           .owner = forwarder};
    int rc =
        args.rc != 0 ? peri_fail(&proposal->err, args.rc, "a command")
        : client == NULL
            ? peri_fail_plain(&proposal->err, PERI_ENOTLEADER, "nobody is known to lead the group")
            : rpc_client_call(client, &proposal->there, peri_buffer_slice(&forwarder->args), false,
                              &proposal->err);
    if (rc == 0)
        return;
    if (client != NULL)
        rpc_client_hurry(client);
    try_later(proposal);
}

static void on_here_done(struct node_request *request, const struct node_outcome *outcome)
{
    finish(container_of(request, struct kv_proposal, here), outcome);
}

static void propose_here(struct kv_proposal *proposal)
{
    struct kv_forwarder *forwarder = proposal->forwarder;
    int rc = stamp(forwarder->group, proposal->body, env_now_us(node_env(forwarder->node)),
                   &proposal->err);
    PERI_ASSERT(rc == 0); /* the command is ours */
    proposal->here = (struct node_request){.kind = NODE_PROPOSE,
                                           .body = peri_buffer_slice(proposal->body),
                                           .due_us = proposal->due_us,
                                           .is_patient = true,
                                           .on_done = on_here_done};
    if (node_request_start(forwarder->group, &proposal->here, &proposal->err) != 0)
        try_later(proposal);
}

static void attempt(struct kv_proposal *proposal)
{
    struct kv_forwarder *forwarder = proposal->forwarder;
    struct node_status status;
    node_group_status(forwarder->group, &status);
    if (status.raft.role != RAFT_LEADER && status.raft.leader != 0 &&
        status.raft.leader != node_id(forwarder->node))
        propose_there(proposal, status.raft.leader);
    else
        propose_here(proposal);
}

void kv_propose(struct kv_forwarder *forwarder, struct kv_proposal *proposal)
{
    proposal->forwarder = forwarder;
    peri_list_init(&proposal->link);
    peri_error_clear(&proposal->err);
    attempt(proposal);
}

/* What is tried again may come back to the list, which is taken as it is now. */
static void try_waiting(void *data)
{
    struct kv_forwarder *forwarder = data;
    struct peri_list *last = forwarder->waiting.prev;
    uint64_t now_us = env_now_us(node_env(forwarder->node));
    bool is_last = peri_list_is_empty(&forwarder->waiting);
    while (!is_last) {
        struct peri_list *link = forwarder->waiting.next;
        struct kv_proposal *proposal = container_of(link, struct kv_proposal, link);
        is_last = link == last;
        peri_list_remove(link);
        if (now_us < proposal->due_us)
            attempt(proposal);
        else
            fail(proposal, NODE_NEVER);
    }
    if (!peri_list_is_empty(&forwarder->waiting))
        env_timer_start(forwarder->again, AGAIN_US);
}

void kv_proposal_cancel(struct kv_proposal *proposal)
{
    if (proposal->forwarder == NULL)
        return;
    peri_list_remove(&proposal->link);
    node_request_cancel(&proposal->here); /* no effect on what is not under way */
    rpc_request_cancel(&proposal->there, "nobody waits for it any more");
    proposal->forwarder = NULL;
}
