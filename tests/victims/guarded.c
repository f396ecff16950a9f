/* For tests/fault_guarded.rs: what Rust cannot write about registers and jumps. */
#include <setjmp.h>
#include <stdint.h>

/* Spoils every register that a function preserves, the control words, the direction flag and the stack of
   the x87, and faults. */
__attribute__((naked, noinline)) void guarded_spoil(void)
{
    __asm__ volatile(
        "movabs $0x0bad0bad0bad0bad, %rax\n"
        "mov %rax, %rbx\n"
        "mov %rax, %rbp\n"
        "mov %rax, %r12\n"
        "mov %rax, %r13\n"
        "mov %rax, %r14\n"
        "mov %rax, %r15\n"
        "sub $4096, %rsp\n"
        "movl $0xe03f, (%rsp)\n" /* another rounding; every exception has happened, and the next one traps */
        "ldmxcsr (%rsp)\n"
        "movw $0x0f7f, (%rsp)\n" /* round to zero */
        "fldcw (%rsp)\n"
        "fld1\nfld1\nfld1\nfld1\nfld1\n"
        "std\n"
        "xor %eax, %eax\n"
        "movb (%rax), %al\n"
        "ud2\n");
}

/* Calls `call(argument)` with known values in all of that, and tells which have changed: a bit each for
   rbx, rbp, r12 to r15, the stack pointer, MXCSR, the control word, the direction flag, the x87's stack. */
uint64_t guarded_intact(void (*call)(void *), void *argument);
__asm__(".text\n"
        ".globl guarded_intact\n"
        ".type guarded_intact, @function\n"
        "guarded_intact:\n"
        "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "sub $40, %rsp\n"
        "stmxcsr 16(%rsp)\n"
        "fnstcw 20(%rsp)\n"
        "movl $0x3f80, 24(%rsp)\n" /* round down */
        "ldmxcsr 24(%rsp)\n"
        "movw $0x0b7f, 28(%rsp)\n" /* round up */
        "fldcw 28(%rsp)\n"
        "mov %rdi, %rax\n"
        "mov %rsi, %rdi\n"
        "mov $0x101, %ebx\n"
        "mov $0x102, %ebp\n"
        "mov $0x103, %r12d\n"
        "mov $0x104, %r13d\n"
        "mov $0x105, %r14d\n"
        "mov $0x106, %r15d\n"
        "mov %rsp, (%rsp)\n"
        "call *%rax\n"
        "xor %eax, %eax\n"
        "cmp $0x101, %rbx\nje 1f\nor $1, %eax\n"
        "1: cmp $0x102, %rbp\nje 1f\nor $2, %eax\n"
        "1: cmp $0x103, %r12\nje 1f\nor $4, %eax\n"
        "1: cmp $0x104, %r13\nje 1f\nor $8, %eax\n"
        "1: cmp $0x105, %r14\nje 1f\nor $16, %eax\n"
        "1: cmp $0x106, %r15\nje 1f\nor $32, %eax\n"
        "1: cmp %rsp, (%rsp)\nje 1f\nor $64, %eax\n"
        "1: stmxcsr 32(%rsp)\n"
        "andl $0xffffffc0, 32(%rsp)\n" /* not the flags of what has happened: they are nobody's */
        "cmpl $0x3f80, 32(%rsp)\nje 1f\nor $128, %eax\n"
        "1: fnstcw 32(%rsp)\n"
        "cmpw $0x0b7f, 32(%rsp)\nje 1f\nor $256, %eax\n"
        "1: pushf\npop %rcx\n"
        "test $0x400, %ecx\njz 1f\nor $512, %eax\n"
        "1: cld\n"
        "fnstsw 32(%rsp)\n" /* the top of an empty stack is 0 */
        "testw $0x3800, 32(%rsp)\njz 1f\nor $1024, %eax\n"
        "1: ldmxcsr 16(%rsp)\n"
        "fldcw 20(%rsp)\n"
        "add $40, %rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\n"
        "ret\n"
        ".size guarded_intact, . - guarded_intact\n");

static jmp_buf back;

/* Calls `call(argument)`, which comes back by `guarded_jump`: 1 if so. */
int guarded_land(void (*call)(void *), void *argument)
{
    if (setjmp(back) == 0) {
        call(argument);
        return 0;
    }
    return 1;
}

void guarded_jump(void)
{
    longjmp(back, 1);
}
