/* A shared object with fixups, which has never heard of sigplane but for its header. Compiled as plain
   C99, with every warning an error. */
#include "probe.h"

SIGPLANE_FIXUPS_OBJECT;

/* What the constructor was told. */
int object_state(void)
{
    return sigplane_fixups_state;
}

int object_attach(char *message, size_t length)
{
    return sigplane_fixups_attach(message, length);
}

int object_detach(void)
{
    return sigplane_fixups_detach();
}

/* The bounds of its table. */
void object_bounds(const void **start, const void **stop)
{
    *start = __start_sigplane_fixups;
    *stop = __stop_sigplane_fixups;
}

/* Gives sigplane other bounds than its own, as a loader that is wrong would. */
int object_give(const void *start, const void *stop, char *message, size_t length)
{
    const struct sigplane_abi *abi = sigplane_find();
    return abi == NULL ? SIGPLANE_ABSENT : abi->register_fixups(start, stop, message, length);
}

int object_take(const void *start)
{
    const struct sigplane_abi *abi = sigplane_find();
    return abi == NULL ? SIGPLANE_ABSENT : abi->unregister_fixups(start);
}

/* 1 if the byte can be read, 0 if reading it faults. */
int object_probe(const void *at)
{
    return probe_at(at, NULL);
}

/* Where the instruction is that `object_probe` has a fixup for. */
uintptr_t object_instruction(void)
{
    uintptr_t instruction;
    char here = 0;
    probe_at(&here, &instruction);
    return instruction;
}

#ifdef UNSORTED
/* The linker puts these in front of the others, whatever their order here: the table is not by address. */
__attribute__((cold, noinline)) int object_cold(const void *at)
{
    return probe_at(at, NULL);
}

__attribute__((hot, noinline)) int object_hot(const void *at)
{
    return probe_at(at, NULL);
}

__attribute__((cold, noinline)) int object_cold_too(const void *at)
{
    return probe_at(at, NULL);
}
#endif
