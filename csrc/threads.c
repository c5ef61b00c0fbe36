/* threads.c - a small pool of worker threads.
 *
 * Workers are made when first asked for, spin briefly for work and then sleep; a forked child
 * starts without any. The tasks of a job are dealt out to the threads in runs, the same for the
 * same job, so that a thread finds in its caches what it left there; one that is done with its own
 * takes what others have not begun. Each thread has a seat with a ticket, one atomic word: job
 * number << 32 | the first task of its run that is not taken. A task is claimed by adding 1 with
 * compare-and-swap. A worker that the operating system wakes too late finds another number or no
 * task left and touches nothing, so the caller waits for finished tasks, never for sleeping
 * workers: more threads than CPUs cost time, not correctness.
 *
 * Invariant: what a job is stays in place while any ticket has its number. Jobs take two places in
 * turn, and the one in between changes all tickets. So a worker whose claim succeeds has read the
 * fields of that very job.
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

typedef struct {
    _Alignas(LINE) _Atomic(mc_task *) run;
    _Atomic(void *) context;
    atomic_int n_tasks, n_threads;
    atomic_int is_own; /* tasks belong to threads */
} mc_job;

typedef struct {
    _Alignas(LINE) atomic_uint_fast64_t ticket; /* 0: not in the job at hand */
    _Alignas(LINE) atomic_uint_fast32_t n_done; /* tasks that its thread has done, ever */
} mc_seat;

/* What one thread writes while another looks at something else has a cache line to itself. */
typedef struct {
    pthread_mutex_t callers; /* held by the caller whose job runs */
    pthread_mutex_t sleep_lock;
    pthread_cond_t wake;
    atomic_int n_workers, n_sleeping;
    uint32_t number; /* of the last job; never 0 */
    int n_seats;     /* in it */
    mc_job job[2];   /* of even and of odd number */
    mc_seat seat[MC_MAX_THREADS];
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
    for (int i = 0; i < MC_MAX_THREADS; i++) atomic_store(&pool.seat[i].ticket, 0);
}

static void pool_register(void) {
    pthread_atfork(NULL, NULL, pool_reset);
}

/* The number of a job that a thread has not seen yet, or 0. */
static uint32_t news(int thread, uint32_t seen) {
    const uint32_t number = (uint32_t)(atomic_load(&pool.seat[thread].ticket) >> 32);
    return number == seen ? 0 : number;
}

static int first_task(const mc_job *job, int thread) {
    return (int)((int64_t)atomic_load(&job->n_tasks) * thread / atomic_load(&job->n_threads));
}

/* What is left of the tasks dealt out to a seat. */
static void run_tasks(uint32_t number, int seat, int thread) {
    const mc_job *job = &pool.job[number % 2];
    mc_task *run = atomic_load(&job->run);
    void *context = atomic_load(&job->context);
    const int end = first_task(job, seat + 1);
    atomic_uint_fast32_t *n_done = &pool.seat[thread].n_done;
    uint_fast64_t ticket = atomic_load(&pool.seat[seat].ticket);
    while ((uint32_t)(ticket >> 32) == number && (int)(uint32_t)ticket < end) {
        if (!atomic_compare_exchange_weak(&pool.seat[seat].ticket, &ticket, ticket + 1)) continue;
        run(context, (int)(uint32_t)ticket, thread);
        atomic_store(n_done, atomic_load(n_done) + 1); /* nobody else writes it */
        ticket = atomic_load(&pool.seat[seat].ticket);
    }
}

static void run_others_tasks(uint32_t number, int thread) {
    const int n = atomic_load(&pool.job[number % 2].n_threads);
    for (int i = 1; i < n; i++) run_tasks(number, (thread + i) % n, thread);
}

static void *worker_main(void *argument) {
    const int thread = (int)(intptr_t)argument;
    uint32_t seen = 0, number;
    mc_enter_float_mode();
    for (;;) {
        int spins = 0;
        while (!(number = news(thread, seen))) {
            if (++spins < SPIN_WORKER) {
                spins % SPIN_YIELD ? cpu_relax() : (void)sched_yield();
                continue;
            }
            pthread_mutex_lock(&pool.sleep_lock);
            atomic_fetch_add(&pool.n_sleeping, 1);
            while (!news(thread, seen)) pthread_cond_wait(&pool.wake, &pool.sleep_lock);
            atomic_fetch_sub(&pool.n_sleeping, 1);
            pthread_mutex_unlock(&pool.sleep_lock);
        }
        seen = number;
        run_tasks(seen, thread, thread);
        if (!atomic_load(&pool.job[seen % 2].is_own)) run_others_tasks(seen, thread);
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

/* Publish a job. One like that before the last, as a training makes them again and again, changes
 * nothing but tickets. */
static uint32_t publish(int n_threads, int n_tasks, mc_task *run, void *context, int is_own) {
    const uint32_t number = pool.number == UINT32_MAX ? 2 : pool.number + 1;
    mc_job *job = &pool.job[number % 2];
    if (atomic_load(&job->run) != run) atomic_store(&job->run, run);
    if (atomic_load(&job->context) != context) atomic_store(&job->context, context);
    if (atomic_load(&job->n_tasks) != n_tasks) atomic_store(&job->n_tasks, n_tasks);
    if (atomic_load(&job->n_threads) != n_threads) atomic_store(&job->n_threads, n_threads);
    if (atomic_load(&job->is_own) != is_own) atomic_store(&job->is_own, is_own);
    for (int i = n_threads; i < pool.n_seats; i++) atomic_store(&pool.seat[i].ticket, 0);
    for (int i = n_threads - 1; i >= 0; i--) {
        const uint32_t first = (uint32_t)first_task(job, i);
        atomic_store(&pool.seat[i].ticket, (uint_fast64_t)number << 32 | first);
    }
    pool.number = number;
    pool.n_seats = n_threads;
    if (atomic_load(&pool.n_sleeping)) {
        pthread_mutex_lock(&pool.sleep_lock);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.sleep_lock);
    }
    return number;
}

static uint32_t tasks_done(int n_threads) {
    uint32_t n = 0;
    for (int i = 0; i < n_threads; i++) n += (uint32_t)atomic_load(&pool.seat[i].n_done);
    return n;
}

static void caller_relax(int spins) {
    if (spins < SPIN_CALLER)
        cpu_relax();
    else
        sched_yield();
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
    const uint32_t all = tasks_done(n_threads) + (uint32_t)n_tasks;
    const uint32_t number = publish(n_threads, n_tasks, run, context, is_own);
    run_tasks(number, 0, 0);
    /* Tasks that belong to other threads are taken from those that are late only: to look takes the
     * ticket away from its thread. */
    for (int spins = 0; tasks_done(n_threads) != all; caller_relax(++spins))
        if (spins == (is_own ? SPIN_LATE : 0)) run_others_tasks(number, 0);
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
