/* Waits that a program makes by libc's syscall(): the handler that interrupts them has the mask of the wait. SIGUSR1
 * and SIGUSR2 are blocked, SIGUSR1 is pending; the wait lets both in, so SIGUSR2 nests in the handler of SIGUSR1. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t inside, nested;

static void second(int signal) { (void)signal; nested += inside; }
static void first(int signal) { (void)signal; inside = 1; raise(SIGUSR2); inside = 0; }

static void set(int signal, void (*handler)(int)) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    sigaction(signal, &action, NULL);
}

int main(void) {
    unsigned long some = 1UL << (SIGUSR1 - 1) | 1UL << (SIGUSR2 - 1), none = 0;
    struct { unsigned long *mask; unsigned long size; } pair = {&none, sizeof none};
    struct epoll_event event;
    struct timespec long_time = {1000, 0};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    set(SIGUSR1, first);
    set(SIGUSR2, second);
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &some, NULL, sizeof some);
    for (int way = 0; way < 5; way++) {
        long result = 0;
        nested = 0;
        raise(SIGUSR1);
        switch (way) {
        case 0: result = syscall(SYS_rt_sigsuspend, &none, sizeof none); break;
        case 1: result = syscall(SYS_ppoll, NULL, 0, &long_time, &none, sizeof none); break;
        case 2: result = syscall(SYS_pselect6, 0, NULL, NULL, NULL, &long_time, &pair); break;
        case 3: result = syscall(SYS_epoll_pwait, epoll, &event, 1, -1, &none, sizeof none); break;
        default: result = syscall(SYS_epoll_pwait2, epoll, &event, 1, &long_time, &none, sizeof none);
        }
        printf("way %d: %ld, nested %d\n", way, result, (int)nested);
    }
    return 0;
}
