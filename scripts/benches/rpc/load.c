/* load.c - keeps DEPTH requests in flight on each of CONNECTIONS connections for SECONDS, and
 * prints
 *
 *   calls=N per_second=N p50_us=N p99_us=N max_us=N server_cpu_us=N
 *
 * the last being the processor time of the process SERVER_PID per call. One thread and one epoll:
 * all servers are measured by the same client. Half a second of warming up is not counted.
 * Usage: load PROTOCOL PORT SERVER_PID CONNECTIONS DEPTH SECONDS */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { INPUT_SIZE = 256 << 10, CONNECTIONS_MAX = 10000, DEPTH_MAX = 1024, EVENTS_MAX = 256 };

const char load_payload[LOAD_PAYLOAD_SIZE + 1] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijkl";

struct connection {
    int fd;
    uint64_t next_due; /* the next answer's id, where answers come in order */
    size_t have;       /* bytes of input */
    size_t to_send;    /* bytes of output */
    uint64_t *sent_ns; /* by id modulo depth */
    char *output;
    char input[INPUT_SIZE];
};

/* Latencies in buckets of 1/32 of a power of two. */
enum { STEPS = 32, BUCKETS = 64 * STEPS };
static uint64_t histogram[BUCKETS];
static uint64_t slowest_ns;

static const struct load_protocol *const protocols[] = {&load_raw, &load_frame, &load_rpc,
                                                        &load_iproto};
static const struct load_protocol *protocol;
static uint64_t depth;

void load_fail(const char *what)
{
    fprintf(stderr, "load: %s\n", what);
    exit(1);
}

void load_write(int fd, const char *bytes, size_t size)
{
    if (write(fd, bytes, size) != (ssize_t)size)
        load_fail("the server does not take the greeting");
}

void load_read(int fd, char *bytes, size_t size)
{
    if (recv(fd, bytes, size, MSG_WAITALL) != (ssize_t)size)
        load_fail("the server does not answer the greeting");
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- latencies ---- */

static unsigned bucket_of(uint64_t ns)
{
    if (ns < STEPS)
        return (unsigned)ns;
    unsigned power = 63 - (unsigned)__builtin_clzll(ns);
    return (power - 4) * STEPS + (unsigned)(ns >> (power - 5) & (STEPS - 1));
}

static double us_of(unsigned bucket)
{
    if (bucket < STEPS)
        return bucket / 1e3;
    unsigned power = bucket / STEPS + 4;
    return (double)((uint64_t)(STEPS + bucket % STEPS) << (power - 5)) / 1e3;
}

static void record(uint64_t ns)
{
    histogram[bucket_of(ns)]++;
    if (ns > slowest_ns)
        slowest_ns = ns;
}

static double percentile_us(uint64_t calls, double share)
{
    uint64_t wanted = (uint64_t)((double)calls * share);
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        seen += histogram[bucket];
        if (seen > wanted)
            return us_of(bucket);
    }
    return (double)slowest_ns / 1e3;
}

/* ---- connections ---- */

static void send_output(struct connection *c)
{
    ssize_t sent = write(c->fd, c->output, c->to_send);
    if (sent < 0 && errno != EAGAIN)
        load_fail("a write failed");
    if (sent > 0) {
        c->to_send -= (size_t)sent;
        memmove(c->output, c->output + sent, c->to_send);
    }
}

static void add_request(struct connection *c, uint64_t id, uint64_t at_ns)
{
    c->sent_ns[id % depth] = at_ns;
    c->to_send += protocol->request(c->output + c->to_send, id);
}

/* Each answer makes room for the next request, whose id has the same place in sent_ns. */
static uint64_t take_answers(struct connection *c)
{
    uint64_t at_ns = now_ns();
    uint64_t calls = 0;
    size_t used = 0;
    while (used < c->have) {
        uint64_t id = c->next_due;
        size_t size = protocol->answer(c->input + used, c->have - used, &id);
        if (size == 0)
            break;
        record(at_ns - c->sent_ns[id % depth]);
        add_request(c, id + depth, at_ns);
        used += size;
        calls++;
        c->next_due++;
    }
    c->have -= used;
    memmove(c->input, c->input + used, c->have);
    return calls;
}

static uint64_t serve(struct connection *c)
{
    ssize_t got = read(c->fd, c->input + c->have, sizeof c->input - c->have);
    if (got == 0 || (got < 0 && errno != EAGAIN))
        load_fail("the server closed a connection");
    if (got < 0)
        return 0;
    c->have += (size_t)got;
    uint64_t calls = take_answers(c);
    while (c->to_send > 0)
        send_output(c);
    return calls;
}

static struct connection *connect_to(uint16_t port, int epoll)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct connection *c = calloc(1, sizeof *c);
    int yes = 1;
    c->sent_ns = calloc(depth, sizeof *c->sent_ns);
    c->output = malloc((size_t)depth * LOAD_REQUEST_MAX);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
        load_fail("cannot connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (protocol->greet != NULL)
        protocol->greet(c->fd);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
        load_fail("epoll_ctl");
    return c;
}

/* ---- the run ---- */

static uint64_t run(int epoll, uint64_t until_ns)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t calls = 0;
    while (now_ns() < until_ns) {
        int count = epoll_wait(epoll, events, EVENTS_MAX, 5000);
        if (count == 0)
            load_fail("no answer for 5 s");
        for (int i = 0; i < count; i++)
            calls += serve(events[i].data.ptr);
    }
    return calls;
}

/* The first number of schedstat is the nanoseconds that the process's main thread has run. */
static uint64_t cpu_ns_of(const char *pid)
{
    char path[64];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%s/schedstat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%llu", &ns) != 1)
        load_fail("the server is gone");
    fclose(file);
    return ns;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        load_fail("PROTOCOL PORT SERVER_PID CONNECTIONS DEPTH SECONDS");
    for (size_t i = 0; i < sizeof protocols / sizeof protocols[0]; i++)
        if (strcmp(argv[1], protocols[i]->name) == 0)
            protocol = protocols[i];
    unsigned long connections = strtoul(argv[4], NULL, 10);
    depth = strtoull(argv[5], NULL, 10);
    double seconds = strtod(argv[6], NULL);
    if (protocol == NULL || connections == 0 || connections > CONNECTIONS_MAX || depth == 0 ||
        depth > DEPTH_MAX)
        load_fail("no such protocol, or too many connections or requests");
    int epoll = epoll_create1(0);
    for (unsigned long i = 0; i < connections; i++) {
        struct connection *c = connect_to((uint16_t)strtoul(argv[2], NULL, 10), epoll);
        for (uint64_t n = 0; n < depth; n++)
            add_request(c, n, now_ns());
        while (c->to_send > 0)
            send_output(c);
    }
    run(epoll, now_ns() + 500000000);
    memset(histogram, 0, sizeof histogram);
    slowest_ns = 0;
    uint64_t cpu_ns = cpu_ns_of(argv[3]);
    uint64_t start_ns = now_ns();
    uint64_t calls = run(epoll, start_ns + (uint64_t)(seconds * 1e9));
    uint64_t took_ns = now_ns() - start_ns;
    cpu_ns = cpu_ns_of(argv[3]) - cpu_ns;
    printf("calls=%llu per_second=%.0f p50_us=%.1f p99_us=%.1f max_us=%.1f server_cpu_us=%.3f\n",
           (unsigned long long)calls, (double)calls / ((double)took_ns / 1e9),
           percentile_us(calls, 0.5), percentile_us(calls, 0.99), (double)slowest_ns / 1e3,
           (double)cpu_ns / 1e3 / (double)calls);
    return 0;
}
