/* Preloaded, it adds a millisecond to every fsync and fdatasync: a common cloud volume, on a machine with a fast disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <time.h>

static void pause_a_millisecond(void)
{
    int kept = errno;
    struct timespec left = {0, 1000000};
    while (nanosleep(&left, &left) == -1 && errno == EINTR)
        continue;
    errno = kept;
}

static int slowed(const char *name, int file)
{
    int (*sync_file)(int) = (int (*)(int)) dlsym(RTLD_NEXT, name);
    int result = sync_file(file);
    pause_a_millisecond();
    return result;
}

int fsync(int file)
{
    return slowed("fsync", file);
}

int fdatasync(int file)
{
    return slowed("fdatasync", file);
}
