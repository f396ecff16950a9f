/* Crash handlers as C programs have them, for the signals of faults: each says that it was called, and
   then goes one of the ways that such handlers go. */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum kind {
    CHAINS,   /* calls what it found, as sigaction(2) says that it should be called */
    LEAVES,   /* ends the process by itself */
    RERAISES, /* puts the default in and raises the signal again */
    RESTORES, /* puts back what it found and returns, so that the instruction repeats */
    RAISES_RESTORED, /* puts back what it found and raises the signal, as CPython's faulthandler */
    SIMPLE,   /* installed with signal(), one argument; goes on as RERAISES */
};

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
static struct sigaction found[65];
static enum kind kind;
static int calls;

static void report(void) {
    static const char text[] = "crash handler\n";
    int count = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (kind != CHAINS && write(1, text, sizeof text - 1) > 0 && count == 20) {
        _exit(99); /* It would go on for ever. */
    }
}

static void simple(int signal_number) {
    report();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void handler(int signal_number, siginfo_t *info, void *context) {
    const struct sigaction *before = &found[signal_number];
    report();
    switch (kind) {
    case CHAINS:
        if (before->sa_flags & SA_SIGINFO) {
            before->sa_sigaction(signal_number, info, context);
        } else if (before->sa_handler == SIG_DFL) {
            signal(signal_number, SIG_DFL);
        } else if (before->sa_handler != SIG_IGN) {
            before->sa_handler(signal_number);
        }
        return;
    case LEAVES:
        _exit(70);
    case RESTORES:
        sigaction(signal_number, before, NULL);
        return;
    case RAISES_RESTORED:
        sigaction(signal_number, before, NULL);
        raise(signal_number);
        return;
    default:
        signal(signal_number, SIG_DFL);
        raise(signal_number);
    }
}

/* 0, or -1. */
int crash_install(int which) {
    struct sigaction action;
    unsigned i;
    kind = (enum kind)which;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_sigaction = handler;
    /* SA_NODEFER, or what is raised in the handler comes after it. */
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | (kind == RAISES_RESTORED ? SA_NODEFER : 0);
    for (i = 0; i < sizeof signals / sizeof *signals; i++) {
        if (kind == SIMPLE ? signal(signals[i], simple) == SIG_ERR
                           : sigaction(signals[i], &action, &found[signals[i]]) != 0) {
            return -1;
        }
    }
    return 0;
}

/* How often it was called since the last time. */
int crash_calls(void) {
    return __atomic_exchange_n(&calls, 0, __ATOMIC_SEQ_CST);
}
