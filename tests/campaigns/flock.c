/* A file system without locks: every flock fails with the error FLOCK_ERRNO, and so do HDF5's. */
#include <errno.h>
#include <stdlib.h>

int flock(int descriptor, int operation)
{
    const char *number = getenv("FLOCK_ERRNO");
    (void)descriptor;
    (void)operation;
    errno = number ? atoi(number) : ENOSYS;
    return -1;
}
