/* The handlers of programs: eight that take a number and eight that take everything. Each writes down what
 * a handler can see, runs its procedure, and ends the fault it was entered for, if any. */
#include "victim.h"

#include <sys/mman.h>

/* Skips the faulting instruction, or leaves by a jump if the handler was not given the context. */
static void end_fault(int signal, ucontext_t *context) {
  if (me.faulting != signal || me.depth != me.fault_depth + 1) return;
  me.faulting = 0;
  if (context)
    context->uc_mcontext.gregs[REG_RIP] += me.fault_skip;
  else
    siglongjmp(*me.fault_jump, 1);
}

char *region(void) {
  if (!me.region) {
    me.region = mmap(NULL, STACK * (ALTERNATES + CONTEXTS), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (me.region == MAP_FAILED) _exit(99);
  }
  return me.region;
}

const char *place_of(const void *address) {
  static const char *const names[] = {"alt0", "alt1", "alt2", "ctx0", "ctx1", "ctx2"};
  const char *base = region();
  const char *at = address;
  if (at >= base && at < base + STACK * (ALTERNATES + CONTEXTS)) return names[(at - base) / STACK];
  return address ? "own" : "null";
}

static void say_info(const siginfo_t *info, const ucontext_t *context) {
  char value[96] = "";
  switch (info->si_code) {
    case SI_QUEUE: case SI_TIMER:
      snprintf(value, sizeof value, "value %d", info->si_value.sival_int);
      if (info->si_code == SI_QUEUE)
        snprintf(value + strlen(value), sizeof value - strlen(value), " from %s uid %s", who(info->si_pid),
                 info->si_uid == getuid() ? "own" : "other");
      else
        snprintf(value + strlen(value), sizeof value - strlen(value), " overrun %d", info->si_overrun);
      break;
    case SI_USER: case SI_TKILL:
      snprintf(value, sizeof value, "from %s uid %s", who(info->si_pid),
               info->si_uid == getuid() ? "own" : "other");
      break;
    default:
      if (info->si_signo == SIGCHLD)
        snprintf(value, sizeof value, "child %s uid %s status %d", info->si_pid == 0 ? "nobody" : "some",
                 info->si_uid == getuid() ? "own" : "other", info->si_status);
      else if (me.faulting)
        snprintf(value, sizeof value, "address %s", info->si_addr ? "some" : "null");
  }
  say("  info signal %d errno %d code %d %s", info->si_signo, info->si_errno, info->si_code, value);
  say("  context mask %lx stack %s size %zu flags %x", bits(&context->uc_sigmask),
      place_of(context->uc_stack.ss_sp), context->uc_stack.ss_size, context->uc_stack.ss_flags);
}

static void handle(int id, int signal, siginfo_t *info, void *context) {
  int saved = errno;
  char here;
  const char *place = place_of(&here);
  bool alternate = place[0] == 'a';
  me.depth++;
  me.on_alternate += alternate;
  sigset_t mask;
  sigemptyset(&mask);
  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  stack_t stack = {0};
  sigaltstack(NULL, &stack);
  say("> handler %c%d signal %d depth %d on %s mask %lx alternate %s flags %x", info ? 'i' : 's', id, signal,
      me.depth, place, bits(&mask), place_of(stack.ss_sp), stack.ss_flags);
  if (info) say_info(info, context);
  op_query((const int32_t[]){signal, 0});
  if (bodies_left-- > 0 && me.depth <= 5) run(1 + id);
  end_fault(signal, context);
  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  say("< handler %c%d mask %lx", info ? 'i' : 's', id, bits(&mask));
  me.depth--;
  me.on_alternate -= alternate;
  errno = saved;
}

#define PAIR(N)                                                              \
  static void simple##N(int signal) { handle(N, signal, NULL, NULL); }        \
  static void full##N(int signal, siginfo_t *info, void *context) { handle(N, signal, info, context); }
PAIR(0) PAIR(1) PAIR(2) PAIR(3) PAIR(4) PAIR(5) PAIR(6) PAIR(7)

static void *const simple[HANDLERS] = {simple0, simple1, simple2, simple3, simple4, simple5, simple6, simple7};
static void *const full[HANDLERS] = {full0, full1, full2, full3, full4, full5, full6, full7};

/* Ends a blocking call and does nothing else. */
void released(int signal) { (void)signal; }

void *handler_of(int kind, int id) {
  switch (kind) {
    case 0: return (void *)SIG_DFL;
    case 1: return (void *)SIG_IGN;
    case 2: return simple[id % HANDLERS];
    case 3: return full[id % HANDLERS];
    case 4: return (void *)SIG_HOLD;
    default: return (void *)SIG_ERR;
  }
}

const char *name_of(const void *handler, char text[24]) {
  if (handler == (void *)SIG_DFL) return "DFL";
  if (handler == (void *)SIG_IGN) return "IGN";
  if (handler == (void *)SIG_ERR) return "ERR";
  if (handler == (void *)SIG_HOLD) return "HOLD";
  if (handler == (void *)released) return "release";
  for (int id = 0; id < HANDLERS; id++) {
    if (handler != simple[id] && handler != full[id]) continue;
    snprintf(text, 24, "%c%d", handler == full[id] ? 'i' : 's', id);
    return text;
  }
  return "foreign";
}
