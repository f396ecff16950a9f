/* An executable in C with fixups of its own, linked with a shared object that has some, both there long
   before sigplane: that comes with the plugin whose path is the argument. */
#include "probe.h"
#include <dlfcn.h>
#include <stdio.h>

SIGPLANE_FIXUPS_OBJECT;

extern int object_state(void);
extern int object_attach(char *message, size_t length);
extern int object_probe(const void *at);

int main(int argc, char **argv)
{
    int (*enable)(void);
    char message[256] = "";
    void *plugin;
    printf("states %d %d\n", sigplane_fixups_state, object_state());
    plugin = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (plugin == NULL)
        return 2;
    *(void **)&enable = dlsym(plugin, "plugin_enable");
    if (enable == NULL || enable() != 0)
        return 3;
    printf("attach %d", sigplane_fixups_attach(message, sizeof message));
    printf(" %d %s\n", object_attach(message, sizeof message), message);
    printf("probes %d %d", probe_at((const void *)16, NULL), object_probe((const void *)16));
    printf(" %d %d\n", probe_at(message, NULL), object_probe(message));
    fflush(stdout);
    return 0;
}
