/* A fixup in C code that is linked into the test's executable, which has sigplane: nothing is attached. */
#include "objects/probe.h"

int fixup_probe(const void *at)
{
    return probe_at(at, NULL);
}
