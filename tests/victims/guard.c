/* sigsetjmp(3) cannot be called from Rust: it returns twice. How programs guard against faults without
 * sigplane. */
#include <setjmp.h>
#include <signal.h>

static __thread sigjmp_buf victim_frame;

/* A handler that leaves to the innermost guard. */
void victim_leave(int number, siginfo_t *info, void *context)
{
	(void)number, (void)info, (void)context;
	siglongjmp(victim_frame, 1);
}

/* Calls `f(argument)`; 1 if a fault ended it. The mask is saved and restored if `mask` says so. */
int victim_sigsetjmp(void (*f)(void *), void *argument, int mask)
{
	if (sigsetjmp(victim_frame, mask) != 0)
		return 1;
	f(argument);
	return 0;
}
