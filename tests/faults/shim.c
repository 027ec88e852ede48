/*
 * Between a program and its disk and clock: LD_PRELOAD of the fault suite, and of nothing else.
 *
 * FAULTS names a file that is mapped; who writes a struct orders into it changes at once what happens:
 * so many of a thousand calls on files below FAULTS_FOLDER fail with an error, and the wall clock is put.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2, SIZES = 4, READS = 8 };

struct orders {
    int32_t error;    /* the errno that is given */
    int32_t permille; /* of the calls */
    int32_t kinds;    /* of calls: a sum of the above */
    int32_t failed;   /* counted here, for the test */
    int64_t put;      /* seconds by which the wall clock is put forward */
};

static struct orders none, *orders = &none;
static const char *folder = "";

__attribute__((constructor)) static void begin(void) {
    const char *place = getenv("FAULTS"), *below = getenv("FAULTS_FOLDER");
    int file = place ? open(place, O_RDWR | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *mapped = mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (mapped != MAP_FAILED) orders = mapped;
        close(file);
    }
    if (below) folder = strdup(below);
}

static int fails(int fd, int kind) {
    static __thread uint32_t dice;
    char link[64], path[4096];
    if (!orders->permille || !(orders->kinds & kind)) return 0;
    if (!dice) dice = (uint32_t)time(NULL) ^ (uint32_t)(uintptr_t)&dice ^ (uint32_t)getpid();
    dice ^= dice << 13; dice ^= dice >> 17; dice ^= dice << 5;
    if ((int32_t)(dice % 1000) >= orders->permille) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    if (!*folder || strncmp(path, folder, strlen(folder))) return 0;
    __sync_fetch_and_add(&orders->failed, 1);
    errno = orders->error;
    return 1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* A disk that becomes full takes a part before it refuses the rest. */
static size_t part(size_t count) { return orders->error == ENOSPC && count > 1024 ? count / 2 : 0; }

ssize_t write(int fd, const void *from, size_t count) {
    REAL(write);
    if (!fails(fd, WRITES)) return real(fd, from, count);
    return part(count) ? real(fd, from, part(count)) : -1;
}

ssize_t pwrite(int fd, const void *from, size_t count, off_t at) {
    REAL(pwrite);
    if (!fails(fd, WRITES)) return real(fd, from, count, at);
    return part(count) ? real(fd, from, part(count), at) : -1;
}

ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) {
    REAL(pwrite64);
    if (!fails(fd, WRITES)) return real(fd, from, count, at);
    return part(count) ? real(fd, from, part(count), at) : -1;
}

ssize_t pread(int fd, void *to, size_t count, off_t at) {
    REAL(pread);
    return fails(fd, READS) ? -1 : real(fd, to, count, at);
}

ssize_t pread64(int fd, void *to, size_t count, off64_t at) {
    REAL(pread64);
    return fails(fd, READS) ? -1 : real(fd, to, count, at);
}

int fsync(int fd) { REAL(fsync); return fails(fd, SYNCS) ? -1 : real(fd); }
int fdatasync(int fd) { REAL(fdatasync); return fails(fd, SYNCS) ? -1 : real(fd); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); return fails(fd, SIZES) ? -1 : real(fd, size); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); return fails(fd, SIZES) ? -1 : real(fd, size); }

int clock_gettime(clockid_t which, struct timespec *now) {
    REAL(clock_gettime);
    int result = real(which, now);
    if (!result && which == CLOCK_REALTIME) now->tv_sec += orders->put;
    return result;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict to, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    to->tv_sec = now.tv_sec;
    to->tv_usec = now.tv_nsec / 1000;
    return 0;
}
