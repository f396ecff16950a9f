/* The foreign party: handlers as a C library has them, some of which never return. */
#define _GNU_SOURCE
#include <execinfo.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

/* What a handler sees of its call. */
struct seen {
    int calls;
    int signal;
    int code;
    int frames;              /* of a backtrace, down to main's caller */
    uint64_t mask;           /* of the thread, in the handler */
    uintptr_t caller;        /* return address */
    uintptr_t above;         /* address of the word above the return address */
    uintptr_t info;
    uintptr_t context;
};

static struct seen seen;

static void look(int signal, uintptr_t info, uintptr_t context, uintptr_t caller, uintptr_t above) {
    sigset_t mask;
    void *frames[64];
    sigprocmask(SIG_BLOCK, NULL, &mask);
    seen.calls++;
    seen.signal = signal;
    seen.caller = caller;
    seen.above = above;
    seen.info = info;
    seen.context = context;
    memcpy(&seen.mask, &mask, sizeof seen.mask);
    seen.frames = backtrace(frames, 64);
}

/* The frame pointer stands below the return address, and that below the caller's frame. */
#define CALLER (uintptr_t)__builtin_return_address(0)
#define ABOVE (uintptr_t)__builtin_frame_address(0) + 2 * sizeof(void *)

__attribute__((noinline)) void foreign_one(int signal) {
    look(signal, 0, 0, CALLER, ABOVE);
}

__attribute__((noinline)) void foreign_three(int signal, siginfo_t *info, void *context) {
    seen.code = info->si_code;
    look(signal, (uintptr_t)info, (uintptr_t)context, CALLER, ABOVE);
}

void foreign_take(struct seen *out) {
    void *frames[1];
    *out = seen;
    memset(&seen, 0, sizeof seen);
    backtrace(frames, 1); /* The first use of libgcc allocates: not in a handler. */
}

/* Leaves by siglongjmp. */

static __thread sigjmp_buf landing;
static __thread int jumps;

void foreign_jump(int signal) {
    jumps += signal > 0;
    siglongjmp(landing, 1);
}

/* Calls `interrupted(argument)`, in which a signal comes that has `foreign_jump` as its handler; comes
   back by that handler's jump. 1 if so, 0 if `interrupted` returned. */
int foreign_land(void (*interrupted)(void *), void *argument) {
    int before = jumps;
    if (sigsetjmp(landing, 1) == 0) {
        interrupted(argument);
    }
    return jumps - before;
}

/* Takes a signal behind sigplane's back, and chains to what it found: by a call, or by a jump (what
   compilers make of a call at the end). */

static struct sigaction found;
static int chained;

static void chain_by_jump(int signal, siginfo_t *info, void *context) {
    __atomic_add_fetch(&chained, 1, __ATOMIC_SEQ_CST);
    found.sa_sigaction(signal, info, context);
}

static void chain_by_call(int signal, siginfo_t *info, void *context) {
    found.sa_sigaction(signal, info, context);
    __atomic_add_fetch(&chained, 1, __ATOMIC_SEQ_CST);
}

/* 1 if what was found is a handler with three arguments, as it must be to be chained to. */
int foreign_chain_in(int signal, int jump) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = jump ? chain_by_jump : chain_by_call;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigemptyset(&action.sa_mask);
    return sigaction(signal, &action, &found) == 0 && (found.sa_flags & SA_SIGINFO) != 0;
}

int foreign_chain_calls(void) {
    return __atomic_exchange_n(&chained, 0, __ATOMIC_SEQ_CST);
}
