/* error.h - one table of error codes, and the detail a person needs.
 *
 * Functions that can fail return 0 or a negative code. The operating system's failures are the
 * negated errno values (libuv uses the same numbers on Linux); ours start at -10001, so that both
 * share one range. PERI_ERRORS makes the enum, the texts, the names that Lua sees and the retry
 * rule. */
#ifndef PERI_BASE_ERROR_H
#define PERI_BASE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* X(name, code, retry, text): retry is RETRY when the same call may succeed later, FINAL otherwise.
 */
#define PERI_ERRORS(X)                                                                             \
    X(ECANCELLED, -10001, FINAL, "the operation was cancelled")                                    \
    X(EDEADLINE, -10002, RETRY, "the deadline passed")                                             \
    X(ECPU, -10003, FINAL, "the CPU deadline passed")                                              \
    X(EMEMORY, -10004, FINAL, "the memory limit was reached")                                      \
    X(ECLOSED, -10005, FINAL, "the object is closed")                                              \
    X(EFORMAT, -10006, FINAL, "the input is malformed")                                            \
    X(ECORRUPT, -10007, FINAL, "stored data is damaged")                                           \
    X(ELUA, -10008, FINAL, "Lua code raised an error")                                             \
    X(EUSAGE, -10009, FINAL, "the command line is wrong")                                          \
    X(ETOOBIG, -10010, FINAL, "a stated limit was exceeded")                                       \
    X(EBOUND, -10011, FINAL, "the work took more steps than allowed")                              \
    X(EWORKER, -10012, RETRY, "a worker process ended")                                            \
    X(ENOFUNCTION, -10013, FINAL, "the peer serves no function of that name")                      \
    X(EAUTH, -10014, FINAL, "the peer did not prove that it knows the secret")                     \
    X(EVERSION, -10015, FINAL, "the peer speaks another version of the protocol")                  \
    X(ECLUSTER, -10016, FINAL, "the peer belongs to another cluster")                              \
    X(EPROTOCOL, -10017, FINAL, "the peer broke the protocol")                                     \
    X(EUNREACHABLE, -10018, RETRY, "no connection to the peer")                                    \
    X(ENONDETERMINISTIC, -10019, FINAL, "it cannot be made deterministic")                         \
    X(EDISCONNECTED, -10020, RETRY, "the connection broke before the answer came")                 \
    X(EDOWN, -10021, RETRY, "the node is down")                                                    \
    X(ENOTLEADER, -10022, RETRY, "this node is not the leader")                                    \
    X(EFENCED, -10023, FINAL, "the replica's disk failed, and it was fenced")                      \
    X(EFULL, -10024, RETRY, "the node's disk is full")                                             \
    X(ECOMPACTED, -10025, FINAL, "the history up to there was compacted")                          \
    X(ESESSION, -10026, FINAL, "the session has ended")                                            \
    X(ELEASE, -10027, FINAL, "the lease has ended")                                                \
    X(ELOST, -10028, FINAL, "the lock is held no more")                                            \
    X(EDIVERGED, -10029, RETRY, "the replica's state differs from that of the others")

/* The codes that operating system and runtime share are the errno values under our prefix. */
#define PERI_ENOMEM (-12)
#define PERI_EBUSY (-16)
#define PERI_EINVAL (-22)

enum peri_error_code {
#define PERI_ERROR_ENUM(name, code, retry, text) PERI_##name = (code),
    PERI_ERRORS(PERI_ERROR_ENUM)
#undef PERI_ERROR_ENUM
};

#define PERI_ERROR_TEXT_SIZE 512

/* The detail of one failed call, lent by the caller. It starts zeroed: PERI_ERROR_INIT. */
struct peri_error {
    int code;
    char text[PERI_ERROR_TEXT_SIZE]; /* a sentence without a full stop, never with a newline */
};
#define PERI_ERROR_INIT                                                                            \
    {                                                                                              \
        0,                                                                                         \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }

/* Empties err, as PERI_ERROR_INIT does but without writing half a KiB: for errors that are kept and
 * used again in loops over records. */
static inline void peri_error_clear(struct peri_error *err)
{
    err->code = 0;
    err->text[0] = '\0';
}

/* Fills err (which may be NULL) with "<formatted detail>: <text of code>" and returns code. */
int peri_fail(struct peri_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Like peri_fail, but the formatted detail says it all: the code's own text is not appended. */
int peri_fail_plain(struct peri_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The text of a code, for a person. Lent for ever. */
const char *peri_strerror(int code);

/* The name of a code, for a program: "ECANCELLED", "ENOENT"; "EUNKNOWN" for one in no table. Lent
 * for ever. */
const char *peri_error_name(int code);

/* The code of a name, or 0 when no code has that name. */
int peri_error_from_name(const char *name);

/* True when the same call may succeed later. */
bool peri_error_is_retryable(int code);

#endif
