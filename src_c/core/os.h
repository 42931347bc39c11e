/** What the core asks of the operating system: threads, and sleeping until a word changes. */
#ifndef RNNE_OS_H
#define RNNE_OS_H

#include <stdatomic.h>
#include <stdint.h>

/** Sleep until *word is not `expected` any more; may return early. */
void rnne_os_sleep(atomic_int *word, int expected);
/** Wake every thread that sleeps on the word. */
void rnne_os_wake(atomic_int *word);
/** Start a detached thread that no signal is delivered to; 0 on success. */
int rnne_os_start(void *(*entry)(void *), void *argument);
/** Nanoseconds on a clock that only goes forward. */
int64_t rnne_os_clock(void);
/** Number of the calling thread, by which others name it. */
int rnne_os_thread(void);
/** Number of the core that runs the calling thread; -1 where the system does not say. */
int rnne_os_core(void);
/** Keep `count` threads off that core, on the others that the calling thread may use. Nothing happens
 * where there are none, or where the system does not let threads be placed. */
void rnne_os_keep_off(int core, const int *threads, int count);
/** Ask for the use of tile registers, whose content the system saves only for processes that asked; 0
 * where it refuses. */
int rnne_os_permit_tiles(void);
/** Have `child` called in every process that is forked from this one. */
void rnne_os_at_fork(void (*child)(void));

/** Tell the core that this thread spins. */
static inline void rnne_os_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
