/* What the shared objects of tests/fault_objects.rs have in common: an instruction with a fixup. */
#ifndef PROBE_H
#define PROBE_H

#include <sigplane/fixup.h>

/* Whether the byte at `at` can be read; where the instruction is that tries. */
static inline __attribute__((always_inline)) int probe_at(const void *at, uintptr_t *instruction)
{
    unsigned long code = 0, address;
    unsigned char value;
    uintptr_t pc;
    __asm__ volatile("lea 2f(%%rip), %[pc]\n"
                     "2: movb (%[at]), %[value]\n"
                     "3:\n" SIGPLANE_FIXUP("2b", "3b", "3b")
                     : [value] "=&q"(value), "+d"(code), "=&a"(address), [pc] "=&r"(pc)
                     : [at] "r"(at)
                     : "r11", "memory");
    (void)address;
    (void)value;
    if (instruction != NULL)
        *instruction = pc;
    return code == 0;
}

#endif
