/* members.c - configurations with addresses, as bytes: store/configuration.h, and behind it for
 * each member, in the same order, the size of its address as u8 and the address; size 0: unknown.
 */
#include <inttypes.h>

#include "node/parts.h"
#include "store/configuration.h"

int node_members_put(const struct node *node, const struct raft_configuration *members,
                     struct peri_buffer *out)
{
    size_t size = out->size;
    int rc = store_configuration_encode(members, out);
    for (size_t i = 0; i < members->count && rc == 0; i++) {
        const struct node_peer *peer = node_peer_find(node, members->ids[i]);
        const char *address = peer != NULL ? peer->address : "";
        const char length = (char)strlen(address);
        rc = peri_buffer_append(out, &length, 1);
        if (rc == 0)
            rc = peri_buffer_append(out, address, strlen(address));
    }
    if (rc != 0)
        out->size = size;
    return rc;
}

int node_members_get(struct peri_slice bytes, struct raft_configuration *out,
                     struct peri_slice *addresses, struct peri_error *err)
{
    struct peri_slice rest = {NULL, 0};
    if (store_configuration_decode(bytes, out, &rest) != 0)
        return peri_fail(err, PERI_EFORMAT, "a configuration of %zu bytes", bytes.size);
    if (addresses != NULL)
        *addresses = rest;
    return 0;
}

int node_members_learn(struct node *node, struct peri_slice bytes, struct peri_error *err)
{
    struct raft_configuration members = {.count = 0};
    struct peri_slice rest = {NULL, 0};
    int rc = node_members_get(bytes, &members, &rest, err);
    const char *at = rest.data, *end = rest.data + rest.size;
    for (size_t i = 0; i < members.count && rc == 0 && at != end; i++) {
        size_t size = (unsigned char)*at++;
        if (size > (size_t)(end - at))
            return peri_fail_plain(err, PERI_EFORMAT, "the address of node %" PRIu64 " is cut",
                                   members.ids[i]);
        if (size > 0)
            rc = node_peer_set(node, members.ids[i], peri_slice_of(at, size), err);
        at += size;
    }
    return rc;
}

static void on_configuration(struct node_group *group, void *data, int status, uint64_t first,
                             const struct store_log_entry *entries, size_t count)
{
    (void)data;
    (void)first;
    if (status == 0 && count > 0 && entries[0].type == RAFT_CONFIGURATION && !group->is_closing)
        (void)node_members_learn(group->node, entries[0].payload, NULL);
}

void node_members_recall(struct node_group *group, const struct raft_boot *boot)
{
    for (size_t i = 0; i < boot->configuration_count; i++) {
        uint64_t index = boot->configurations[i].index;
        if (index > boot->base_index)
            (void)node_disk_read(group, index, index, UINT64_MAX, on_configuration, NULL);
    }
}
