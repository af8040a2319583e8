/* fault.c - what is kept of a replica that cannot go on: the flight recorder, as a file. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "env/log.h"
#include "node/parts.h"

struct keeping {
    struct node *node;
    struct peri_buffer bytes;
    char path[NODE_SNAPSHOT_PATH_MAX];
    struct peri_error err;
    int rc;
};

static void run(void *data)
{
    struct keeping *keeping = data;
    struct env_file *file;
    const int flags = ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_TRUNCATE;
    keeping->rc = env_file_open(keeping->node->env, keeping->path, flags, &file, &keeping->err);
    if (keeping->rc != 0)
        return;
    keeping->rc = env_file_write(file, keeping->bytes.data, keeping->bytes.size, &keeping->err);
    if (keeping->rc == 0)
        keeping->rc = env_file_sync(file, &keeping->err);
    (void)env_file_close(file, NULL);
}

static void done(void *data, int status)
{
    struct keeping *keeping = data;
    struct node *node = keeping->node;
    if (status == 0 && !node->is_closing && keeping->rc == 0)
        env_log(node->env, ENV_LOG_WARN, "node",
                "its last events are in %s; see them with raft.replay", keeping->path);
    else if (status == 0 && !node->is_closing)
        env_log(node->env, ENV_LOG_WARN, "node", "its last events are lost: %s", keeping->err.text);
    peri_buffer_deinit(&keeping->bytes);
    free(keeping);
    node_release(node);
}

void node_fault_keep(struct node_group *group)
{
    struct keeping *keeping = calloc(1, sizeof *keeping);
    if (keeping == NULL)
        return; /* what failed was told; this is for the search of the cause */
    keeping->node = group->node;
    (void)snprintf(keeping->path, sizeof keeping->path, "%s/recorder-g%" PRIu64, group->node->path,
                   group->id);
    if (node_recorder_write(&group->recorder, &keeping->bytes) != 0 ||
        env_work(group->node->env, run, done, keeping) != 0) {
        peri_buffer_deinit(&keeping->bytes);
        free(keeping);
        return;
    }
    node_hold(group->node);
}
