/* bare.c - what is left when nothing is promised but durability: group commit to three processes
 * with LevelDB.
 *
 *      bench_kv_bare DIRECTORY                              a follower
 *      bench_kv_bare DIRECTORY PORT PORT                    the leader of these two
 *
 * The leader takes all requests that have come, sends their puts to the followers as one batch,
 * writes it with a sync of its own meanwhile, waits for one of the two, and answers. No terms, no
 * log, no checks, no other leader ever. Gets are answered from its own LevelDB. Prints "listening
 * at 127.0.0.1:PORT". */
#include <arpa/inet.h>
#include <leveldb/c.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/buffer.h"

enum { EVENTS_MAX = 1024, CLIENTS_MAX = 4096, INPUT_SIZE = 64 << 10 };

struct client {
    int fd;
    bool is_dirty; /* has answers */
    struct peri_buffer input, output;
};

static leveldb_t *db;
static leveldb_writeoptions_t *synced;
static leveldb_readoptions_t *reading;

static void must(bool is_ok, const char *what)
{
    if (is_ok)
        return;
    perror(what);
    exit(1);
}

static void append(struct peri_buffer *out, const void *bytes, size_t size)
{
    must(peri_buffer_append(out, bytes, size) == 0, "memory");
}

static void write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t done = write(fd, bytes, size);
        must(done > 0, "write");
        bytes += done;
        size -= (size_t)done;
    }
}

static void read_all(int fd, char *bytes, size_t size)
{
    ssize_t got = size == 0 ? 0 : recv(fd, bytes, size, MSG_WAITALL);
    if (got != (ssize_t)size)
        exit(0); /* the other side has ended */
}

static void open_database(const char *path)
{
    char *why = NULL;
    leveldb_options_t *options = leveldb_options_create();
    leveldb_options_set_create_if_missing(options, 1);
    db = leveldb_open(options, path, &why);
    must(db != NULL, why);
    synced = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(synced, 1);
    reading = leveldb_readoptions_create();
}

/* Writes requests, one behind the other as they came, with one sync. */
static void commit(const char *bytes, size_t size)
{
    char *why = NULL;
    leveldb_writebatch_t *batch = leveldb_writebatch_create();
    for (size_t at = 0; at < size;) {
        size_t body = bits_get_le32(bytes + at);
        size_t key_size = (unsigned char)bytes[at + 5];
        const char *key = bytes + at + 6;
        leveldb_writebatch_put(batch, key, key_size, key + key_size, body - 2 - key_size);
        at += 4 + body;
    }
    leveldb_write(db, synced, batch, &why);
    must(why == NULL, why);
    leveldb_writebatch_destroy(batch);
}

static int listen_anywhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, CLIENTS_MAX) == 0 &&
             getsockname(fd, (struct sockaddr *)&address, &size) == 0,
         "listen");
    (void)printf("listening at 127.0.0.1:%d\n", ntohs(address.sin_port));
    (void)fflush(stdout);
    return fd;
}

static void be_quick(int fd)
{
    int yes = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

/* ---- a follower ---- */

static void follow(void)
{
    int fd = accept(listen_anywhere(), NULL, NULL);
    static struct peri_buffer batch;
    be_quick(fd);
    for (;;) {
        char head[4];
        read_all(fd, head, sizeof head);
        batch.size = 0;
        must(peri_buffer_reserve(&batch, bits_get_le32(head)) == 0, "memory");
        read_all(fd, batch.data, bits_get_le32(head));
        commit(batch.data, bits_get_le32(head));
        write_all(fd, "k", 1);
    }
}

/* ---- the leader ---- */

static int followers[2];
static uint64_t sent, acknowledged[2];
static struct peri_buffer puts_due; /* of this round */
static struct client *dirty[CLIENTS_MAX];
static size_t dirty_count;

static int connect_to(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_port = htons((uint16_t)atoi(port));
    must(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    be_quick(fd);
    return fd;
}

/* Waits until one of the two has all that was sent. */
static void await_majority(void)
{
    while (acknowledged[0] < sent && acknowledged[1] < sent) {
        struct pollfd polled[2] = {{followers[0], POLLIN, 0}, {followers[1], POLLIN, 0}};
        must(poll(polled, 2, -1) > 0, "poll");
        for (int i = 0; i < 2; i++) {
            char bytes[64];
            ssize_t got = polled[i].revents != 0 ? read(followers[i], bytes, sizeof bytes) : 0;
            must(got >= 0 && (polled[i].revents == 0 || got > 0), "a follower");
            acknowledged[i] += (uint64_t)got;
        }
    }
}

static void replicate(void)
{
    char head[4];
    if (puts_due.size == 0)
        return;
    bits_put_le32(head, (uint32_t)puts_due.size);
    for (int i = 0; i < 2; i++) {
        write_all(followers[i], head, sizeof head);
        write_all(followers[i], puts_due.data, puts_due.size);
    }
    sent++;
    commit(puts_due.data, puts_due.size);
    await_majority();
    puts_due.size = 0;
}

static void answer(struct client *client, const char *value, size_t size)
{
    char head[4];
    bits_put_le32(head, (uint32_t)size);
    append(&client->output, head, sizeof head);
    append(&client->output, value, size);
    if (!client->is_dirty)
        dirty[dirty_count++] = client;
    client->is_dirty = true;
}

static void take_request(struct client *client, const char *bytes, size_t size)
{
    char *why = NULL;
    size_t value_size = 0;
    if (bytes[4] == 'p') {
        append(&puts_due, bytes, size);
        answer(client, "", 0);
        return;
    }
    char *value = leveldb_get(db, reading, bytes + 6, (unsigned char)bytes[5], &value_size, &why);
    must(why == NULL, why);
    answer(client, value != NULL ? value : "", value_size);
    free(value);
}

static bool serve(struct client *client)
{
    size_t used = 0;
    must(peri_buffer_reserve(&client->input, INPUT_SIZE) == 0, "memory");
    ssize_t got = read(client->fd, client->input.data + client->input.size, INPUT_SIZE);
    if (got <= 0)
        return false;
    client->input.size += (size_t)got;
    while (client->input.size - used >= 4) {
        size_t size = 4 + (size_t)bits_get_le32(client->input.data + used);
        if (client->input.size - used < size)
            break;
        take_request(client, client->input.data + used, size);
        used += size;
    }
    memmove(client->input.data, client->input.data + used, client->input.size - used);
    client->input.size -= used;
    return true;
}

static void watch(int epoll, int fd, void *data)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = data};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

static void take_client(int epoll, int listener)
{
    struct client *client = calloc(1, sizeof *client);
    must(client != NULL, "memory");
    client->fd = accept(listener, NULL, NULL);
    be_quick(client->fd);
    watch(epoll, client->fd, client);
}

static void let_go(struct client *client)
{
    (void)close(client->fd);
    peri_buffer_deinit(&client->input);
    peri_buffer_deinit(&client->output);
    free(client);
}

static void lead(char *const *ports)
{
    struct epoll_event events[EVENTS_MAX];
    for (int i = 0; i < 2; i++)
        followers[i] = connect_to(ports[i]);
    int epoll = epoll_create1(0), listener = listen_anywhere();
    watch(epoll, listener, NULL);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < count; i++)
            if (events[i].data.ptr == NULL)
                take_client(epoll, listener);
            else if (!serve(events[i].data.ptr))
                let_go(events[i].data.ptr);
        replicate();
        for (size_t i = 0; i < dirty_count; i++) {
            write_all(dirty[i]->fd, dirty[i]->output.data, dirty[i]->output.size);
            dirty[i]->output.size = 0;
            dirty[i]->is_dirty = false;
        }
        dirty_count = 0;
    }
}

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 4) {
        (void)fprintf(stderr, "usage: bench_kv_bare DIRECTORY [PORT PORT]\n");
        return 2;
    }
    open_database(argv[1]);
    if (argc == 4)
        lead(argv + 2);
    else
        follow();
    return 0;
}
