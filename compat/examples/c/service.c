/*
 * A service with an event loop: the first five minutes with sigplane in C.
 *
 *   SIGHUP    reloads the configuration: events come through a descriptor in the loop, with their sender
 *   SIGUSR1   prints the counters, on the main thread, at its safe points: no lock is needed
 *   SIGRTMIN  queues a job with its number, none is lost
 *   SIGTERM   ends it, from the dispatcher thread, in ordinary code
 *
 * The journal is updated in a critical section that no handler interrupts and that costs no system call.
 */
#define _POSIX_C_SOURCE 200809L
#include <sigplane.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
    unsigned long jobs, sum, check;
} journal;

static void check(int error, const char *what)
{
    if (error != SIGPLANE_OK) {
        fprintf(stderr, "%s: %s\n", what, sigplane_strerror(error));
        exit(1);
    }
}

/* On the dispatcher thread: may print, and wakes the loop through its pipe. */
static void stop(const sigplane_event *event, void *user)
{
    const int *wake = (const int *)user;
    printf("stopping: asked by %s\n", event->pid == getpid() ? "itself" : "another process");
    fflush(stdout);
    if (write(*wake, "x", 1) != 1)
        abort();
}

/* On the main thread, between two steps of the loop. */
static void report(const sigplane_event *event, void *user)
{
    (void)event;
    (void)user;
    printf("jobs %lu sum %lu\n", journal.jobs, journal.sum);
    fflush(stdout);
}

static void work(uint64_t number)
{
    sigplane_defer();
    journal.jobs += 1;
    journal.sum += (unsigned long)number;
    journal.check = journal.jobs ^ journal.sum;
    sigplane_undefer();
}

int main(void)
{
    sigplane_options named = SIGPLANE_OPTIONS_INIT;
    sigplane_subscription hup, jobs, usr1, term;
    struct pollfd wait[3] = {{0, 0, 0}, {0, 0, 0}, {0, 0, 0}};
    int wake[2], removal = -1;
    unsigned long arguments[6] = {(unsigned long)wait, 3, (unsigned long)-1, 0, 0, 0};
    long ready;

    if (sigplane_abi_version() != SIGPLANE_ABI) {
        fprintf(stderr, "the header is not the library's\n");
        return 1;
    }
    if (pipe(wake) != 0)
        return 1;
    named.name = "reload";
    check(sigplane_subscribe_inbox(SIGPLANE_SIGNAL(SIGHUP), &named, &hup), "SIGHUP");
    named.name = "jobs";
    named.capacity = 16;
    check(sigplane_subscribe_inbox(SIGPLANE_SIGNAL(SIGRTMIN), &named, &jobs), "SIGRTMIN");
    check(sigplane_subscribe_thread(SIGPLANE_SIGNAL(SIGUSR1), NULL, report, NULL, &usr1), "SIGUSR1");
    check(sigplane_subscribe_dispatcher(SIGPLANE_SIGNAL(SIGTERM), NULL, stop, &wake[1], &term), "SIGTERM");

    wait[0].fd = wake[0];
    check(sigplane_inbox_fd(hup, &wait[1].fd), "descriptor");
    check(sigplane_inbox_fd(jobs, &wait[2].fd), "descriptor");
    wait[0].events = wait[1].events = wait[2].events = POLLIN;
    printf("ready %ld\n", (long)getpid());
    fflush(stdout);

    while (!(wait[0].revents & POLLIN)) {
        sigplane_event event;
        /* A signal for this thread ends poll(2) with EINTR, also one that comes just before it; then the safe
           point runs what it brought. */
        (void)sigplane_syscall(SYS_poll, arguments, &ready);
        sigplane_poll();
        while (sigplane_inbox_read(hup, &event, 0) == SIGPLANE_OK) {
            printf("reloading for process %d\n", (int)event.pid);
            fflush(stdout);
        }
        while (sigplane_inbox_read(jobs, &event, 0) == SIGPLANE_OK)
            work(event.value);
    }

    check(sigplane_unsubscribe(term, &removal), "SIGTERM");
    check(sigplane_unsubscribe(usr1, NULL), "SIGUSR1");
    check(sigplane_unsubscribe(jobs, NULL), "SIGRTMIN");
    check(sigplane_unsubscribe(hup, NULL), "SIGHUP");
    printf("%lu jobs, sum %lu, journal %s, actions %s\n", journal.jobs, journal.sum,
           journal.check == (journal.jobs ^ journal.sum) ? "whole" : "torn",
           removal == SIGPLANE_REMOVAL_RESTORED ? "restored" : "not restored");
    return 0;
}
