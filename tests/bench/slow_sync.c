/* Makes a sync take as long as on a disk that has to write before it answers.
 *
 * Preloaded into every process of a run. The real sync is done as well; then the thread sleeps for
 * what AGENT_TRACE_BENCH_SYNC_NS says. A sync of one file does not hold up that of another, which is
 * kinder to whoever syncs many files at once than most disks are: git, here.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

static long delay_ns(void) {
    const char *text = getenv("AGENT_TRACE_BENCH_SYNC_NS");
    return text ? atol(text) : 0;
}

static int slowly(const char *name, int descriptor) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int result = real(descriptor);
    int failure = errno;
    long delay = delay_ns();
    struct timespec left = {delay / 1000000000L, delay % 1000000000L};
    while (nanosleep(&left, &left) == -1 && errno == EINTR) {
    }
    errno = failure;
    return result;
}

int fsync(int descriptor) { return slowly("fsync", descriptor); }
int fdatasync(int descriptor) { return slowly("fdatasync", descriptor); }
