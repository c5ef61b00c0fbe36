/* threads.c - a small pool of worker threads.
 *
 * Workers are made when first asked for, spin briefly for work and then sleep; a forked child
 * starts without any. A job is published by one atomic word, `ticket` = job number << 32 | next
 * task, and a task is claimed by adding 1 to it with compare-and-swap. A worker that the operating
 * system wakes too late finds another job number or no task left and touches nothing, so the
 * caller waits for finished tasks, never for sleeping workers: more threads than CPUs cost time,
 * not correctness.
 *
 * Invariant: the job's fields change only while its number is odd, and tasks are claimed only where
 * it is even and unchanged since the fields were read; so a worker whose claim succeeds has read
 * the fields of that very job.
 */
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#include "float_mode.h"

/* A worker that waits lets others have its CPU all the time. A busy neighbour then takes it between
 * two tasks, which costs nothing since the caller does them, and not within one, for which the
 * caller would have to wait some milliseconds. */
enum { SPIN_WORKER = 20000, SPIN_YIELD = 64, SPIN_CALLER = 4000, SPIN_LATE = 64, LINE = 64 };

/* A task that belongs to a thread: the last jobs in which it was claimed and done. */
typedef struct {
    _Alignas(LINE) atomic_uint_fast32_t taken;
    _Alignas(LINE) atomic_uint_fast32_t done;
} mc_own;

/* What one thread writes while another looks at something else has a cache line to itself. */
typedef struct {
    pthread_mutex_t callers; /* held by the caller whose job runs */
    pthread_mutex_t sleep_lock;
    pthread_cond_t wake;
    atomic_int n_workers, n_sleeping;
    _Alignas(LINE) atomic_uint_fast64_t ticket;
    _Alignas(LINE) _Atomic(mc_task *) run;
    _Atomic(void *) context;
    atomic_int n_tasks, n_threads;
    atomic_int is_own; /* tasks belong to threads */
    _Alignas(LINE) atomic_int n_done;
    mc_own own[MC_MAX_OWN];
} mc_pool;

static mc_pool pool = {.callers = PTHREAD_MUTEX_INITIALIZER,
                       .sleep_lock = PTHREAD_MUTEX_INITIALIZER,
                       .wake = PTHREAD_COND_INITIALIZER};
static pthread_once_t pool_once = PTHREAD_ONCE_INIT;

static inline void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* In a forked child the workers are gone and the locks may be held by ghosts. */
static void pool_reset(void) {
    pthread_mutex_init(&pool.callers, NULL);
    pthread_mutex_init(&pool.sleep_lock, NULL);
    pthread_cond_init(&pool.wake, NULL);
    atomic_store(&pool.n_workers, 0);
    atomic_store(&pool.n_sleeping, 0);
    atomic_store(&pool.ticket, 0);
    atomic_store(&pool.run, NULL); /* no job is like the last */
}

static void pool_register(void) {
    pthread_atfork(NULL, NULL, pool_reset);
}

static uint32_t current_job(void) {
    return (uint32_t)(atomic_load_explicit(&pool.ticket, memory_order_acquire) >> 32);
}

/* An open job that this worker has not seen yet. */
static int has_news(uint32_t seen) {
    const uint32_t job = current_job();
    return job != seen && job % 2 == 0;
}

/* A job ends only when all its tasks are done, so one that can still be claimed is the current one:
 * `taken` is older than a job until the claim, and newer than all before it once a field changes.
 */
static int claim_own(uint32_t job, int task) {
    uint_fast32_t taken = atomic_load(&pool.own[task].taken);
    return (int32_t)(job - (uint32_t)taken) > 0 &&
           atomic_compare_exchange_strong(&pool.own[task].taken, &taken, job);
}

static void run_own_task(uint32_t job, int task, int thread, mc_task *run, void *context) {
    if (!claim_own(job, task)) return;
    run(context, task, thread);
    atomic_store(&pool.own[task].done, job);
}

static void run_tasks(uint32_t job, int thread) {
    uint_fast64_t ticket = atomic_load(&pool.ticket);
    while ((uint32_t)(ticket >> 32) == job) {
        mc_task *run = atomic_load(&pool.run);
        void *context = atomic_load(&pool.context);
        const int n_tasks = atomic_load(&pool.n_tasks);
        if (thread >= atomic_load(&pool.n_threads)) return;
        if (atomic_load(&pool.is_own)) {
            if (thread < MC_MAX_OWN) run_own_task(job, thread, thread, run, context);
            return;
        }
        const int task = (int)(uint32_t)ticket;
        if (task >= n_tasks) return;
        if (!atomic_compare_exchange_weak(&pool.ticket, &ticket, ticket + 1)) continue;
        run(context, task, thread);
        atomic_fetch_add(&pool.n_done, 1);
        ticket = atomic_load(&pool.ticket);
    }
}

static void *worker_main(void *argument) {
    const int thread = (int)(intptr_t)argument;
    uint32_t seen = 0;
    mc_enter_float_mode();
    for (;;) {
        int spins = 0;
        while (!has_news(seen)) {
            if (++spins < SPIN_WORKER) {
                spins % SPIN_YIELD ? cpu_relax() : (void)sched_yield();
                continue;
            }
            pthread_mutex_lock(&pool.sleep_lock);
            atomic_fetch_add(&pool.n_sleeping, 1);
            while (!has_news(seen)) pthread_cond_wait(&pool.wake, &pool.sleep_lock);
            atomic_fetch_sub(&pool.n_sleeping, 1);
            pthread_mutex_unlock(&pool.sleep_lock);
        }
        seen = current_job() & ~1u; /* if it closes just now, there is nothing to claim */
        run_tasks(seen, thread);
    }
    return NULL;
}

/* Fewer workers than wanted is not an error: the caller does the rest. */
static void ensure_workers(int wanted) {
    int n = atomic_load(&pool.n_workers);
    while (n < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, worker_main, (void *)(intptr_t)(n + 1))) return;
        pthread_detach(thread);
        atomic_store(&pool.n_workers, ++n);
    }
}

/* Publish a job. One like the last, as a training makes them again and again, changes nothing but
 * the number. */
static uint32_t publish(int n_threads, int n_tasks, mc_task *run, void *context, int is_own) {
    const uint32_t job = current_job() + 2;
    if (atomic_load(&pool.run) != run || atomic_load(&pool.context) != context ||
        atomic_load(&pool.n_tasks) != n_tasks || atomic_load(&pool.n_threads) != n_threads ||
        atomic_load(&pool.is_own) != is_own) {
        atomic_store(&pool.ticket, (uint_fast64_t)(job - 1) << 32);
        for (int task = 0; task < MC_MAX_OWN; task++) {
            atomic_store(&pool.own[task].taken, job - 1);
            atomic_store(&pool.own[task].done, job - 1);
        }
        atomic_store(&pool.run, run);
        atomic_store(&pool.context, context);
        atomic_store(&pool.n_tasks, n_tasks);
        atomic_store(&pool.n_threads, n_threads);
        atomic_store(&pool.is_own, is_own);
    }
    if (!is_own) atomic_store(&pool.n_done, 0);
    atomic_store(&pool.ticket, (uint_fast64_t)job << 32);
    if (atomic_load(&pool.n_sleeping)) {
        pthread_mutex_lock(&pool.sleep_lock);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.sleep_lock);
    }
    return job;
}

static void caller_relax(int spins) {
    if (spins < SPIN_CALLER)
        cpu_relax();
    else
        sched_yield();
}

/* The caller's own task, then those whose threads are late. To look who has claimed a task takes
 * the word away from its thread, so first see if it is done. */
static void finish_own(uint32_t job, int n_tasks, mc_task *run, void *context) {
    run_own_task(job, 0, 0, run, context);
    for (int task = 1; task < n_tasks; task++)
        for (int spins = 0; atomic_load(&pool.own[task].done) != job; caller_relax(++spins))
            if (spins == SPIN_LATE) run_own_task(job, task, 0, run, context);
}

static void run_job(int n_threads, int n_tasks, mc_task *run, void *context, int is_own) {
    if (n_threads > n_tasks) n_threads = n_tasks;
    if (n_threads > MC_MAX_THREADS) n_threads = MC_MAX_THREADS;
    pthread_once(&pool_once, pool_register);
    if (n_threads <= 1 || pthread_mutex_trylock(&pool.callers)) {
        for (int task = 0; task < n_tasks; task++) run(context, task, 0);
        return;
    }
    ensure_workers(n_threads - 1);
    const uint32_t job = publish(n_threads, n_tasks, run, context, is_own);
    if (is_own) {
        finish_own(job, n_tasks, run, context);
    } else {
        run_tasks(job, 0);
        for (int spins = 0; atomic_load(&pool.n_done) < n_tasks;) caller_relax(++spins);
    }
    pthread_mutex_unlock(&pool.callers);
}

void mc_parallel(int n_threads, int n_tasks, mc_task *run, void *context) {
    run_job(n_threads, n_tasks, run, context, 0);
}

void mc_parallel_own(int n_tasks, mc_task *run, void *context) {
    run_job(n_tasks, n_tasks, run, context, 1);
}

int mc_cpu_count(void) {
#if defined(__linux__)
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set)) {
        const int n = CPU_COUNT(&set);
        if (n > 0) return n > MC_MAX_THREADS ? MC_MAX_THREADS : n;
    }
#endif
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > MC_MAX_THREADS ? MC_MAX_THREADS : (int)n;
}
