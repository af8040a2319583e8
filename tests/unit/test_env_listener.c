/* Listeners, and peers that are not ours: broken, slow, silent, too many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conn_fixture.h"
#include "env/log.h"
#include "wire/frame.h"

/* ---- peers that are not ours ---- */

static const char HELLO[] = "\5\0\0\0\xfd\xdc\x62\x5c"
                            "hello"; /* a frame */

/* Sends bytes to a server and says how its connection ended. */
static int end_of(struct peri_slice bytes, bool closes, struct net *net)
{
    net_open(net, "127.0.0.1:0");
    env_log_set_level(net->env, ENV_LOG_ERROR);
    net->server.idle_limit_us = 50000;
    int fd = raw_connect(net);
    assert_int_equal(write(fd, bytes.data, bytes.size), bytes.size);
    if (closes)
        assert_int_equal(close(fd), 0);
    env_run(net->env);
    if (!closes)
        assert_int_equal(close(fd), 0);
    assert_int_equal(net->server.closes, 1);
    int status = net->server.close_status;
    net_close(net);
    return status;
}

static void broken_framing_ends_one_connection(void **state)
{
    (void)state;
    struct net net;
    struct wire_frames frames = {.open = 0};
    struct peri_slice part = {"message", 7};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(wire_frames_add(&frames, &part, 1), 0);
        wire_frames_seal(&frames); /* so that they are two */
    }
    struct peri_buffer frame = frames.bytes;
    struct peri_slice good = peri_slice_of(frame.data, frame.size / 2);

    assert_int_equal(end_of(good, true, &net), PERI_ECLOSED);
    assert_int_equal(net.server.messages, 1);
    assert_int_equal(end_of(peri_slice_of(frame.data, frame.size - 1), true, &net), PERI_ECLOSED);
    assert_int_equal(net.server.messages, 1);
    assert_non_null(strstr(net.server.failure, "in the middle of a message"));
    assert_int_equal(end_of(peri_slice_of("GET / HTTP/1.1\r\n\r\n", 18), false, &net),
                     PERI_ETOOBIG);
    assert_int_equal(end_of(peri_slice_of("\0\0\0\0....", 8), false, &net), PERI_EFORMAT);
    assert_int_equal(end_of(peri_slice_of("\1\20\0\0", 4), false, &net), PERI_ETOOBIG);
    assert_string_equal(strstr(net.server.failure, ": ") + 2,
                        "a message of 4097 bytes, more than the limit 4096");
    frame.data[frame.size - 1] ^= 1;
    assert_int_equal(end_of(peri_buffer_slice(&frame), false, &net), PERI_EFORMAT);
    assert_int_equal(net.server.messages, 1); /* the first frame is good */
    assert_int_equal(end_of(peri_slice_of("\5\0\0\0", 4), false, &net), -ETIMEDOUT);
    assert_int_equal(end_of(peri_slice_of("", 0), false, &net), -ETIMEDOUT);
    assert_non_null(strstr(net.server.failure, "no message for 0.1 s"));
    peri_buffer_deinit(&frame);
}

/* A burst whose checksum is right and whose second length is not: what comes before it counts. */
static void broken_bursts_end_one_connection(void **state)
{
    (void)state;
    enum { SECOND_AT = WIRE_FRAME_HEADER_SIZE + WIRE_LENGTH_SIZE + 7 };
    static const struct {
        char length;
        const char *text;
    } cases[] = {{0, "a burst with an empty message"},
                 {8, "a message of 8 bytes in the last 7 of a burst"},
                 {6, "a burst that ends in a length"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct net net;
        struct wire_frames frames = {.open = 0};
        struct peri_slice part = {"message", 7};
        assert_int_equal(wire_frames_add(&frames, &part, 1), 0);
        assert_int_equal(wire_frames_add(&frames, &part, 1), 0);
        frames.bytes.data[SECOND_AT] = cases[i].length;
        wire_frames_seal(&frames);
        assert_int_equal(end_of(peri_buffer_slice(&frames.bytes), false, &net), PERI_EFORMAT);
        assert_int_equal(net.server.messages, cases[i].length == 6 ? 2 : 1);
        assert_non_null(strstr(net.server.failure, cases[i].text));
        peri_buffer_deinit(&frames.bytes);
    }
}

static void random_bytes_do_no_harm(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct net net;
        char bytes[512];
        unsigned value = seed;
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)((value = value * 1103515245U + 12345U) >> 16);
        bytes[1] = bytes[2] = bytes[3] = 0; /* a size that is believed */
        assert_int_equal(end_of(peri_slice_of(bytes, sizeof bytes), false, &net), PERI_EFORMAT);
        assert_int_equal(net.server.messages, 0);
    }
}

/* The peer neither reads nor closes: the close gives up, and env_close with it. */
static void a_close_waits_for_nobody_for_ever(void **state)
{
    (void)state;
    enum { SIZE = 12 << 20 };
    struct net net;
    char *bytes = calloc(1, SIZE);
    struct peri_slice part = {bytes, SIZE};
    net_open(&net, "127.0.0.1:0");
    net.server.stop_at = 1;
    int fd = raw_connect(&net);
    assert_int_equal(write(fd, HELLO, sizeof HELLO - 1), sizeof HELLO - 1);
    env_run(net.env);
    assert_int_equal(env_conn_send(net.server.conn, &part, 1), 0);
    struct env *env = net.env;
    uint64_t before_us = env_now_us(env);
    env_conn_close(net.server.conn);
    env_listener_close(net.listener);
    env_run(env); /* until the connection is gone */
    assert_in_range(env_now_us(env) - before_us, 500000, 5000000);
    env_close(env);
    assert_int_equal(close(fd), 0);
    peri_buffer_deinit(&net.server.received);
    free(bytes);
}

struct dripping {
    struct env_timer *timer;
    struct peri_slice bytes;
    int fd;
};

static void on_drip(void *data)
{
    struct dripping *drip = data;
    if (drip->bytes.size == 0)
        return;
    assert_int_equal(write(drip->fd, drip->bytes.data, 1), 1);
    drip->bytes = peri_slice_of(drip->bytes.data + 1, drip->bytes.size - 1);
    env_timer_start(drip->timer, 1000);
}

/* A message byte by byte is a message; but one that takes longer than the idle limit is none. */
static void drip_ends_with(size_t size, uint64_t limit_us, int closes)
{
    struct net net;
    struct wire_frames frame = {.open = 0};
    char bytes[1024] = "slow";
    struct peri_slice part = {bytes, size};
    struct dripping drip = {0};
    assert_int_equal(wire_frames_add(&frame, &part, 1), 0);
    wire_frames_seal(&frame);
    net_open(&net, "127.0.0.1:0");
    net.server.idle_limit_us = limit_us;
    net.server.stop_at = 1;
    drip.bytes = peri_buffer_slice(&frame.bytes);
    drip.fd = raw_connect(&net);
    assert_int_equal(env_timer_create(net.env, on_drip, &drip, &drip.timer), 0);
    env_timer_start(drip.timer, 0);
    env_run(net.env);
    assert_int_equal(net.server.closes, closes);
    assert_int_equal(net.server.messages, 1 - closes);
    env_timer_close(drip.timer);
    assert_int_equal(close(drip.fd), 0);
    peri_buffer_deinit(&frame.bytes);
    net_close(&net);
}

static void slow_senders_have_a_limit(void **state)
{
    (void)state;
    drip_ends_with(20, 10000000, 0);
    drip_ends_with(1000, 50000, 1);
}

/* ---- listeners ---- */

static void connections_may_be_turned_away(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, "127.0.0.1:0");
    net.closes_at_once = true;
    net_connect(&net);
    env_run(net.env);
    assert_int_equal(net.client.closes, 1);
    assert_int_equal(net.client.close_status, PERI_ECLOSED);
    net_close(&net);
}

static void a_used_port_is_refused(void **state)
{
    (void)state;
    struct net net;
    struct env_listener *second = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    net_open(&net, "127.0.0.1:0");
    assert_int_equal(env_listener_open(net.env, env_listener_address(net.listener), on_connection,
                                       &net, &second, &err),
                     -EADDRINUSE);
    assert_non_null(strstr(err.text, "listen at 127.0.0.1:"));
    assert_non_null(strstr(err.text, "Address already in use"));
    net_close(&net);
}

static void unix_sockets_are_private(void **state)
{
    (void)state;
    struct net net;
    struct stat found;
    net_open(&net, "unix:build/test_env_listener.socket");
    assert_int_equal(stat("build/test_env_listener.socket", &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    net_close(&net);
}

/* Leaves a socket that nobody listens on, as a process does that was killed. */
static void leave_stale_socket(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    memcpy(name.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(close(fd), 0);
}

static void stale_sockets_are_replaced(void **state)
{
    (void)state;
    struct env_listener *second = NULL;
    (void)unlink("build/test_env_listener.socket");
    leave_stale_socket("build/test_env_listener.socket");
    struct net net;
    net_open(&net, "unix:build/test_env_listener.socket");
    /* But not one that is alive, nor a file. */
    assert_int_equal(env_listener_open(net.env, "unix:build/test_env_listener.socket",
                                       on_connection, &net, &second, NULL),
                     -EADDRINUSE);
    assert_int_equal(access("build/test_env_listener.socket", F_OK), 0);
    net_close(&net);
    int fd = open("build/test_env_listener.socket", O_CREAT | O_WRONLY, 0600);
    assert_int_equal(close(fd), 0);
    net_open(&net, ":0");
    assert_int_equal(env_listener_open(net.env, "unix:build/test_env_listener.socket",
                                       on_connection, &net, &second, NULL),
                     -EADDRINUSE);
    net_close(&net);
    assert_int_equal(unlink("build/test_env_listener.socket"), 0);
}

enum { RACERS = 6, RACES = 30 };

/* In a process of its own: waits for the start, opens a listener, tells what came of that, and
 * stays until the end. */
_Noreturn static void race(const char *address, int start, int results)
{
    struct env *env;
    struct env_listener *listener;
    char byte;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (env_uv_create(&env, NULL) != 0 || read(start, &byte, 1) != 0)
        _exit(1);
    int rc = env_listener_open(env, address, on_connection, NULL, &listener, NULL);
    (void)!write(results, &rc, sizeof rc);
    (void)pause();
    _exit(0);
}

/* Several processes find a stale socket at the same time: one gets it, and keeps it. */
static void stale_sockets_have_one_heir(void **state)
{
    static const char path[] = "build/test_env_listener.race";
    (void)state;
    for (int round = 0; round < RACES; round++) {
        int start[2];
        int results[2];
        pid_t racers[RACERS];
        int winners = 0;
        (void)unlink(path);
        leave_stale_socket(path);
        assert_int_equal(pipe(start), 0);
        assert_int_equal(pipe(results), 0);
        for (int i = 0; i < RACERS; i++) {
            racers[i] = fork();
            assert_true(racers[i] >= 0);
            if (racers[i] == 0) {
                (void)close(start[1]);
                race("unix:build/test_env_listener.race", start[0], results[1]);
            }
        }
        assert_int_equal(close(start[1]), 0); /* which starts them */
        for (int i = 0; i < RACERS; i++) {
            int rc;
            assert_int_equal(read(results[0], &rc, sizeof rc), sizeof rc);
            assert_true(rc == 0 || rc == -EADDRINUSE);
            winners += rc == 0;
        }
        assert_int_equal(winners, 1);
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        memcpy(name.sun_path, path, sizeof path);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
        int open_fds[] = {fd, start[0], results[0], results[1]};
        for (size_t i = 0; i < sizeof open_fds / sizeof open_fds[0]; i++)
            assert_int_equal(close(open_fds[i]), 0);
        for (int i = 0; i < RACERS; i++) {
            assert_int_equal(kill(racers[i], SIGKILL), 0);
            assert_int_equal(waitpid(racers[i], NULL, 0), racers[i]);
        }
        assert_int_equal(access("build/test_env_listener.race.lock", F_OK), -1);
    }
    assert_int_equal(unlink(path), 0);
}

/* While one process decides whether a socket is stale, another one leaves it alone. */
static void opening_a_socket_takes_its_lock(void **state)
{
    static const char lock[] = "build/test_env_listener.socket.lock";
    (void)state;
    struct net net;
    struct env_listener *second = NULL;
    leave_stale_socket("build/test_env_listener.socket");
    int fd = open(lock, O_CREAT | O_RDWR, 0600);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    net_open(&net, ":0");
    assert_int_equal(env_listener_open(net.env, "unix:build/test_env_listener.socket",
                                       on_connection, &net, &second, NULL),
                     -EADDRINUSE);
    assert_int_equal(access("build/test_env_listener.socket", F_OK), 0);
    net_close(&net);
    assert_int_equal(close(fd), 0); /* the file alone, as after a kill, locks nobody out */
    net_open(&net, "unix:build/test_env_listener.socket");
    assert_int_equal(access(lock, F_OK), -1);
    net_close(&net);
}

struct crowd {
    struct env *env;
    struct end ends[64];
    int accepted;
};

static void on_crowd_connection(void *data, struct env_conn *conn)
{
    struct crowd *crowd = data;
    struct end *end = &crowd->ends[crowd->accepted++];
    *end = (struct end){.env = crowd->env, .conn = conn};
    env_conn_accept(conn, &end_events, end);
    env_conn_set_idle_limit(conn, 100000);
}

/* With few descriptors left, connections are refused while files can still be opened. */
static void connections_leave_descriptors_to_others(void **state)
{
    (void)state;
    enum { LIMIT = 150, ATTEMPTS = 60 };
    struct net net;
    struct rlimit before;
    struct rlimit low;
    struct crowd crowd = {0};
    struct env_listener *listener;
    int fds[ATTEMPTS];
    net_open(&net, "127.0.0.1:0");
    env_log_set_level(net.env, ENV_LOG_ERROR);
    crowd.env = net.env;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    env_listener_close(net.listener);
    assert_int_equal(env_listener_open(net.env, ":0", on_crowd_connection, &crowd, &listener, NULL),
                     0);
    net.listener = listener;
    low = before;
    low.rlim_cur = LIMIT;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (int i = 0; i < ATTEMPTS; i++)
        fds[i] = raw_connect(&net);
    env_run(net.env); /* until the first connection is idle for too long */
    assert_in_range(crowd.accepted, 1, ATTEMPTS - 1);
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(close(file), 0);
    for (int i = 0; i < ATTEMPTS; i++)
        assert_int_equal(close(fds[i]), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    net_close(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_framing_ends_one_connection),
        cmocka_unit_test(broken_bursts_end_one_connection),
        cmocka_unit_test(random_bytes_do_no_harm),
        cmocka_unit_test(a_close_waits_for_nobody_for_ever),
        cmocka_unit_test(slow_senders_have_a_limit),
        cmocka_unit_test(connections_may_be_turned_away),
        cmocka_unit_test(a_used_port_is_refused),
        cmocka_unit_test(unix_sockets_are_private),
        cmocka_unit_test(stale_sockets_are_replaced),
        cmocka_unit_test(stale_sockets_have_one_heir),
        cmocka_unit_test(opening_a_socket_takes_its_lock),
        cmocka_unit_test(connections_leave_descriptors_to_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
