/* Shared objects whose tables are refused: REFUSED is the error that each is to get. The code is never
   executed. */
#include "probe.h"

SIGPLANE_FIXUPS_OBJECT;

int object_state(void)
{
    return sigplane_fixups_state;
}

int object_attach(char *message, size_t length)
{
    return sigplane_fixups_attach(message, length);
}

void object_bounds(const void **start, const void **stop)
{
    *start = __start_sigplane_fixups;
    *stop = __stop_sigplane_fixups;
}

void refused_code(void)
{
    __asm__ volatile("2: nop\n3: nop\n4: nop\n5: nop\n6: nop\n"
                     /* Entry 0 is as it must be. */
                     SIGPLANE_FIXUP("2b", "3b", "6b")
#if REFUSED == 2
                     SIGPLANE_FIXUP("4b", "4b", "6b")
#elif REFUSED == 3
                     SIGPLANE_FIXUP("5b", "4b", "6b")
#elif REFUSED == 4
                     SIGPLANE_FIXUP("4b", "6b", "6b")
                     SIGPLANE_FIXUP("5b", "6b", "6b")
#elif REFUSED == 5
                     SIGPLANE_FIXUP("3b", "4b", "4b")
                     SIGPLANE_FIXUP("4b", "5b", "3b")
#else
#error "which?"
#endif
    );
}
