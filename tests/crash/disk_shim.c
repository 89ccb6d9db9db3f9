/*
 * Stands between a process and the files of one directory: writes down, in the
 * order in which they happen, all calls that change what is on disk or promise
 * that it is there, and lets such calls fail when it is told to.
 *
 * Loaded with LD_PRELOAD. Every call goes to the kernel directly and not to the
 * C library, so that nothing is looked up while the allocator starts. A sync is
 * written down and not carried out: the disk is what the reader of the log makes
 * of it.
 *
 * CRASH_DIRECTORY  the directory, absolute and without links; not those below it
 * CRASH_LOG        the file to which the calls are appended
 * CRASH_CONTROL    a file with a struct control
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define DESCRIPTORS_MAX 65536
#define LISTING_BYTES_MAX 65536

/* Kinds of calls; bits of control.calls. */
enum { READ = 1, WRITE = 2, RESIZE = 4, SYNC = 8, CREATE = 16, UNLINK = 32, RENAME = 64, LINK = 128 };

/* Kinds of files; bits of control.places. */
enum { DATABASE = 1, LOG = 2, JOURNAL = 4, DIRECTORY = 8, OTHER = 16 };

/* What is to fail. */
struct control {
    volatile int64_t armed;     /* 1: the rest is meant */
    volatile int64_t calls;     /* of these kinds */
    volatile int64_t places;    /* on files of these kinds */
    volatile int64_t pass;      /* after so many that pass */
    volatile int64_t error;     /* with this errno; 0: only half of a write is done */
    volatile int64_t times;     /* so many fail */
    volatile int64_t failed;    /* how many did, since it was armed */
};

/* The head of a record; `names` bytes of names and `data` bytes follow. */
struct record {
    uint32_t kind;
    uint32_t error;             /* errno of a sync; 0: it is done */
    uint64_t file;              /* the number of the inode */
    uint64_t offset;            /* of a write */
    uint64_t length;            /* of a write, or the new size; a write without data is of zeros */
    uint32_t names;
    uint32_t data;
};

static char directory[4096];
static size_t directory_length;
static int log_descriptor = -1;
static struct control *control;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static uint8_t place_of_descriptor[DESCRIPTORS_MAX];

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("CRASH_DIRECTORY"), *log = getenv("CRASH_LOG"), *orders = getenv("CRASH_CONTROL");
    if (!path || !log || !orders)
        return;
    log_descriptor = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    int descriptor = syscall(SYS_openat, AT_FDCWD, orders, O_RDWR | O_CLOEXEC, 0);
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (log_descriptor < 0 || descriptor < 0 || mapped == MAP_FAILED || strlen(path) >= sizeof directory)
        abort();
    syscall(SYS_close, descriptor);
    control = mapped;
    strcpy(directory, path);
    directory_length = strlen(path);
}

/* Among the threads of this process, and among processes. */
static void enter(void)
{
    pthread_mutex_lock(&one_at_a_time);
    flock(log_descriptor, LOCK_EX);
}

static void leave(void)
{
    int error = errno;
    flock(log_descriptor, LOCK_UN);
    pthread_mutex_unlock(&one_at_a_time);
    errno = error;
}

static int ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && !strcmp(text + length - end_length, end);
}

/* What no server reads again: the index of the log is memory that processes share,
 * and who owns the file is written down for people. */
static int is_left_out(const char *name)
{
    return name[0] == '.' || ends_with(name, "-shm") || ends_with(name, "-owner");
}

/* The name in the directory, "" for itself, NULL for what is elsewhere. */
static const char *name_in_directory(const char *path, char *buffer, size_t size)
{
    if (!directory_length || !path)
        return NULL;
    if (path[0] != '/') {
        if (syscall(SYS_getcwd, buffer, size) < 0 || strlen(buffer) + strlen(path) + 2 > size)
            return NULL;
        strcat(strcat(buffer, "/"), path);
        path = buffer;
    }
    if (strncmp(path, directory, directory_length))
        return NULL;
    path += directory_length;
    if (!*path)
        return path;
    if (*path++ != '/' || strchr(path, '/') || is_left_out(path))
        return NULL;
    return path;
}

static int place_of(const char *name)
{
    if (!*name)
        return DIRECTORY;
    if (ends_with(name, "-wal"))
        return LOG;
    if (ends_with(name, "-journal"))
        return JOURNAL;
    return ends_with(name, ".sqlite3") ? DATABASE : OTHER;
}

static int place_at(int descriptor)
{
    return descriptor >= 0 && descriptor < DESCRIPTORS_MAX ? place_of_descriptor[descriptor] : 0;
}

static uint64_t inode_at(int descriptor)
{
    struct stat status;
    return fstat(descriptor, &status) ? 0 : status.st_ino;
}

static void append(struct record record, const char *names, const char *data)
{
    struct iovec parts[] = {
        { &record, sizeof record }, { (void *)names, record.names }, { (void *)data, record.data },
    };
    ssize_t length = sizeof record + record.names + record.data;
    if (syscall(SYS_writev, log_descriptor, parts, 3) != length)
        abort();
}

/* Whether this call is to fail; the error is in errno. */
static int fails(int call, int place)
{
    if (!control || !control->armed || !(control->calls & call) || !(control->places & place))
        return 0;
    if (control->pass > 0) {
        control->pass--;
        return 0;
    }
    if (control->failed >= control->times)
        return 0;
    control->failed++;
    errno = control->error;
    return 1;
}

static int open_at(int at, const char *path, int flags, mode_t mode)
{
    char buffer[4096];
    const char *name = at == AT_FDCWD || (path && path[0] == '/') ? name_in_directory(path, buffer, sizeof buffer) : NULL;
    if (!name)
        return syscall(SYS_openat, at, path, flags, mode);
    enter();
    struct stat before;
    int existed = !fstatat(at, path, &before, 0), descriptor = -1;
    if (existed || !(flags & O_CREAT) || !fails(CREATE, place_of(name)))
        descriptor = syscall(SYS_openat, at, path, flags, mode);
    if (descriptor >= 0 && descriptor < DESCRIPTORS_MAX) {
        place_of_descriptor[descriptor] = place_of(name);
        struct record record = { .file = inode_at(descriptor) };
        if (!existed && (flags & O_CREAT)) {
            record.kind = CREATE;
            record.names = strlen(name);
            append(record, name, NULL);
        } else if (flags & O_TRUNC) {
            record.kind = RESIZE;
            append(record, NULL, NULL);
        }
    }
    leave();
    return descriptor;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { \
        va_list list; \
        va_start(list, flags); \
        mode = va_arg(list, mode_t); \
        va_end(list); \
    }

EXPORT int open(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
EXPORT int open64(const char *path, int flags, ...) { MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
EXPORT int openat(int at, const char *path, int flags, ...) { MODE(flags) return open_at(at, path, flags, mode); }
EXPORT int openat64(int at, const char *path, int flags, ...) { MODE(flags) return open_at(at, path, flags, mode); }

EXPORT int close(int descriptor)
{
    if (place_at(descriptor))
        place_of_descriptor[descriptor] = 0;
    return syscall(SYS_close, descriptor);
}

/* At `offset`, or where the descriptor stands if that is negative. */
static ssize_t write_at(int descriptor, const void *data, size_t length, off_t offset)
{
    int place = place_at(descriptor), stands = offset < 0;
    if (!place)
        return stands ? syscall(SYS_write, descriptor, data, length)
                      : syscall(SYS_pwrite64, descriptor, data, length, offset);
    enter();
    ssize_t done = -1;
    size_t wanted = length;
    int is_to_fail = fails(WRITE, place);
    if (is_to_fail && !errno && length > 1)
        wanted = length / 2;
    if (!is_to_fail || !errno) {
        if (stands)
            offset = lseek(descriptor, 0, fcntl(descriptor, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
        done = stands ? syscall(SYS_write, descriptor, data, wanted)
                      : syscall(SYS_pwrite64, descriptor, data, wanted, offset);
    }
    if (done > 0) {
        const char *bytes = data;
        int is_zero = !bytes[0] && !memcmp(bytes, bytes + 1, done - 1);
        struct record record = { .kind = WRITE, .file = inode_at(descriptor), .offset = offset, .length = done };
        record.data = is_zero ? 0 : done;
        append(record, NULL, data);
    }
    leave();
    return done;
}

EXPORT ssize_t write(int descriptor, const void *data, size_t length)
{
    return write_at(descriptor, data, length, -1);
}

EXPORT ssize_t pwrite(int descriptor, const void *data, size_t length, off_t offset)
{
    return write_at(descriptor, data, length, offset);
}

EXPORT ssize_t pwrite64(int descriptor, const void *data, size_t length, off_t offset)
{
    return write_at(descriptor, data, length, offset);
}

static int read_fails(int descriptor)
{
    if (!place_at(descriptor))
        return 0;
    enter();
    int is_to_fail = fails(READ, place_at(descriptor));
    leave();
    return is_to_fail;
}

EXPORT ssize_t read(int descriptor, void *data, size_t length)
{
    return read_fails(descriptor) ? -1 : syscall(SYS_read, descriptor, data, length);
}

EXPORT ssize_t pread(int descriptor, void *data, size_t length, off_t offset)
{
    return read_fails(descriptor) ? -1 : syscall(SYS_pread64, descriptor, data, length, offset);
}

EXPORT ssize_t pread64(int descriptor, void *data, size_t length, off_t offset)
{
    return read_fails(descriptor) ? -1 : syscall(SYS_pread64, descriptor, data, length, offset);
}

EXPORT int ftruncate(int descriptor, off_t length)
{
    if (!place_at(descriptor))
        return syscall(SYS_ftruncate, descriptor, length);
    enter();
    int result = fails(RESIZE, place_at(descriptor)) ? -1 : syscall(SYS_ftruncate, descriptor, length);
    if (!result)
        append((struct record){ .kind = RESIZE, .file = inode_at(descriptor), .length = length }, NULL, NULL);
    leave();
    return result;
}

EXPORT int ftruncate64(int descriptor, off_t length)
{
    return ftruncate(descriptor, length);
}

/* The names in the directory, each behind the number of its inode: a change that
 * was made past this library is seen at the latest when it is to last. */
static size_t list(char *listing)
{
    struct entry {
        uint64_t inode;
        int64_t offset;
        unsigned short length;
        unsigned char type;
        char name[];
    };
    static char buffer[LISTING_BYTES_MAX] __attribute__((aligned(8)));
    int descriptor = syscall(SYS_openat, AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    size_t used = 0;
    long length;
    while ((length = syscall(SYS_getdents64, descriptor, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < length;) {
            struct entry *entry = (struct entry *)(buffer + at);
            at += entry->length;
            size_t bytes = sizeof entry->inode + strlen(entry->name) + 1;
            if (is_left_out(entry->name) || used + bytes > LISTING_BYTES_MAX)
                continue;
            memcpy(listing + used, &entry->inode, sizeof entry->inode);
            strcpy(listing + used + sizeof entry->inode, entry->name);
            used += bytes;
        }
    }
    syscall(SYS_close, descriptor);
    return used;
}

static int sync_of(int descriptor, long call)
{
    static char listing[LISTING_BYTES_MAX];
    int place = place_at(descriptor);
    if (!place)
        return syscall(call, descriptor);
    enter();
    int result = fails(SYNC, place) ? -1 : 0;
    struct record record = { .kind = SYNC, .file = inode_at(descriptor), .error = result ? errno : 0 };
    if (place == DIRECTORY) {
        record.file = 0;
        record.data = list(listing);
    }
    append(record, NULL, listing);
    leave();
    return result;
}

EXPORT int fsync(int descriptor) { return sync_of(descriptor, SYS_fsync); }
EXPORT int fdatasync(int descriptor) { return sync_of(descriptor, SYS_fdatasync); }

EXPORT int unlink(const char *path)
{
    char buffer[4096];
    const char *name = name_in_directory(path, buffer, sizeof buffer);
    if (!name)
        return syscall(SYS_unlink, path);
    enter();
    int result = fails(UNLINK, place_of(name)) ? -1 : syscall(SYS_unlink, path);
    if (!result)
        append((struct record){ .kind = UNLINK, .names = strlen(name) }, name, NULL);
    leave();
    return result;
}

/* One name becomes, or is joined by, another in the same directory. */
static int name_again(int kind, long call, int from_at, const char *from, int to_at, const char *to)
{
    char from_buffer[4096], to_buffer[4096], names[8192];
    const char *from_name = name_in_directory(from, from_buffer, sizeof from_buffer);
    const char *to_name = name_in_directory(to, to_buffer, sizeof to_buffer);
    if (!from_name || !to_name)
        return syscall(call, from_at, from, to_at, to, 0);
    enter();
    int result = fails(kind, place_of(to_name)) ? -1 : syscall(call, from_at, from, to_at, to, 0);
    if (!result) {
        int length = snprintf(names, sizeof names, "%s%c%s", from_name, 0, to_name);
        append((struct record){ .kind = kind, .names = length }, names, NULL);
    }
    leave();
    return result;
}

EXPORT int rename(const char *from, const char *to)
{
    return name_again(RENAME, SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to);
}

EXPORT int link(const char *from, const char *to)
{
    return name_again(LINK, SYS_linkat, AT_FDCWD, from, AT_FDCWD, to);
}

EXPORT int linkat(int from_at, const char *from, int to_at, const char *to, int flags)
{
    if (flags || from_at != AT_FDCWD || to_at != AT_FDCWD)
        return syscall(SYS_linkat, from_at, from, to_at, to, flags);
    return name_again(LINK, SYS_linkat, from_at, from, to_at, to);
}
