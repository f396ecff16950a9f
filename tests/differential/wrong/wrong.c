/* Shims with one bug each, chosen by DIFFERENTIAL_WRONG: what the test must find and shrink. What was asked
 * for is read back as it was, so that only behaviour shows the bug. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { RELEASE = 63 }; /* the interpreter's own: must end what it is to end */

typedef int (*sigaction_function)(int, const struct sigaction *, struct sigaction *);

static sigaction_function real;
static char bug;
static struct { struct sigaction asked, given; } known[65];

__attribute__((constructor)) static void start(void) {
  const char *name = getenv("DIFFERENTIAL_WRONG");
  real = (sigaction_function)dlsym(RTLD_NEXT, "sigaction");
  bug = name ? name[0] : 0;
}

static void (*twice)(int);

/* Entered by a handler of SA_RESETHAND: puts itself back once, so that the reset happens late. */
static void again(int signal) {
  struct sigaction action = {.sa_handler = twice, .sa_flags = (int)SA_RESETHAND};
  real(signal, &action, NULL);
  twice(signal);
}

int sigaction(int signal, const struct sigaction *new, struct sigaction *old) {
  if (!real) start();
  if (!bug || signal < 1 || signal > 64 || signal == RELEASE) return real(signal, new, old);
  struct sigaction action, before;
  if (new) {
    action = *new;
    if (bug == 'n') action.sa_flags &= ~SA_NODEFER; /* nodefer: lost */
    if (bug == 'm') memset(&action.sa_mask, 0, sizeof action.sa_mask); /* mask: lost */
    if (bug == 'e') action.sa_flags |= SA_RESTART; /* everything restarts */
    if (bug == 's') action.sa_flags &= ~SA_ONSTACK; /* stack: never the alternate one */
    if (bug == 'r' && action.sa_flags & (int)SA_RESETHAND && !(action.sa_flags & SA_SIGINFO) &&
        action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN) { /* reset: one delivery late */
      twice = action.sa_handler;
      action.sa_handler = again;
    }
  }
  struct sigaction asked = new ? *new : known[signal].asked;
  int result = real(signal, new ? &action : NULL, &before);
  if (result) return result;
  if (old) {
    *old = before;
    if (before.sa_handler == known[signal].given.sa_handler && before.sa_handler != SIG_DFL) {
      old->sa_handler = known[signal].asked.sa_handler;
      old->sa_flags = known[signal].asked.sa_flags | 0x04000000;
      old->sa_mask = known[signal].asked.sa_mask;
    }
  }
  if (new) {
    known[signal].asked = asked;
    known[signal].given = action;
  }
  return 0;
}
