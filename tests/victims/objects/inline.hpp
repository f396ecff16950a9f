// An inline function with a fixup, in two translation units: its section group is kept once, and with it the line of the table.
#include "probe.h"

inline __attribute__((noinline)) int inline_probe(const void *at)
{
    return probe_at(at, nullptr);
}
