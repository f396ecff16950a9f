/* Threads that are cancelled in calls that wait, some just before, some asleep: each is PTHREAD_CANCELED, and its
 * clean-up handler runs. And a thread that ends by pthread_exit(), started with faults blocked, when sigplane has
 * them if it is there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <unistd.h>

enum { WAYS = 8, ROUNDS = 40 };

static volatile int way, cleaned, waiting;

static void clean(void *unused) {
    (void)unused;
    cleaned++;
}

static void *wait_in(void *unused) {
    struct timespec long_time = {1000, 0};
    struct epoll_event event;
    sigset_t none;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    (void)unused;
    sigemptyset(&none);
    pthread_cleanup_push(clean, NULL);
    waiting = 1;
    switch (way) {
    case 0: sigsuspend(&none); break;
    case 1: ppoll(NULL, 0, &long_time, &none); break;
    case 2: pselect(0, NULL, NULL, NULL, &long_time, &none); break;
    case 3: epoll_pwait(epoll, &event, 1, -1, &none); break;
    case 4: epoll_pwait2(epoll, &event, 1, &long_time, &none); break;
    case 5: (void)!system("while :; do sleep 1; done"); break;
    case 6: sigpause(SIGUSR1); break;
    default: ppoll(NULL, 0, NULL, NULL); break;
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static void *leave(void *unused) {
    (void)unused;
    pthread_cleanup_push(clean, NULL);
    pthread_exit(NULL);
    pthread_cleanup_pop(0);
    return NULL;
}

int main(void) {
    pthread_t thread;
    sigset_t faults;
    int (*enable)(void);
    for (way = 0; way < WAYS; way++) {
        int right = 0;
        for (int round = 0; round < ROUNDS; round++) {
            void *result = NULL;
            waiting = cleaned = 0;
            pthread_create(&thread, NULL, wait_in, NULL);
            while (!waiting)
                sched_yield();
            for (int turn = 0; turn < round * 5; turn++)
                sched_yield();
            pthread_cancel(thread);
            pthread_join(thread, &result);
            right += result == PTHREAD_CANCELED && cleaned == 1;
        }
        printf("way %d: %d of %d cancelled and cleaned\n", way, right, ROUNDS);
    }
    *(void **)&enable = dlsym(RTLD_DEFAULT, "sigplane_faults_enable");
    if (enable != NULL && enable() != 0)
        printf("faults are not enabled\n");
    sigemptyset(&faults);
    sigaddset(&faults, SIGSEGV);
    pthread_sigmask(SIG_BLOCK, &faults, NULL);
    cleaned = 0;
    pthread_create(&thread, NULL, leave, NULL);
    pthread_join(thread, NULL);
    printf("exit: %scleaned\n", cleaned == 1 ? "" : "not ");
    return 0;
}
