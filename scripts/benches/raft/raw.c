/* raw.c - what the disk and loopback give without anybody's protocol.
 *
 *      bench_raft_raw FILE
 *
 * Reads lines: "load ENTRIES BYTES MS" appends so many entries and syncs them, again and again;
 * "echo 1 BYTES MS" sends as many bytes to another process and back over loopback TCP. Answers as
 * load.h says. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

static char bytes[LOAD_BYTES_MAX];

static void must(bool is_ok, const char *what)
{
    if (is_ok)
        return;
    perror(what);
    exit(1);
}

static void load_file(struct load *load, int file)
{
    size_t left_in_batch = load->proposers * load->bytes;
    must(ftruncate(file, 0) == 0 && lseek(file, 0, SEEK_SET) == 0 && fsync(file) == 0, "truncate");
    uint64_t now_us = load_now_us();
    while (!load_is_over(load, now_us)) {
        uint64_t started_us = now_us;
        for (size_t left = left_in_batch; left > 0;) {
            size_t size = left < sizeof bytes ? left : sizeof bytes;
            must(write(file, bytes, size) == (ssize_t)size, "write");
            left -= size;
        }
        must(fdatasync(file) == 0, "fdatasync");
        now_us = load_now_us();
        load_count(load, now_us, now_us - started_us, load->proposers);
    }
    load_print(load);
}

static void transfer(int from, int to, size_t size)
{
    for (size_t left = size; left > 0;) {
        ssize_t got = read(from, bytes, left);
        if (got <= 0)
            exit(0);
        must(write(to, bytes, (size_t)got) == got, "write");
        left -= (size_t)got;
    }
}

static int connect_pair(int *other)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), near = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 1) == 0 &&
             getsockname(listener, (struct sockaddr *)&address, &size) == 0 &&
             connect(near, (struct sockaddr *)&address, size) == 0,
         "connect");
    *other = accept(listener, NULL, NULL);
    must(*other >= 0, "accept");
    (void)close(listener);
    (void)setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(*other, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return near;
}

static void load_echo(struct load *load)
{
    int far = -1, near = connect_pair(&far);
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        (void)close(near);
        for (;;)
            transfer(far, far, load->bytes);
    }
    (void)close(far);
    uint64_t now_us = load_now_us();
    while (!load_is_over(load, now_us)) {
        uint64_t started_us = now_us;
        must(write(near, bytes, load->bytes) == (ssize_t)load->bytes, "write");
        for (size_t left = load->bytes; left > 0;) {
            ssize_t got = read(near, bytes, left);
            must(got > 0, "read");
            left -= (size_t)got;
        }
        now_us = load_now_us();
        load_count(load, now_us, now_us - started_us, 1);
    }
    (void)close(near);
    load_print(load);
}

int main(int argc, char **argv)
{
    static struct load load;
    char line[LOAD_LINE_MAX];
    if (argc != 2) {
        (void)fprintf(stderr, "usage: bench_raft_raw FILE\n");
        return 2;
    }
    (void)signal(SIGCHLD, SIG_IGN);
    int file = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0644);
    must(file >= 0, argv[1]);
    (void)memset(bytes, 'x', sizeof bytes);
    (void)printf("ready\n");
    (void)fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        bool is_echo = strncmp(line, "echo", 4) == 0;
        if (is_echo)
            (void)memcpy(line, "load", 4);
        if (!load_start(&load, line)) {
            (void)fprintf(stderr, "bench_raft_raw: what is this? %s", line);
            return 2;
        }
        if (is_echo)
            load_echo(&load);
        else
            load_file(&load, file);
    }
    free(load.samples);
    return close(file);
}
