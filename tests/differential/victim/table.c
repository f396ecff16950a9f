/* Operations on dispositions, masks and alternate stacks: each is one call and what it answered. */
#include "victim.h"

/* The kernel's own layout, for the call behind libc's back. */
struct kernel_action { void *handler; unsigned long flags; void *restorer; uint64_t mask; };

extern int __sigaction(int, const struct sigaction *, struct sigaction *);
extern sighandler_t bsd_signal(int, sighandler_t);
extern sighandler_t __sysv_signal(int, sighandler_t);
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static void say_action(const char *call, int signal, int result, const struct sigaction *old) {
  char text[24];
  if (result == -1)
    say("%s(%d) = -1 errno %d", call, signal, errno);
  else if (!old)
    say("%s(%d) = %d", call, signal, result);
  else
    say("%s(%d) = %d old %s flags %x mask %lx restorer %d", call, signal, result,
        name_of(old->sa_handler, text), old->sa_flags, bits(&old->sa_mask), old->sa_restorer != NULL);
}

/* signal, kind, handler, flags, mask, mask, variant */
void op_sigaction(const int32_t *a) {
  struct sigaction action = {0}, old;
  memset(&old, 0, sizeof old);
  action.sa_handler = (sighandler_t)handler_of(a[1], a[2]);
  action.sa_flags = a[3];
  action.sa_mask = set_of(a[4], a[5]);
  int result;
  switch (a[6]) {
    case 1:
      result = sigaction(a[0], &action, NULL);
      say_action("sigaction", a[0], result, NULL);
      break;
    case 2:
      result = sigaction(a[0], &action, &action);
      say_action("sigaction over itself", a[0], result, &action);
      break;
    case 3:
      result = __sigaction(a[0], &action, &old);
      say_action("__sigaction", a[0], result, &old);
      break;
    default:
      result = sigaction(a[0], &action, &old);
      say_action("sigaction", a[0], result, &old);
  }
}

void op_query(const int32_t *a) {
  struct sigaction old;
  memset(&old, 0, sizeof old);
  if (a[1] == 1) { /* raw, with what libc would answer for its own signals left out */
    struct kernel_action action = {0};
    long result = syscall(SYS_rt_sigaction, a[0], NULL, &action, 8);
    char text[24];
    say("rt_sigaction(%d) = %ld old %s flags %lx mask %lx", a[0], result, name_of(action.handler, text),
        action.flags, action.mask);
    return;
  }
  int result = sigaction(a[0], NULL, &old);
  say_action("query", a[0], result, &old);
}

void op_signal(const int32_t *a) {
  static const char *const names[] = {"signal", "bsd_signal", "sysv_signal", "__sysv_signal", "ssignal", "sigset"};
  sighandler_t handler = (sighandler_t)handler_of(a[2], a[3]), old;
  int variant = a[0] % 6;
  switch (variant) {
    case 0: old = signal(a[1], handler); break;
    case 1: old = bsd_signal(a[1], handler); break;
    case 2: old = sysv_signal(a[1], handler); break;
    case 3: old = __sysv_signal(a[1], handler); break;
    case 4: old = ssignal(a[1], handler); break;
    default: old = sigset(a[1], handler);
  }
  char text[24];
  if (old == SIG_ERR)
    say("%s(%d) = ERR errno %d", names[variant], a[1], errno);
  else
    say("%s(%d) = %s", names[variant], a[1], name_of((void *)old, text));
}

void op_hold(const int32_t *a) {
  if (a[0] == 0) say_result("sighold", sighold(a[1]));
  if (a[0] == 1) say_result("sigrelse", sigrelse(a[1]));
  if (a[0] == 2) say_result("sigignore", sigignore(a[1]));
}

void op_interrupt(const int32_t *a) { say_result("siginterrupt", siginterrupt(a[0], a[1])); }

/* variant, how, mask, mask */
void op_block(const int32_t *a) {
  sigset_t set = set_of(a[2], a[3]), old;
  sigemptyset(&old);
  int result;
  switch (a[0]) {
    case 0:
      result = sigprocmask(a[1], &set, &old);
      say("sigprocmask = %d errno %d old %lx", result, result ? errno : 0, bits(&old));
      break;
    case 1:
      result = pthread_sigmask(a[1], &set, &old);
      say("pthread_sigmask = %d old %lx", result, bits(&old));
      break;
    case 2: say("sigblock = %x", sigblock(a[2])); break;
    case 3: say("sigsetmask = %x", sigsetmask(a[2])); break;
    default: say("pthread_sigmask into bad = %d", pthread_sigmask(a[1], &set, (void *)8));
  }
}

void op_getmask(const int32_t *a) {
  sigset_t old;
  sigemptyset(&old);
  if (a[0] == 0) say("siggetmask = %x", siggetmask());
  if (a[0] == 1) say("sigprocmask query = %d %lx", sigprocmask(SIG_SETMASK, NULL, &old), bits(&old));
  if (a[0] == 2) say("pthread_sigmask query = %d %lx", pthread_sigmask(99, NULL, &old), bits(&old));
}

void op_pending(void) {
  sigset_t set;
  sigemptyset(&set);
  int result = sigpending(&set);
  say("sigpending = %d %lx", result, bits(&set));
}

/* variant, index, flags */
void op_altstack(const int32_t *a) {
  stack_t stack = {0}, old = {0};
  sigaltstack(NULL, &old);
  /* Of two frames on one stack the second would destroy the first: for the kernel as for a shim. */
  if (a[0] == 0 && me.on_alternate > 0 && !(old.ss_flags & SS_ONSTACK)) return;
  stack.ss_sp = region() + STACK * (a[1] % ALTERNATES);
  stack.ss_size = STACK;
  stack.ss_flags = a[2];
  if (a[0] == 1) stack.ss_flags = SS_DISABLE;
  if (a[0] == 2) stack.ss_size = 1024;
  int result = a[0] == 3 ? sigaltstack(NULL, &old) : sigaltstack(&stack, &old);
  say("sigaltstack = %d errno %d old %s size %zu flags %x", result, result ? errno : 0, place_of(old.ss_sp),
      old.ss_size, old.ss_flags);
}
