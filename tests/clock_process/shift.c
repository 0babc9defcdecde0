/* Moves CLOCK_REALTIME by the seconds that stand in the file SHIFT_FILE (one 64-bit number), and no other clock: what a
 * first synchronisation, or a machine that was asleep, does to a process. A file counts as made when it was last written,
 * which a test can set, as the kernel's own clock cannot be moved. Preloaded by tests/clock_process.rs and
 * tests/real/batches.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

static volatile int64_t *seconds;
static int (*next)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SHIFT_FILE");
    int file = path ? open(path, O_RDONLY) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(0, sizeof *seconds, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED)
        seconds = page;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!next)
        next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int answer = next(clock, time);
    if (answer == 0 && clock == CLOCK_REALTIME && seconds)
        time->tv_sec += *seconds;
    return answer;
}

int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict found) {
    static int (*real)(int, const char *, int, unsigned, struct statx *);
    if (!real)
        real = (int (*)(int, const char *, int, unsigned, struct statx *))dlsym(RTLD_NEXT, "statx");
    int answer = real(folder, path, flags, mask, found);
    if (answer == 0 && seconds)
        found->stx_btime = found->stx_mtime;
    return answer;
}
