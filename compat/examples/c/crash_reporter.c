/*
 * A crash reporter that shares the process with everybody else: it sees what nobody has handled, writes a report,
 * and the parent still sees the true end. Run with "segv", "abort", "term", or "handled" (a guarded call
 * that faults is no crash).
 */
#define _GNU_SOURCE
#include <sigplane.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Signal-safe printing. */
static void say(int fd, const char *text)
{
    size_t length = strlen(text);
    while (length > 0) {
        ssize_t written = write(fd, text, length);
        if (written <= 0)
            return;
        text += written;
        length -= (size_t)written;
    }
}

static void say_number(int fd, uint64_t number, unsigned base)
{
    char digits[24];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    do {
        digits[--at] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number != 0);
    say(fd, digits + at);
}

/* In the signal handler, when the process is about to end. */
static void crashed(const sigplane_fatal *fatal, void *user)
{
    int fd = *(const int *)user;
    say(fd, "crash: signal ");
    say_number(fd, (uint64_t)fatal->signo, 10);
    if (fatal->fault != NULL) {
        say(fd, ", ");
        say(fd, sigplane_fault_text(fatal->fault->kind));
        if (fatal->fault->has_address) {
            say(fd, " at 0x");
            say_number(fd, fatal->fault->address, 16);
        }
    } else if (fatal->event->fields & SIGPLANE_HAS_SENDER) {
        say(fd, fatal->event->pid == getpid() ? ", sent by itself" : ", sent by another process");
    }
    say(fd, "\n");
}

static void touch(void *argument)
{
    *(volatile int *)argument = 1;
}

int main(int argc, char **argv)
{
    static int report_to = STDOUT_FILENO;
    const struct rlimit no_core = {0, 0};
    sigplane_last_chance hook;
    sigplane_fault fault;
    const char *how = argc == 2 ? argv[1] : "";
    int error;

    if (strcmp(how, "segv") && strcmp(how, "abort") && strcmp(how, "term") && strcmp(how, "handled")) {
        fprintf(stderr, "usage: %s segv|abort|term|handled\n", argv[0]);
        return 2;
    }
    setrlimit(RLIMIT_CORE, &no_core);
    error = sigplane_last_chance_add(SIGPLANE_SET_FAULTS | SIGPLANE_SIGNAL(SIGABRT) | SIGPLANE_SIGNAL(SIGTERM),
                                     NULL, crashed, &report_to, &hook);
    if (error != SIGPLANE_OK) {
        fprintf(stderr, "%s\n", sigplane_strerror(error));
        return 1;
    }
    if (strcmp(how, "segv") == 0)
        touch((void *)(uintptr_t)0xdead0);
    else if (strcmp(how, "abort") == 0)
        abort();
    else if (strcmp(how, "term") == 0)
        raise(SIGTERM);
    else {
        error = sigplane_guarded(touch, (void *)(uintptr_t)0xdead0, &fault);
        say(report_to, error == SIGPLANE_E_FAULT ? "a fault, and no crash\n" : "no fault?\n");
        return sigplane_last_chance_remove(hook);
    }
    fprintf(stderr, "still alive\n");
    return 3;
}
