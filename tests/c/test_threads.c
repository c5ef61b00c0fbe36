/* The pool under stress: every task runs once, whoever calls, however many threads, after a fork,
 * and a network that is in use is refused. */
#include "check.h"
#include "mnistc.h"
#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TASKS = 97, CALLERS = 4 };

typedef struct {
    atomic_int runs[TASKS];
    atomic_int in_use[MC_MAX_THREADS];
    atomic_int wrong;
    int n_threads;
} job;

static void count(void *context, int task, int thread) {
    job *j = context;
    if (thread < 0 || thread >= j->n_threads || atomic_fetch_add(&j->in_use[thread], 1))
        atomic_fetch_add(&j->wrong, 1); /* the scratch memory of a thread is its own */
    atomic_fetch_add(&j->runs[task], 1);
    atomic_fetch_sub(&j->in_use[thread], 1);
}

static int run_job(int n_threads, int n_tasks, int is_own) {
    job j = {.n_threads = is_own ? n_tasks : n_threads};
    if (is_own)
        mc_parallel_own(n_tasks, count, &j);
    else
        mc_parallel(n_threads, n_tasks, count, &j);
    int good = !j.wrong;
    for (int i = 0; i < TASKS; i++) good &= j.runs[i] == (i < n_tasks);
    return good;
}

static void *call(void *argument) {
    const int seed = (int)(intptr_t)argument;
    intptr_t good = 1;
    for (int i = 0; i < 400; i++)
        good &= run_job(1 + (seed + i) % 9, (seed * 31 + i * 7) % (TASKS + 1), 0);
    for (int i = 0; i < 400; i++) good &= run_job(0, (seed + i) % 6, 1);
    return (void *)good;
}

static void test_callers(void) {
    pthread_t threads[CALLERS];
    for (intptr_t i = 0; i < CALLERS; i++) pthread_create(&threads[i], NULL, call, (void *)i);
    for (int i = 0; i < CALLERS; i++) {
        void *good = NULL;
        pthread_join(threads[i], &good);
        check(good != NULL, "each task once, from several callers");
    }
    check(run_job(200, TASKS, 0), "200 threads");
    check(run_job(2, 0, 0) && run_job(0, 0, 1), "no task");
}

#if !defined(__SANITIZE_THREAD__)
static void test_forks(void) {
    for (int i = 0; i < 10; i++) {
        check(run_job(4, i % 2 ? 5 : TASKS, i % 2), "before a fork");
        const pid_t child = fork();
        if (child == 0) {
            alarm(60);
            _exit(run_job(3, TASKS, 0) && run_job(0, 6, 1) ? 0 : 1);
        }
        int status = -1;
        waitpid(child, &status, 0);
        check(status == 0, "the pool of a forked child");
    }
}
#else
static void test_forks(void) {
} /* a fork of a process with threads is what ThreadSanitizer cannot follow */
#endif

/* ---- one network, several threads ---- */

typedef struct {
    mc_net *net;
    const float *x;
    atomic_int refused, wrong, done;
    float wanted[16 * 10];
} shared;

static void *predict(void *argument) {
    shared *s = argument;
    float out[16 * 10];
    while (atomic_load(&s->done) < 200) {
        const mc_images images = {.x = s->x, .n = 16};
        const mc_status status = mc_net_predict(s->net, &images, 3, out);
        if (status == MC_BUSY) {
            atomic_fetch_add(&s->refused, 1);
            continue;
        }
        atomic_fetch_add(&s->done, 1);
        if (status != MC_OK || memcmp(out, s->wanted, sizeof out)) atomic_fetch_add(&s->wrong, 1);
    }
    return NULL;
}

static void test_busy_network(void) {
    const mc_layer layers[] = {
        {.type = MC_CONV2D, .units = 8, .kernel_height = 3, .kernel_width = 3},
        {.type = MC_DENSE, .units = 10, .activation = MC_SOFTMAX}};
    shared s = {0};
    int bad;
    float *x = take_random(16 * 144, 1);
    s.x = x;
    check(mc_net_create(&s.net, (mc_shape){12, 12, 1}, layers, 2, mc_kernels_best(), &bad) == MC_OK,
          "create");
    const mc_images images = {.x = x, .n = 16};
    check(mc_net_predict(s.net, &images, 1, s.wanted) == MC_OK, "predict");
    pthread_t threads[CALLERS];
    for (int i = 0; i < CALLERS; i++) pthread_create(&threads[i], NULL, predict, &s);
    for (int i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
    check(!s.wrong, "a network in use is refused, and nothing it gives is wrong");
    mc_net_destroy(s.net);
    free(x);
}

int main(void) {
    test_callers();
    test_forks();
    test_busy_network();
    check(mc_cpu_count() >= 1, "a CPU");
    return failures != 0;
}
