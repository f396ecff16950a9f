// Blocks SIGSEGV in the way that it is told to, several times; other signals do not matter.
#define _GNU_SOURCE
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void take_care(void);

static void *nothing(void *argument) { return argument; }

__attribute__((noinline)) static void block_one(const char *way, int signal) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signal);
    if (strcmp(way, "sigprocmask") == 0)
        sigprocmask(SIG_BLOCK, &one, NULL);
    else if (strcmp(way, "pthread_sigmask") == 0)
        pthread_sigmask(SIG_BLOCK, &one, NULL);
    else if (strcmp(way, "sighold") == 0)
        sighold(signal);
    else if (strcmp(way, "sigblock") == 0)
        sigblock(1 << (signal - 1));
    else if (strcmp(way, "syscall") == 0)
        syscall(SYS_rt_sigprocmask, SIG_BLOCK, &one, NULL, 8);
    else {
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setsigmask_np(&attributes, &one);
        pthread_t thread;
        pthread_create(&thread, &attributes, nothing, NULL);
        pthread_join(thread, NULL);
    }
    sigprocmask(SIG_UNBLOCK, &one, NULL);
}

int main(int count, char **arguments) {
    const char *way = count > 1 ? arguments[1] : "";
    block_one(way, SIGUSR1);
    for (int n = 0; n < 3; n++)
        block_one(way, SIGSEGV);
    take_care();
    puts("done");
    return 0;
}
