/* What a disk does to fdatasync and pwrite, by three 64-bit numbers in the file DISK_FILE: milliseconds that a sync takes
 * longer, the error that a sync ends with, and the error that a write to a file of the log ends with. Preloaded by
 * tests/durability/faults.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>

static volatile int64_t *rule;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("DISK_FILE");
    int file = path ? open(path, O_RDONLY) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(0, 3 * sizeof *rule, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED)
        rule = page;
}

int fdatasync(int file) {
    static int (*next)(int);
    if (!next)
        next = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (rule && rule[0] > 0) {
        struct timespec wait = {rule[0] / 1000, rule[0] % 1000 * 1000000};
        nanosleep(&wait, 0);
    }
    if (rule && rule[1]) {
        errno = (int)rule[1];
        return -1;
    }
    return next(file);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
    static ssize_t (*next)(int, const void *, size_t, off64_t);
    if (!next)
        next = (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    if (rule && rule[2]) {
        errno = (int)rule[2];
        return -1;
    }
    return next(file, bytes, length, offset);
}
