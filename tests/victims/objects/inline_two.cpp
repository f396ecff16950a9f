#include "inline.hpp"

extern "C" int object_probe_too(const void *at)
{
    return inline_probe(at);
}
