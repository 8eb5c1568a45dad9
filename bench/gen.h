// What the load generators share: clock, sockets on the loopback, CPU time of a server, crc32c.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64

static inline double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

// Ends the run: the caller sees exit status 2 and the reason on stderr.
static inline void die(const char *reason) {
  fprintf(stderr, "error: %s (%s)\n", reason, strerror(errno));
  exit(2);
}

// A blocking connection to 127.0.0.1:port; a read that waits 10 s fails.
static inline int dial(int port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, (void *)&address, sizeof address)) die("connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct timeval limit = {10, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return fd;
}

static inline void set_nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

static inline void write_all(int fd, const void *data, size_t size) {
  const char *at = data;
  while (size) {
    ssize_t done = write(fd, at, size);
    if (done <= 0) die("write");
    at += done;
    size -= done;
  }
}

static inline void read_all(int fd, void *data, size_t size) {
  char *at = data;
  while (size) {
    ssize_t done = read(fd, at, size);
    if (done <= 0) die("read");
    at += done;
    size -= done;
  }
}

// CPU seconds used so far by all live threads of a process (schedstat: nanoseconds); 0 for pid 0.
static inline double cpu_s(int pid) {
  if (!pid) return 0;
  char path[400];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *tasks = opendir(path);
  if (!tasks) return 0;
  double total_ns = 0;
  struct dirent *task;
  while ((task = readdir(tasks))) {
    if (*task->d_name == '.') continue;
    snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, task->d_name);
    FILE *file = fopen(path, "r");
    if (!file) continue;
    double ns = 0;
    if (fscanf(file, "%lf", &ns) == 1) total_ns += ns;
    fclose(file);
  }
  closedir(tasks);
  return total_ns * 1e-9;
}

static inline int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// crc32c by table: the generators compute it once per run, on what they are about to send many times.
static inline uint32_t crc32c(const uint8_t *data, size_t size) {
  static uint32_t table[256];
  if (!table[1])
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; bit++) value = value & 1 ? value >> 1 ^ 0x82f63b78 : value >> 1;
      table[i] = value;
    }
  uint32_t crc = 0xffffffff;
  while (size--) crc = crc >> 8 ^ table[(crc ^ *data++) & 255];
  return ~crc;
}
