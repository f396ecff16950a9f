/* Runs procedures. Before each operation a place to jump to is set, so that a handler's body can leave by
 * siglongjmp or setcontext to any procedure that it interrupted. */
#include "victim.h"

__thread struct thread me;
struct procedure *procedures;
unsigned procedure_count;
bool uses_contexts;
int operations_left = 400, bodies_left = 60;
pid_t program;

void new_thread(const char *stream) {
  memset(&me, 0, sizeof me);
  snprintf(me.stream, sizeof me.stream, "%s", stream);
}

void child_stream(char stream[32]) {
  snprintf(stream, 32, "%.26s.%d", me.stream, ++me.children);
}

/* After a jump: whatever ran above this frame is gone. */
static void landed(struct frame *frame, int level) {
  while (me.call && me.call != frame->call && me.call->level > level) finish_call(me.call);
  me.call = frame->call;
  me.depth = frame->depth;
  me.on_alternate = frame->on_alternate;
  me.contexts = frame->contexts;
  me.held = frame->held;
  me.faulting = frame->faulting;
  me.level = level + 1;
  sigset_t mask;
  sigemptyset(&mask);
  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  stack_t stack = {0};
  sigaltstack(NULL, &stack);
  say("landed at level %d mask %lx alternate flags %x", level, bits(&mask), stack.ss_flags);
}

void jump(int levels, int way) {
  int target = me.level - 1 - levels;
  if (target < me.floor) target = me.floor;
  if (target < 0 || me.depth == 0) return;
  struct frame *frame = me.frames[target];
  if (me.held && me.held != frame->held && !me.call) return; /* out of a wait for a child */
  say("jump to level %d", target);
  if (way && uses_contexts) {
    frame->landed = true;
    setcontext(&frame->context);
  }
  siglongjmp(frame->jump, 1);
}

static void execute(const struct op *op) {
  const int32_t *a = op->a;
  bool quiet = me.held || me.vforked; /* no second wait inside one, no process inside a vfork */
  switch (op->code) {
    case OP_SIGACTION: op_sigaction(a); break;
    case OP_QUERY: op_query(a); break;
    case OP_SIGNAL: op_signal(a); break;
    case OP_HOLD: op_hold(a); break;
    case OP_INTERRUPT: op_interrupt(a); break;
    case OP_BLOCK: op_block(a); break;
    case OP_GETMASK: op_getmask(a); break;
    case OP_PENDING: op_pending(); break;
    case OP_SEND: op_send(a); break;
    case OP_ALTSTACK: op_altstack(a); break;
    case OP_POLL: op_poll(a); break;
    case OP_SIGNALFD: op_signalfd(a); break;
    case OP_TIMER: if (!me.vforked) op_timer(a); break;
    case OP_BLOCKING: if (!quiet) op_blocking(a); break;
    case OP_THREAD: if (!quiet) op_thread(a); break;
    case OP_FORK: if (!quiet) op_fork(a); break;
    case OP_VFORK: if (!quiet) op_vfork(a); break;
    case OP_SPAWN: if (!quiet) op_spawn(a); break;
    case OP_SYSTEM: if (!quiet) op_system(a); break;
    case OP_FAULT: op_fault(a); break;
    case OP_ABORT: abort();
    case OP_JUMP: jump(a[0], a[1]); break;
    case OP_CONTEXT: op_context(a); break;
    case OP_TELLPARENT: op_tell_parent(a); break;
    case OP_EXIT: say("exit(%d)", a[0]); _exit(a[0]);
    default: break;
  }
}

void run(unsigned which) {
  if (which >= procedure_count || me.level >= LEVELS) return;
  const struct procedure *procedure = &procedures[which];
  struct frame frame = {.depth = me.depth, .on_alternate = me.on_alternate, .contexts = me.contexts,
                        .held = me.held, .faulting = me.faulting, .call = me.call};
  volatile int level = me.level++;
  me.frames[level] = &frame;
  for (volatile unsigned at = 0; at < procedure->count; at++) {
    if (operations_left-- <= 0) break;
    if (sigsetjmp(frame.jump, procedure->save_mask)) {
      landed(&frame, level);
      continue;
    }
    if (uses_contexts) {
      frame.landed = false;
      getcontext(&frame.context);
      if (frame.landed) {
        landed(&frame, level);
        continue;
      }
    }
    if (me.forked && !me.vforked && !me.depth) wait_for_parent();
    execute(&procedure->ops[at]);
  }
  me.level = level;
}
