/* threads.h - the worker pool. */
#ifndef MNISTC_THREADS_H
#define MNISTC_THREADS_H

/* One task; `thread` is 0 .. n_threads - 1 and names the scratch memory that the task may use. */
typedef void mc_task(void *context, int task, int thread);

/* Run tasks 0 .. n_tasks - 1, each exactly once, on at most n_threads threads, the caller's among
 * them; returns when all are done. A thread starts with tasks n_tasks * thread / n_threads and on,
 * in order, but which thread runs a task is not defined, so results must not depend on it. If the
 * pool is taken by another caller, the tasks run on the caller's thread. */
void mc_parallel(int n_threads, int n_tasks, mc_task *run, void *context);

/* As mc_parallel, again and again: task i belongs to thread i, which finds in its caches what it
 * left there, unless that thread is late and the caller takes it. n_tasks <= MC_MAX_THREADS. */
void mc_parallel_own(int n_tasks, mc_task *run, void *context);

/* CPUs in this process's affinity mask (or online), at least 1. */
int mc_cpu_count(void);

enum { MC_MAX_THREADS = 256 };

#endif
