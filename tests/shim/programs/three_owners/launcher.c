/* launcher LIBJVM CLASSES REPORTER SUBSCRIBER ORDER DEEDS: loads the three in this order (letters j, r, s), and
 * does the deeds: j Java's faults, s the subscriber's, q SIGQUIT, t the table,
 * w waits for a line, c a crash, p a crash on another thread, a abort. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <jni.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static JNIEnv *env;
static void *subscriber;

static void *symbol(void *object, const char *name) {
    void *found = dlsym(object, name);
    if (!found) {
        printf("%s: %s\n", name, dlerror());
        exit(3);
    }
    return found;
}

static void start_java(const char *library, const char *classes) {
    void *object = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
    jint (*create)(JavaVM **, void **, void *) = (jint(*)(JavaVM **, void **, void *))symbol(object, "JNI_CreateJavaVM");
    static char path[4096];
    snprintf(path, sizeof path, "-Djava.class.path=%s", classes);
    static char file[4096];
    snprintf(file, sizeof file, "-XX:ErrorFile=%s/crash", classes);
    JavaVMOption options[] = {
        {path, NULL}, {"-XX:TieredStopAtLevel=1", NULL}, {"-XX:-CreateCoredumpOnCrash", NULL}, {file, NULL}};
    JavaVMInitArgs arguments = {JNI_VERSION_1_8, sizeof options / sizeof *options, options, JNI_FALSE};
    JavaVM *vm;
    if (!object || create(&vm, (void **)&env, &arguments) != JNI_OK)
        exit(4);
}

static int java_faults(void) {
    jclass class = (*env)->FindClass(env, "Owners");
    jmethodID method = class ? (*env)->GetStaticMethodID(env, class, "faults", "()I") : NULL;
    return method ? (*env)->CallStaticIntMethod(env, class, method) : -1;
}

__attribute__((noinline)) static void *crash(void *nowhere) {
    *(volatile int *)nowhere = 1;
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 7)
        return 2;
    setvbuf(stdout, NULL, _IONBF, 0);
    for (const char *one = arguments[5]; *one; one++) {
        if (*one == 'j') {
            start_java(arguments[1], arguments[2]);
            continue;
        }
        void *object = dlopen(arguments[*one == 'r' ? 3 : 4], RTLD_NOW);
        if (*one == 's')
            subscriber = object;
        int failed = ((int (*)(void))symbol(object, *one == 'r' ? "reporter_install" : "subscriber_install"))();
        if (failed) {
            printf("%c: %d\n", *one, failed);
            return 5;
        }
    }
    for (const char *deed = arguments[6]; *deed; deed++) {
        pthread_t thread;
        switch (*deed) {
        case 'j':
            printf("Java: %d\n", java_faults());
            break;
        case 's':
            printf("subscriber: %d\n", ((int (*)(void))symbol(subscriber, "subscriber_faults"))());
            break;
        case 'q':
            /* A thread takes it that has it open: not this one, if Java knows it. */
            kill(getpid(), SIGQUIT);
            while (((int (*)(void))symbol(subscriber, "subscriber_quits"))() == 0)
                sched_yield();
            printf("quit counted\n");
            break;
        case 't':
            ((int (*)(int))symbol(RTLD_DEFAULT, "sigplane_table_dump"))(1);
            break;
        case 'w': /* for the test, which has seen Java's dump then */
            (void)!getchar();
            break;
        case 'c':
            crash((void *)0x10);
            break;
        case 'p':
            pthread_create(&thread, NULL, crash, (void *)0x18);
            pthread_join(thread, NULL);
            break;
        case 'a':
            abort();
        }
    }
    printf("end\n");
    fflush(stdout);
    _exit(0);
}
