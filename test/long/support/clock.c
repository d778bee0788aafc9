/*
 * LD_PRELOAD: the wall clock of a process, off by as many seconds as the file OFFSET_FILE, named when it is built, says (eight bytes, mapped,
 * so that a change is seen at once). Monotonic clocks are left alone. It asks the kernel itself and allocates nothing: a library
 * that looks its functions up at the first call cannot be loaded into Envoy, whose allocator reads the clock.
 */
typedef struct { long sec, nsec; } timespec;
typedef struct { long sec, usec; } timeval;
extern long syscall(long number, ...);
extern int open(const char *path, int flags, ...);
extern void *mmap(void *at, unsigned long size, int protection, int flags, int fd, long offset);
extern int close(int fd);
extern void *dlsym(void *handle, const char *name);

#if defined(__aarch64__)
#define CLOCK_GETTIME 113
#else
#define CLOCK_GETTIME 228
#endif
#define REALTIME 0
#define NEXT ((void *)-1)

static volatile long *offset;

__attribute__((constructor)) static void begin(void) {
  int fd = open(OFFSET_FILE, 0);
  if (fd < 0) return;
  void *at = mmap(0, sizeof *offset, 1, 1, fd, 0);
  if (at != (void *)-1) offset = at;
  close(fd);
}

static long now_off(void) { return offset ? *offset : 0; }

int clock_gettime(int id, timespec *time) {
  if (syscall(CLOCK_GETTIME, id, time)) return -1;
  if (id == REALTIME || id == 5 || id == 11) time->sec += now_off();
  return 0;
}

int gettimeofday(timeval *time, void *zone) {
  timespec at;
  (void)zone;
  clock_gettime(REALTIME, &at);
  if (time) *time = (timeval){at.sec, at.nsec / 1000};
  return 0;
}

long time(long *out) {
  timespec at;
  clock_gettime(REALTIME, &at);
  if (out) *out = at.sec;
  return at.sec;
}

/* Waits until a time of day: the kernel's own clock has not been set. A time before 2001 is one of the monotonic clock. */
static timespec real(const timespec *until) { return (timespec){until->sec - (until->sec > 1000000000 ? now_off() : 0), until->nsec}; }

int pthread_cond_timedwait(void *condition, void *mutex, const timespec *until) {
  static int (*next)(void *, void *, const timespec *);
  if (!next) next = dlsym(NEXT, "pthread_cond_timedwait");
  timespec at = real(until);
  return next(condition, mutex, &at);
}

int pthread_cond_clockwait(void *condition, void *mutex, int id, const timespec *until) {
  static int (*next)(void *, void *, int, const timespec *);
  if (!next) next = dlsym(NEXT, "pthread_cond_clockwait");
  timespec at = real(until);
  return next(condition, mutex, id, &at);
}

int sem_timedwait(void *semaphore, const timespec *until) {
  static int (*next)(void *, const timespec *);
  if (!next) next = dlsym(NEXT, "sem_timedwait");
  timespec at = real(until);
  return next(semaphore, &at);
}
