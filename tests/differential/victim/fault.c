/* Real faults. The instructions' lengths are known, so that a handler can skip them. */
#include "victim.h"

#include <sys/mman.h>

static void *page(int protection, bool hole) {
  int fd = hole ? memfd_create("hole", MFD_CLOEXEC) : -1;
  void *at = mmap(NULL, 4096, protection, hole ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd, 0);
  if (hole) close(fd);
  return at;
}

/* kind */
void op_fault(const int32_t *a) {
  static const struct { int signal, length; } kinds[] = {
      {SIGSEGV, 6}, {SIGSEGV, 2}, {SIGFPE, 2}, {SIGILL, 2}, {SIGTRAP, 0}, {SIGBUS, 6}, {SIGSEGV, 6}};
  int kind = a[0] % 7;
  if (me.faulting) return;
  void *at = NULL;
  if (kind == 1) at = page(PROT_NONE, false);
  if (kind == 5) at = page(PROT_READ | PROT_WRITE, true);
  if (kind == 6) at = (void *)0x8000000000000000ul;
  sigjmp_buf back;
  if (sigsetjmp(back, 1)) {
    say("left fault %d by a jump", kind);
    return;
  }
  me.fault_depth = me.depth;
  me.fault_skip = kinds[kind].length;
  me.fault_jump = &back;
  me.faulting = kinds[kind].signal;
  switch (kind) {
    case 1: __asm__ volatile(".byte 0x8b, 0x00" : "+a"(at) : : "memory"); break;
    case 2: __asm__ volatile(".byte 0xf7, 0xf9" : : "a"(1), "c"(0), "d"(0) : "memory", "cc"); break;
    case 3: __asm__ volatile("ud2" : : : "memory"); break;
    case 4: __asm__ volatile("int3" : : : "memory"); break;
    default: __asm__ volatile(".byte 0xc7, 0x00, 1, 0, 0, 0" : : "a"(at) : "memory");
  }
  me.faulting = 0;
  say("after fault %d", kind);
}
