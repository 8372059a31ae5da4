/* Preloaded into a program: its disk is slow at times. fsync and fdatasync of some files take longer.
 *
 * SYNC_STALL_FILE      what the path of the file contains
 * SYNC_STALL_MS        how much longer a sync takes
 * SYNC_STALL_EVERY_MS  from the beginning of one such sync to the beginning of the next, at least
 * SYNC_STALL_SWITCH    only while this file exists
 * SYNC_STALL_LOG       a line for each such sync, after it: when it began, by the wall clock, in microseconds */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long long stalled_at_us;

static long long microseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static long long number(const char *name)
{
    const char *text = getenv(name);
    return text == NULL ? 0 : atoll(text);
}

static int is_meant(int file)
{
    const char *name = getenv("SYNC_STALL_FILE"), *toggle = getenv("SYNC_STALL_SWITCH");
    char link[64], path[4096];
    if (name == NULL || toggle == NULL || access(toggle, F_OK) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = '\0';
    return strstr(path, name) != NULL;
}

static int is_due(void)
{
    pthread_mutex_lock(&lock);
    long long now = microseconds(CLOCK_MONOTONIC);
    int due = stalled_at_us == 0 || now - stalled_at_us >= 1000 * number("SYNC_STALL_EVERY_MS");
    if (due) stalled_at_us = now;
    pthread_mutex_unlock(&lock);
    return due;
}

static void stall(int file)
{
    if (!is_meant(file) || !is_due()) return;
    long long began = microseconds(CLOCK_REALTIME), for_ms = number("SYNC_STALL_MS");
    struct timespec left = { for_ms / 1000, for_ms % 1000 * 1000000 };
    while (nanosleep(&left, &left) != 0) { }
    const char *log = getenv("SYNC_STALL_LOG");
    int out = log == NULL ? -1 : open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (out >= 0) {
        dprintf(out, "%lld\n", began);
        close(out);
    }
}

int fsync(int file)
{
    stall(file);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return real(file);
}

int fdatasync(int file)
{
    stall(file);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return real(file);
}
