/* load.c - keeps DEPTH requests in flight on each of CONNECTIONS connections for SECONDS, and
 * prints
 *
 *   calls=N per_second=N p50_us=N p99_us=N max_us=N server_cpu_us=N
 *
 * the last being the processor time of the process SERVER_PID per call. One thread and one epoll:
 * all servers are measured by the same client. Warming up, half a second at most, is not counted.
 * Usage: load PROTOCOL PORT SERVER_PID CONNECTIONS DEPTH SECONDS [MODE] */
#include "load.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { INPUT_SIZE = 256 << 10, EVENTS_MAX = 256 };

const char load_payload[LOAD_PAYLOAD_SIZE + 1] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijkl";

struct connection {
    int fd;
    unsigned number;
    uint64_t next_due;       /* the next answer's id, where answers come in order */
    uint64_t *sent_ns;       /* by id modulo depth */
    struct peri_buffer rest; /* of an answer that is not all there */
};

/* Of the connection that is being served: they stay in the processor's cache. */
static char input[INPUT_SIZE];
static struct wire_frames output;

/* Latencies in buckets of 1/32 of a power of two. */
enum { STEPS = 32, BUCKETS = 64 * STEPS };
static uint64_t histogram[BUCKETS];
static uint64_t slowest_ns;

static const struct load_protocol *protocol;
const char *load_mode = "";
uint64_t load_depth;
unsigned load_connection;

void load_fail(const char *what)
{
    fprintf(stderr, "load: %s\n", what);
    exit(1);
}

void load_append(struct peri_buffer *out, const void *bytes, size_t size)
{
    if (peri_buffer_append(out, bytes, size) != 0)
        load_fail("no memory");
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

static void send_output(const struct connection *c)
{
    if (protocol->is_framed)
        wire_frames_seal(&output);
    for (size_t done = 0; done < output.bytes.size;) {
        ssize_t sent = write(c->fd, output.bytes.data + done, output.bytes.size - done);
        if (sent < 0)
            load_fail("a write failed");
        done += (size_t)sent;
    }
    output.bytes.size = output.open = 0;
}

static void add_request(struct connection *c, uint64_t id, uint64_t at_ns)
{
    c->sent_ns[id % load_depth] = at_ns;
    protocol->request(&output, id);
}

/* Each answer makes room for the next request, whose id has the same place in sent_ns. */
static uint64_t take_answers(struct connection *c, size_t have)
{
    uint64_t at_ns = now_ns();
    uint64_t calls = 0;
    size_t used = 0;
    while (used < have) {
        uint64_t id = c->next_due;
        size_t size = protocol->answer(input + used, have - used, &id);
        if (size == 0)
            break;
        record(at_ns - c->sent_ns[id % load_depth]);
        add_request(c, id + load_depth, at_ns);
        used += size;
        calls++;
        c->next_due++;
    }
    c->rest.size = 0;
    load_append(&c->rest, input + used, have - used);
    return calls;
}

static uint64_t serve(struct connection *c)
{
    size_t have = c->rest.size;
    load_connection = c->number;
    if (have > 0)
        memcpy(input, c->rest.data, have);
    ssize_t got = read(c->fd, input + have, sizeof input - have);
    if (got <= 0)
        load_fail("the server closed a connection");
    uint64_t calls = take_answers(c, have + (size_t)got);
    send_output(c);
    return calls;
}

static struct connection *connect_to(uint16_t port, int epoll, unsigned number)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct connection *c = calloc(1, sizeof *c);
    int yes = 1;
    c->number = load_connection = number;
    c->sent_ns = calloc(load_depth, sizeof *c->sent_ns);
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

static void disconnect(struct connection *c)
{
    close(c->fd);
    peri_buffer_deinit(&c->rest);
    free(c->sent_ns);
    free(c);
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

/* The first number of schedstat is how long a thread has run. */
static uint64_t cpu_ns_of_thread(const char *pid, const char *thread)
{
    char path[512];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%s/task/%s/schedstat", pid, thread);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0; /* it has just ended */
    if (fscanf(file, "%llu", &ns) != 1)
        load_fail("no schedstat");
    fclose(file);
    return ns;
}

static uint64_t cpu_ns_of(const char *pid)
{
    char path[64];
    uint64_t ns = 0;
    snprintf(path, sizeof path, "/proc/%s/task", pid);
    DIR *threads = opendir(path);
    if (threads == NULL)
        load_fail("the server is gone");
    for (struct dirent *thread; (thread = readdir(threads)) != NULL;)
        if (thread->d_name[0] != '.')
            ns += cpu_ns_of_thread(pid, thread->d_name);
    closedir(threads);
    return ns;
}

int main(int argc, char **argv)
{
    if (argc != 7 && argc != 8)
        load_fail("PROTOCOL PORT SERVER_PID CONNECTIONS DEPTH SECONDS [MODE]");
    for (size_t i = 0; load_protocols[i] != NULL; i++)
        if (strcmp(argv[1], load_protocols[i]->name) == 0)
            protocol = load_protocols[i];
    load_mode = argc == 8 ? argv[7] : "";
    unsigned connections = (unsigned)strtoul(argv[4], NULL, 10);
    load_depth = strtoull(argv[5], NULL, 10);
    double seconds = strtod(argv[6], NULL);
    if (protocol == NULL || connections == 0 || connections > LOAD_CONNECTIONS_MAX ||
        load_depth == 0 || load_depth > LOAD_DEPTH_MAX)
        load_fail("no such protocol, or too many connections or requests");
    int epoll = epoll_create1(0);
    static struct connection *all[LOAD_CONNECTIONS_MAX];
    for (unsigned i = 0; i < connections; i++) {
        struct connection *c = all[i] = connect_to((uint16_t)strtoul(argv[2], NULL, 10), epoll, i);
        for (uint64_t n = 0; n < load_depth; n++)
            add_request(c, n, now_ns());
        send_output(c);
    }
    double warm_up = seconds / 5 < 0.5 ? seconds / 5 : 0.5; /* servers stay warm from run to run */
    run(epoll, now_ns() + (uint64_t)(warm_up * 1e9));
    memset(histogram, 0, sizeof histogram);
    slowest_ns = 0;
    uint64_t cpu_ns = cpu_ns_of(argv[3]);
    uint64_t start_ns = now_ns();
    uint64_t calls = 0;
    while (calls == 0) /* an overloaded machine may need longer for the first */
        calls = run(epoll, now_ns() + (uint64_t)(seconds * 1e9));
    uint64_t took_ns = now_ns() - start_ns;
    cpu_ns = cpu_ns_of(argv[3]) - cpu_ns;
    printf("calls=%llu per_second=%.0f p50_us=%.1f p99_us=%.1f max_us=%.1f server_cpu_us=%.3f\n",
           (unsigned long long)calls, (double)calls / ((double)took_ns / 1e9),
           percentile_us(calls, 0.5), percentile_us(calls, 0.99), (double)slowest_ns / 1e3,
           (double)cpu_ns / 1e3 / (double)calls);
    for (unsigned i = 0; i < connections; i++)
        disconnect(all[i]);
    peri_buffer_deinit(&output.bytes);
    return 0;
}
