/* Two handlers that take a signal one after the other, each of which keeps what it found and chains to
   it: by a call, or by a jump, as compilers make of a call at the end. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define PLACES 2

static struct sigaction kept[PLACES];
static int entered[PLACES];

/* More than a few calls for one signal are a loop, which would otherwise end with the stack. */
static void enter(int place) {
    if (__atomic_add_fetch(&entered[place], 1, __ATOMIC_SEQ_CST) > 20) {
        _exit(42);
    }
}

/* What stands after the call keeps it a call. */
#define CALLS(name, place)                                                \
    static void name(int signal, siginfo_t *info, void *context) {        \
        enter(place);                                                     \
        kept[place].sa_sigaction(signal, info, context);                  \
        __asm__ volatile("" ::: "memory");                                \
    }
#define JUMPS(name, place)                                                \
    static void name(int signal, siginfo_t *info, void *context) {        \
        enter(place);                                                     \
        kept[place].sa_sigaction(signal, info, context);                  \
    }

CALLS(first_calls, 0)
CALLS(second_calls, 1)
JUMPS(first_jumps, 0)
JUMPS(second_jumps, 1)

/* Installs the usurper of that place. 1 if it found a handler with three arguments to chain to. */
int hostile_usurp(int signal, int place, int jump) {
    static void (*const handlers[PLACES][2])(int, siginfo_t *, void *) = {
        { first_calls, first_jumps },
        { second_calls, second_jumps },
    };
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handlers[place][jump];
    action.sa_flags = SA_SIGINFO;
    return sigaction(signal, &action, &kept[place]) == 0 && (kept[place].sa_flags & SA_SIGINFO) != 0;
}

/* How often that usurper was entered since the last look. */
int hostile_entered(int place) {
    return __atomic_exchange_n(&entered[place], 0, __ATOMIC_SEQ_CST);
}
