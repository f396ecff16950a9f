#include "inline.hpp"
#include <cstddef>

SIGPLANE_FIXUPS_OBJECT;

extern "C" {
int object_state()
{
    return sigplane_fixups_state;
}

int object_attach(char *message, std::size_t length)
{
    return sigplane_fixups_attach(message, length);
}

void object_bounds(const void **start, const void **stop)
{
    *start = __start_sigplane_fixups;
    *stop = __stop_sigplane_fixups;
}

int object_probe(const void *at)
{
    return inline_probe(at);
}
}
