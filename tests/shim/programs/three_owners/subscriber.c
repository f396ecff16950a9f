/* A library that serves the faults of a range of memory, and counts SIGQUIT: by sigplane where it finds it, else
 * by handlers of its own, as libraries do. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <sigplane.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define LENGTH (64 * 4096L)

static char *range;
static volatile sig_atomic_t served, quits;

static int serve(const void *address) {
    ptrdiff_t offset = (const char *)address - range;
    if (offset < 0 || offset >= LENGTH)
        return 0;
    served++;
    return mprotect(range + (offset & -4096L), 4096, PROT_READ | PROT_WRITE) == 0;
}

/* With sigplane. */
static int region(sigplane_fault_context *context, void *user) {
    (void)user;
    const siginfo_t *info = context->info;
    return serve(info->si_addr) ? SIGPLANE_HANDLED : SIGPLANE_PASS;
}

static int counted(sigplane_delivery *delivery, void *user) {
    (void)delivery, (void)user;
    quits++;
    return SIGPLANE_HANDLED;
}

/* Without. */
static void fault(int signo, siginfo_t *info, void *context) {
    (void)context;
    if (!serve(info->si_addr))
        signal(signo, SIG_DFL); /* a crash: it happens again */
}

static void quit(int signo) {
    (void)signo;
    quits++;
}

int subscriber_install(void) {
    range = mmap(NULL, LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    __typeof__(sigplane_region_add) *add = (__typeof__(add))dlsym(RTLD_DEFAULT, "sigplane_region_add");
    __typeof__(sigplane_subscribe_immediate) *subscribe =
        (__typeof__(subscribe))dlsym(RTLD_DEFAULT, "sigplane_subscribe_immediate");
    if (add != NULL && subscribe != NULL) {
        static sigplane_region handle;
        static sigplane_subscription subscription;
        printf("subscriber: sigplane\n");
        int error = add(range, LENGTH, NULL, region, NULL, &handle);
        return error ? error : subscribe(SIGPLANE_SIGNAL(SIGQUIT), NULL, counted, NULL, &subscription);
    }
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct sigaction count = {.sa_handler = quit, .sa_flags = SA_ONSTACK | SA_RESTART};
    printf("subscriber: its own handlers\n");
    return sigaction(SIGSEGV, &action, NULL) | sigaction(SIGQUIT, &count, NULL);
}

/* Writes to every page that is not there, and how many faults that took; then takes the pages away again. */
int subscriber_faults(void) {
    served = 0;
    for (long offset = 0; offset < LENGTH; offset += 4096)
        ((volatile char *)range)[offset + 7] = 1;
    mprotect(range, LENGTH, PROT_NONE);
    return served;
}

int subscriber_quits(void) {
    return quits;
}
