#include "env/posix_fork.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STDIO_COUNT = 3 };

enum fork_step { STEP_STDIO, STEP_CWD, STEP_PARENT, STEP_SESSION, STEP_EXEC };

/* What the child writes into the report pipe when it could not start the program. */
struct fork_report {
    enum fork_step step;
    int code; /* errno */
};

/* ---- in the child ---- */

_Noreturn static void fail_child(int report_fd, enum fork_step step, int code)
{
    enum { STATUS_NOT_STARTED = 127 };
    struct fork_report report = {step, code};
    ssize_t put = write(report_fd, &report, sizeof report); /* atomic: less than PIPE_BUF */
    _exit(put == (ssize_t)sizeof report ? STATUS_NOT_STARTED : STATUS_NOT_STARTED + 1);
}

/* SIGKILL, SIGSTOP and the two that belong to the C library refuse, rightly. */
static void reset_signals(void)
{
    for (int signum = 1; signum < NSIG; signum++)
        (void)signal(signum, SIG_DFL);
}

/* Moves a descriptor out of the way of 0, 1 and 2. */
static int move_up(int fd)
{
    return fd >= STDIO_COUNT ? fd : fcntl(fd, F_DUPFD_CLOEXEC, STDIO_COUNT);
}

static int place(int fd, int target)
{
    if (fd < 0)
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd == target) /* just opened there: it must survive the exec */
        return fcntl(fd, F_SETFD, 0);
    return fd < 0 ? -1 : dup2(fd, target);
}

static int place_stdio(const int fds[STDIO_COUNT])
{
    int from[STDIO_COUNT];
    for (int i = 0; i < STDIO_COUNT; i++) {
        from[i] = fds[i] < 0 ? -1 : move_up(fds[i]);
        if (fds[i] >= 0 && from[i] < 0)
            return -1;
    }
    for (int i = 0; i < STDIO_COUNT; i++)
        if (place(from[i], i) < 0)
            return -1;
    return 0;
}

/* A parent that died before prctl ran sends no signal any more; then we have a new parent. */
static int bind_to_parent(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return -1;
    if (getppid() != parent) {
        errno = ESRCH;
        return -1;
    }
    return 0;
}

static void exec_program(const struct posix_fork *request)
{
    char *const *argv = (char *const *)request->argv;
    char *const *envp = request->envp != NULL ? (char *const *)request->envp : environ;
    (void)execvpe(argv[0], argv, envp);
}

_Noreturn static void run_child(const struct posix_fork *request, pid_t parent, int report_fd)
{
    sigset_t none;
    (void)sigemptyset(&none);
    reset_signals();
    report_fd = move_up(report_fd);
    if (place_stdio(request->fds) != 0)
        fail_child(report_fd, STEP_STDIO, errno);
    /* Ours are all close-on-exec; foreign libraries' may not be. Kernels before 5.11 lack the call.
     */
    (void)close_range(STDIO_COUNT, ~0U, CLOSE_RANGE_CLOEXEC);
    if (request->cwd != NULL && chdir(request->cwd) != 0)
        fail_child(report_fd, STEP_CWD, errno);
    if (request->dies_with_parent && bind_to_parent(parent) != 0)
        fail_child(report_fd, STEP_PARENT, errno);
    if (request->is_detached && setsid() < 0)
        fail_child(report_fd, STEP_SESSION, errno);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    exec_program(request);
    fail_child(report_fd, STEP_EXEC, errno);
}

/* ---- in the parent ---- */

/* Nothing arrives, and the pipe closes, once the program runs. */
static bool read_report(int fd, struct fork_report *report)
{
    ssize_t got;
    do
        got = read(fd, report, sizeof *report);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof *report;
}

static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

static int fail_with_report(const struct posix_fork *request, const struct fork_report *report,
                            struct peri_error *err)
{
    switch (report->step) {
    case STEP_CWD:
        return peri_fail(err, -report->code, "start %s in %s", request->argv[0], request->cwd);
    case STEP_STDIO:
        return peri_fail(err, -report->code, "standard streams of %s", request->argv[0]);
    default:
        return peri_fail(err, -report->code, "start %s", request->argv[0]);
    }
}

/* All signals are blocked around fork, so that no handler of ours ever runs in the child, and the
 * ticker cannot interrupt the fork again and again. */
static pid_t fork_blocked(const struct posix_fork *request, const int report_fds[2])
{
    sigset_t all;
    sigset_t before;
    pid_t parent = getpid();
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        run_child(request, parent, report_fds[1]);
    int saved = errno;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = saved;
    return pid;
}

int posix_fork(const struct posix_fork *request, pid_t *pid, struct peri_error *err)
{
    int report_fds[2];
    if (pipe2(report_fds, O_CLOEXEC) != 0)
        return peri_fail(err, -errno, "start %s", request->argv[0]);
    pid_t child = fork_blocked(request, report_fds);
    int rc = child < 0 ? peri_fail(err, -errno, "fork for %s", request->argv[0]) : 0;
    (void)close(report_fds[1]);
    struct fork_report report;
    if (rc == 0 && read_report(report_fds[0], &report)) {
        reap(child);
        rc = fail_with_report(request, &report, err);
    }
    (void)close(report_fds[0]);
    if (rc == 0)
        *pid = child;
    return rc;
}
