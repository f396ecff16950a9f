/* What came while a thread waited in vfork() is delivered at its very return. Handlers that run there, and
 * those that leave from there by a jump, are the parent's: what they set is set. Prints what is the same in
 * every run. */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static sigjmp_buf out;
static volatile int called;

static void first(int signal) { (void)signal; }
static void second(int signal) { (void)signal; }
static void count(int signal) { (void)signal; called++; }

static void set(int signal, void (*handler)(int), int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(signal, &action, NULL);
}

static void set_second(int signal) { (void)signal; set(SIGUSR2, second, 0); }
static void leave(int signal) { (void)signal; siglongjmp(out, 1); }

static const char *name(int signal) {
    struct sigaction action;
    sigaction(signal, NULL, &action);
    return action.sa_handler == first ? "first" : action.sa_handler == second ? "second"
        : action.sa_handler == SIG_DFL ? "default" : "another";
}

static void *look(void *unused) {
    (void)unused;
    printf("after a jump, another thread reads: %s\n", name(SIGUSR2));
    return NULL;
}

/* A child that sends its parent a signal, and ends. */
static void signalled(void) {
    pid_t child = vfork();
    if (child == 0) {
        kill(getppid(), SIGUSR1);
        _exit(0);
    }
}

int main(void) {
    pthread_t other;
    set(SIGUSR2, first, 0);
    set(SIGUSR1, set_second, 0);
    signalled();
    wait(NULL);
    printf("set at the return: %s\n", name(SIGUSR2));

    set(SIGUSR1, count, (int)SA_RESETHAND);
    signalled();
    wait(NULL);
    printf("once: %d, then %s\n", called, name(SIGUSR1));

    set(SIGUSR2, first, 0);
    set(SIGUSR1, leave, 0);
    if (sigsetjmp(out, 1) == 0)
        signalled();
    wait(NULL);
    set(SIGUSR2, second, 0);
    pthread_create(&other, NULL, look, NULL);
    pthread_join(other, NULL);
    return 0;
}
