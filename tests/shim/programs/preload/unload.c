/* A library that is opened by a thread, used, and closed: it stays, since its dispatcher and its handlers do. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>

static volatile int seen;

static void count(const void *event, void *user) {
    (void)event, (void)user;
    seen++;
}

static void *open_it(void *path) {
    typedef int subscribe_t(uint64_t, const void *, void (*)(const void *, void *), void *, uint64_t *);
    static uint64_t subscription;
    subscribe_t *dispatcher;
    void *library = dlopen(path, RTLD_NOW);
    if (library == NULL)
        return NULL;
    *(void **)&dispatcher = dlsym(library, "sigplane_subscribe_dispatcher");
    if (dispatcher((uint64_t)1 << (SIGUSR1 - 1), NULL, count, NULL, &subscription) != 0)
        return NULL;
    return library;
}

int main(int arguments, char **argument) {
    pthread_t thread;
    void *library = NULL;
    if (arguments != 2 || pthread_create(&thread, NULL, open_it, argument[1]) != 0)
        return 2;
    pthread_join(thread, &library);
    printf("closed: %d\n", library == NULL ? -2 : dlclose(library));
    fflush(stdout);
    raise(SIGUSR1);
    while (seen == 0)
        sched_yield();
    printf("seen: %d\n", seen);
    return 0;
}
