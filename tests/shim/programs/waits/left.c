/* A wait with a mask of its own that is left by siglongjmp(), as classic programs leave sigsuspend(). What
 * system calls are interrupted afterwards, at whatever depth of the stack, have the thread's own mask again:
 * SIGUSR2, which is blocked, does not run in the handler of SIGUSR1. Somebody subscribes to SIGUSR1, if
 * sigplane is there, and to nothing else. */
#define _GNU_SOURCE
#include <alloca.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <poll.h>
#include <sys/select.h>
#include <unistd.h>

static sigjmp_buf out;
static volatile sig_atomic_t inside, ran_inside, blocked_inside, reading;
static pthread_t main_thread;
static int descriptors[2];

static void leave(int signal) { (void)signal; siglongjmp(out, 1); }
static void second(int signal) { (void)signal; ran_inside |= inside; }

static void first(int signal) {
    sigset_t mask;
    (void)signal;
    inside = 1;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    blocked_inside = sigismember(&mask, SIGUSR2);
    raise(SIGUSR2);
    inside = 0;
}

static void set(int signal, void (*handler)(int)) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    sigaction(signal, &action, NULL);
}

static void seen(const void *event, void *user) { (void)event; (void)user; }

static void subscribe(void) {
    typedef int subscribe_t(uint64_t, const void *, void (*)(const void *, void *), void *, uint64_t *);
    static uint64_t subscription;
    subscribe_t *dispatcher;
    *(void **)&dispatcher = dlsym(RTLD_DEFAULT, "sigplane_subscribe_dispatcher");
    if (dispatcher != NULL && dispatcher((uint64_t)1 << (SIGUSR1 - 1), NULL, seen, NULL, &subscription) != 0)
        printf("no subscription\n");
}

static void *interrupt(void *unused) {
    (void)unused;
    /* Until the reader is interrupted: the first may come too early. */
    while (reading) {
        pthread_kill(main_thread, SIGUSR1);
        usleep(1000);
    }
    return NULL;
}

static __attribute__((noinline)) void wait_for(int how, const sigset_t *mask) {
    struct epoll_event event;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    raise(SIGALRM); /* Blocked until the wait. */
    switch (how) {
    case 0: sigsuspend(mask); break;
    case 1: ppoll(NULL, 0, NULL, mask); break;
    case 2: pselect(0, NULL, NULL, NULL, NULL, mask); break;
    default: epoll_pwait(epoll, &event, 1, -1, mask); break;
    }
    printf("not left\n");
}

static __attribute__((noinline)) int read_at(size_t depth) {
    volatile char *room = alloca(depth);
    char byte;
    room[0] = 0;
    return read(descriptors[0], &byte, 1) == -1 && errno == EINTR;
}

int main(void) {
    static const size_t depths[] = {16, 400, 800, 1200, 1600, 2000};
    sigset_t none, some;
    if (pipe(descriptors) != 0)
        return 1;
    main_thread = pthread_self();
    subscribe();
    set(SIGUSR1, first);
    set(SIGUSR2, second);
    set(SIGALRM, leave);
    sigemptyset(&none);
    sigemptyset(&some);
    sigaddset(&some, SIGUSR2);
    sigaddset(&some, SIGALRM);
    sigprocmask(SIG_BLOCK, &some, NULL);
    for (int how = 0; how < 4; how++) {
        int wrong = 0;
        for (size_t at = 0; at < sizeof depths / sizeof *depths; at++) {
            pthread_t other;
            if (sigsetjmp(out, 1) == 0)
                wait_for(how, &none);
            reading = 1;
            blocked_inside = ran_inside = 0;
            pthread_create(&other, NULL, interrupt, NULL);
            wrong += !read_at(depths[at]);
            reading = 0;
            pthread_join(other, NULL);
            wrong += !blocked_inside || ran_inside;
        }
        printf("wait %d: %d wrong\n", how, wrong);
    }
    return 0;
}
