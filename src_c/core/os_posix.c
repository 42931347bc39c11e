/* The operating system's part on POSIX: pthreads; futexes on Linux, one condition elsewhere. */
#ifdef __linux__
#define _GNU_SOURCE
#else
#define _POSIX_C_SOURCE 200809L
#endif
#include "core/os.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>

#ifdef __linux__
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

void rnne_os_sleep(atomic_int *word, int expected)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

void rnne_os_wake(atomic_int *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 0x7fffffff, NULL, NULL, 0);
}

int rnne_os_thread(void)
{
    return (int)syscall(SYS_gettid);
}

int rnne_os_core(void)
{
    return sched_getcpu();
}

void rnne_os_keep_off(int core, const int *threads, int count)
{
    cpu_set_t set;
    if (core < 0 || core >= CPU_SETSIZE || sched_getaffinity(0, sizeof set, &set)) {
        return;
    }
    CPU_CLR((size_t)core, &set);
    for (int i = 0; i < count && CPU_COUNT(&set) > 0; i++) {
        sched_setaffinity(threads[i], sizeof set, &set);
    }
}

#if defined(__x86_64__)
#define REQUEST_PERMISSION 0x1023
#define TILE_DATA 18
int rnne_os_permit_tiles(void)
{
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#else
int rnne_os_permit_tiles(void)
{
    return 0;
}
#endif
#else
int rnne_os_permit_tiles(void)
{
    return 0;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

void rnne_os_sleep(atomic_int *word, int expected)
{
    pthread_mutex_lock(&mutex);
    while (atomic_load(word) == expected) {
        pthread_cond_wait(&changed, &mutex);
    }
    pthread_mutex_unlock(&mutex);
}

void rnne_os_wake(atomic_int *word)
{
    (void)word;
    pthread_mutex_lock(&mutex); /* whoever read the old value is asleep by now */
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

int rnne_os_thread(void)
{
    return 0;
}

int rnne_os_core(void)
{
    return -1;
}

void rnne_os_keep_off(int core, const int *threads, int count)
{
    (void)core;
    (void)threads;
    (void)count;
}
#endif

int64_t rnne_os_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int rnne_os_start(void *(*entry)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    if (pthread_attr_init(&attributes)) {
        return -1;
    }
    sigfillset(&all);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* inherited by the new thread */
    int failed = pthread_create(&thread, &attributes, entry, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failed ? -1 : 0;
}

void rnne_os_at_fork(void (*child)(void))
{
    pthread_atfork(NULL, NULL, child);
}
