/*
 * Faults as values: a table that is computed page by page when it is first touched, a mapped file that somebody
 * truncates while it is read, a string that may not be there, and an instruction sequence with a fixup of its own.
 */
#define _GNU_SOURCE
#include <sigplane.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

SIGPLANE_FIXUPS_OBJECT;

#define PAGE 4096ul
#define PAGES 64ul

struct table {
    unsigned char *start;
    unsigned long filled;
};

static void check(int error, const char *what)
{
    if (error != SIGPLANE_OK) {
        fprintf(stderr, "%s: %s\n", what, sigplane_strerror(error));
        exit(1);
    }
}

/* In the signal handler: mprotect(2) and arithmetic, nothing else. */
static int fill_page(sigplane_fault_context *context, void *user)
{
    struct table *table = (struct table *)user;
    uint64_t offset = context->fault->address - (uint64_t)(uintptr_t)table->start;
    unsigned char *page = table->start + offset / PAGE * PAGE;
    unsigned long number = (unsigned long)(offset / PAGE), i;

    if (!context->fault->has_address || offset >= PAGES * PAGE)
        return SIGPLANE_PASS;
    if (mprotect(page, PAGE, PROT_READ | PROT_WRITE) != 0)
        return SIGPLANE_PASS;
    for (i = 0; i < PAGE; i++)
        page[i] = (unsigned char)number;
    table->filled += 1;
    return SIGPLANE_HANDLED; /* the access is done again */
}

static void page_on_demand(void)
{
    struct table table = {NULL, 0};
    sigplane_region region;
    unsigned long sum = 0, i;

    table.start = (unsigned char *)mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (table.start == MAP_FAILED)
        exit(1);
    check(sigplane_region_add(table.start, PAGES * PAGE, NULL, fill_page, &table, &region), "region");
    for (i = 0; i < PAGES; i += 2)
        sum += table.start[i * PAGE + 7];
    check(sigplane_region_remove(region), "region");
    printf("paging: %lu of %lu pages, sum %lu\n", table.filled, PAGES, sum);
}

struct scan {
    const unsigned char *bytes;
    unsigned long length, sum;
};

static void sum_up(void *argument)
{
    struct scan *scan = (struct scan *)argument;
    unsigned long i;
    for (i = 0; i < scan->length; i++)
        scan->sum += scan->bytes[i];
}

static void read_truncated(void)
{
    char name[] = "/tmp/sigplane-paging-XXXXXX", copy[2 * PAGE];
    int file = mkstemp(name), error;
    struct scan scan;
    sigplane_fault fault;

    if (file < 0 || unlink(name) != 0 || ftruncate(file, 2 * (off_t)PAGE) != 0)
        exit(1);
    scan.bytes = (const unsigned char *)mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, file, 0);
    scan.length = 2 * PAGE;
    scan.sum = 0;
    if (scan.bytes == MAP_FAILED)
        exit(1);
    check(sigplane_guarded(sum_up, &scan, &fault), "whole file");
    if (ftruncate(file, (off_t)PAGE) != 0)
        exit(1);
    error = sigplane_guarded(sum_up, &scan, &fault);
    printf("guarded: %s, %s at offset %lu\n", error == SIGPLANE_E_FAULT ? "faulted" : "did not fault",
           sigplane_fault_text(fault.kind), (unsigned long)(fault.address - (uint64_t)(uintptr_t)scan.bytes));
    error = sigplane_try_copy(copy, scan.bytes, sizeof copy, &fault);
    printf("copy: %s after %lu bytes\n", error == SIGPLANE_E_FAULT ? "stopped" : "whole",
           (unsigned long)fault.done);
}

/* A leaf of the program's own, with its landing in its own table. */
static int read_word(const unsigned long *from, unsigned long *value)
{
    unsigned long code = 0, address;
    __asm__ volatile("2: mov (%[from]), %[value]\n3:\n" SIGPLANE_FIXUP("2b", "3b", "3b")
                     : [value] "=&r"(*value), "+d"(code), "=&a"(address)
                     : [from] "r"(from)
                     : "r11");
    return code == 0;
}

int main(void)
{
    static const char text[] = "a string";
    unsigned long word = 7, value = 0, nothing = 0;
    size_t length = 0;
    sigplane_fault fault;

    check(sigplane_faults_enable(), "faults");
    if (sigplane_fixups_state != SIGPLANE_OK && sigplane_fixups_attach(NULL, 0) != SIGPLANE_OK)
        return 1;
    page_on_demand();
    read_truncated();
    check(sigplane_try_strlen(text, 100, &length, NULL), "text");
    printf("strlen: %lu, and %s\n", (unsigned long)length,
           sigplane_try_strlen((const char *)16, 100, &length, &fault) == SIGPLANE_E_FAULT
               ? sigplane_fault_text(fault.kind)
               : "no fault");
    if (!read_word(&word, &value))
        return 1;
    printf("fixup: %lu, and %s\n", value,
           read_word((const unsigned long *)24, &nothing) ? "no fault" : "a landing");
    return 0;
}
