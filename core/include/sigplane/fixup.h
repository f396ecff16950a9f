/*
 * sigplane/fixup.h: fixups for C and C++.
 *
 * A fixup says where a faulting instruction goes on. In one file of each shared object (or executable):
 *
 *     #include <sigplane/fixup.h>
 *     SIGPLANE_FIXUPS_OBJECT;
 *
 * and in inline assembly, with local labels (x86-64, either assembler syntax):
 *
 *     static inline int read_word(const unsigned long *from, unsigned long *value)
 *     {
 *         unsigned long code = 0, address;
 *         __asm__ volatile("2: mov (%[from]), %[value]\n3:\n"
 *                          SIGPLANE_FIXUP("2b", "3b", "3b")
 *                          : [value] "=&r"(*value), "+d"(code), "=&a"(address)
 *                          : [from] "r"(from)
 *                          : "r11");
 *         return code == 0;
 *     }
 *
 * At the landing every register is as it was at the fault, but for three: rax has the address, rdx a code
 * that is never 0, r11 the program counter. The stack pointer must be the same in the range and at the
 * landing. Ranges must not overlap, must not be empty, and must not contain a landing that leads back to
 * them: such a table is refused.
 *
 * The object needs no library and no symbol: it finds sigplane through the kernel's table of handlers,
 * when sigplane owns one of the signals of faults. The constructor of the object tries it;
 * if sigplane comes later, call sigplane_fixups_attach() again (also where a filter refuses the process
 * process_vm_readv(2), by which it is looked for). Before the object is unloaded, its
 * destructor takes the table back and waits for handlers that may still read it.
 */
#ifndef SIGPLANE_FIXUP_H
#define SIGPLANE_FIXUP_H

#if !defined(__linux__) || !defined(__x86_64__)
#error "sigplane/fixup.h: Linux on x86-64 only"
#endif

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One line of the object's table. R: kept though nothing refers to it. ?: in the section group of the code
 * around it, so that a C++ inline function that is dropped takes its lines with it. */
#define SIGPLANE_FIXUP(start, end, landing)                  \
    ".pushsection sigplane_fixups,\"aR?\",@progbits\n"       \
    ".p2align 2\n"                                           \
    ".long " start " - ., " end " - ., " landing " - .\n"    \
    ".popsection\n"

/* Results of sigplane_fixups_attach() and sigplane_fixups_detach(). */
enum {
    SIGPLANE_OK = 0,
    SIGPLANE_FIXUP_MISSHAPEN = 1,
    SIGPLANE_FIXUP_EMPTY = 2,
    SIGPLANE_FIXUP_OUT_OF_ORDER = 3,
    SIGPLANE_FIXUP_OVERLAPPING = 4,
    SIGPLANE_FIXUP_CYCLE = 5,
    SIGPLANE_FIXUP_REGISTERED = 6,
    SIGPLANE_FIXUP_UNKNOWN = 7,
    SIGPLANE_VFORK_CHILD = 8,
    SIGPLANE_IN_HANDLER = 9,
    SIGPLANE_OTHER = 10,
    /* Sigplane does not own a signal of faults in this process (yet). */
    SIGPLANE_ABSENT = -1
};

struct sigplane_abi {
    uint32_t version, size;
    int (*register_fixups)(const void *start, const void *stop, char *message, size_t length);
    int (*unregister_fixups)(const void *start);
};

/* The kernel's struct sigaction on x86-64. */
struct sigplane_kernel_action {
    uintptr_t handler, flags, restorer;
    uint64_t mask;
};

/* What stands in front of sigplane's restorer. */
struct sigplane_mark {
    char text[16];
    int64_t distance;
    char code[8];
};

/* The kernel itself: libc's syscall(2) may be somebody's who shows the program its own handlers. The error
 * is negative. */
static inline long sigplane_kernel(long number, unsigned long a, unsigned long b, unsigned long c,
                                   unsigned long d, unsigned long e, unsigned long f)
{
    long result;
    register unsigned long r10 __asm__("r10") = d;
    register unsigned long r8 __asm__("r8") = e;
    register unsigned long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* 1: read. 0: there is no such memory. Negative: refused. */
static inline int sigplane_read(uintptr_t from, void *to, size_t length)
{
    struct iovec there = {(void *)from, length}, here = {to, length};
    long got = sigplane_kernel(SYS_process_vm_readv, (unsigned long)getpid(), (unsigned long)&here, 1,
                               (unsigned long)&there, 1, 0);
    if (got == (long)length)
        return 1;
    return got >= 0 || got == -EFAULT ? 0 : -1;
}

/* Sigplane's functions, or NULL. */
static inline const struct sigplane_abi *sigplane_find(void)
{
    static const int signals[] = {11, 7, 8, 4, 5, 31}; /* SEGV, BUS, FPE, ILL, TRAP, SYS */
    static const char text[16] = "sigplane-abi-0";
    size_t i;
    for (i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigplane_kernel_action action;
        struct sigplane_mark mark;
        uintptr_t at;
        if (sigplane_kernel(SYS_rt_sigaction, (unsigned long)signals[i], 0, (unsigned long)&action,
                            sizeof action.mask, 0, 0) != 0 ||
            action.handler <= 1 || action.restorer < sizeof mark)
            continue;
        at = action.restorer - sizeof mark;
        if (sigplane_read(at, &mark, sizeof mark) == 1 && memcmp(mark.text, text, sizeof text) == 0)
            return (const struct sigplane_abi *)(at + 16 + (uintptr_t)mark.distance);
    }
    return NULL;
}

extern const char __start_sigplane_fixups[] __attribute__((weak, visibility("hidden")));
extern const char __stop_sigplane_fixups[] __attribute__((weak, visibility("hidden")));

/* Who has this object's table: it is taken back from there, even when the kernel's table names others by
 * then. One for the whole object, whichever of its files use it. */
__attribute__((weak, visibility("hidden"))) const struct sigplane_abi *sigplane_fixups_owner;

/* Gives this object's table to sigplane. Of an error, `message` (if not NULL) gets a text of at most
 * `length` bytes, its end included. */
static inline int sigplane_fixups_attach(char *message, size_t length)
{
    const struct sigplane_abi *abi = sigplane_find();
    int result;
    if (abi == NULL)
        return SIGPLANE_ABSENT;
    result = abi->register_fixups(__start_sigplane_fixups, __stop_sigplane_fixups, message, length);
    if (result == SIGPLANE_OK)
        sigplane_fixups_owner = abi;
    return result;
}

/* Takes it back. When it returns, no handler reads it. */
static inline int sigplane_fixups_detach(void)
{
    struct sigplane_abi abi;
    int result;
    if (sigplane_fixups_owner == NULL)
        return SIGPLANE_FIXUP_UNKNOWN;
    result = sigplane_read((uintptr_t)sigplane_fixups_owner, &abi, sizeof abi);
    if (result == 0)
        return SIGPLANE_ABSENT;
    /* A filter refuses the look. The owner is trusted: a table that stayed would outlive its object. */
    if (result < 0)
        abi = *sigplane_fixups_owner;
    result = abi.unregister_fixups(__start_sigplane_fixups);
    if (result == SIGPLANE_OK)
        sigplane_fixups_owner = NULL;
    return result;
}

/* In one file of each object: its constructor and destructor. `sigplane_fixups_state` is what the
 * constructor was told. */
#define SIGPLANE_FIXUPS_OBJECT                                                                    \
    __attribute__((visibility("hidden"))) int sigplane_fixups_state = SIGPLANE_ABSENT;            \
    __attribute__((constructor)) static void sigplane_fixups_constructor(void)                    \
    {                                                                                             \
        sigplane_fixups_state = sigplane_fixups_attach(NULL, 0);                                  \
    }                                                                                             \
    __attribute__((destructor)) static void sigplane_fixups_destructor(void)                      \
    {                                                                                             \
        sigplane_fixups_detach();                                                                 \
    }                                                                                             \
    extern int sigplane_fixups_state

#ifdef __cplusplus
}
#endif
#endif
