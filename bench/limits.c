// limits: what this machine can do at all. One JSON line a figure on stdout.
//
//   limits DIRECTORY MEGABYTES [FIGURE...]      (FIGURE: the start of a name below; none: all)
//
// Figures: loopback_64k, unix_64k (bytes/s one way), loopback_rtt_64, unix_rtt_64 (us), append_16k, append_256k, append_1m
// (bytes/s into the page cache), sendfile_1m (bytes/s, file to loopback), fdatasync_16k (us), memcpy_1m (bytes/s).
// MEGABYTES: how much each throughput figure moves.
#include "gen.h"
#include <sys/sendfile.h>
#include <sys/wait.h>

static long long total_bytes;
static char path[512];

static void open_pair(int *a, int *b, int unix_socket) {
  if (unix_socket) {
    int both[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, both)) die("socketpair");
    *a = both[0];
    *b = both[1];
    return;
  }
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t length = sizeof address;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4)) die("listen");
  getsockname(listener, (void *)&address, &length);
  *a = dial(ntohs(address.sin_port));
  *b = accept(listener, 0, 0);
  setsockopt(*b, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  close(listener);
}

static void print_rate(const char *name, double seconds, long long bytes) {
  printf("{\"figure\":\"%s\",\"bytes_per_s\":%.0f}\n", name, bytes / seconds);
}

static void print_times(const char *name, double *us, int n) {
  qsort(us, n, sizeof *us, compare_doubles);
  printf("{\"figure\":\"%s\",\"p50_us\":%.2f,\"p99_us\":%.2f}\n", name, us[n / 2], us[n * 99 / 100]);
}

static void measure_one_way(const char *name, int unix_socket) {
  enum { CHUNK = 65536 };
  int a, b;
  open_pair(&a, &b, unix_socket);
  char *buffer = calloc(1, 1 << 18);
  double began = now_s();
  if (!fork()) {
    close(b);
    for (long long sent = 0; sent < total_bytes;) {
      ssize_t done = write(a, buffer, CHUNK);
      if (done <= 0) break;
      sent += done;
    }
    _exit(0);
  }
  close(a);
  long long received = 0;
  ssize_t got;
  while ((got = read(b, buffer, 1 << 18)) > 0) received += got;
  print_rate(name, now_s() - began, received);
  close(b);
  wait(0);
  free(buffer);
}

static void measure_round_trips(const char *name, int unix_socket) {
  enum { ROUNDS = 20000, SIZE = 64 };
  static double us[ROUNDS];
  char message[SIZE] = {0};
  int a, b;
  open_pair(&a, &b, unix_socket);
  if (!fork()) {
    close(b);
    for (int i = 0; i < ROUNDS; i++) {
      read_all(a, message, SIZE);
      write_all(a, message, SIZE);
    }
    _exit(0);
  }
  close(a);
  for (int i = 0; i < ROUNDS; i++) {
    double sent = now_s();
    write_all(b, message, SIZE);
    read_all(b, message, SIZE);
    us[i] = (now_s() - sent) * 1e6;
  }
  print_times(name, us, ROUNDS);
  close(b);
  wait(0);
}

static void measure_append(const char *name, size_t chunk) {
  int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND, 0600);
  char *buffer = malloc(chunk);
  memset(buffer, 1, chunk);
  double began = now_s();
  for (long long done = 0; done < total_bytes; done += chunk)
    if (write(fd, buffer, chunk) != (ssize_t)chunk) die("append");
  print_rate(name, now_s() - began, total_bytes);
  close(fd);
  free(buffer);
}

static void measure_sendfile(const char *name) {
  int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600), a, b;
  char *buffer = calloc(1, 1 << 20);
  for (int i = 0; i < 64; i++)
    if (write(fd, buffer, 1 << 20) != 1 << 20) die("write");
  open_pair(&a, &b, 0);
  if (!fork()) {
    close(a);
    while (read(b, buffer, 1 << 20) > 0) {}
    _exit(0);
  }
  close(b);
  double began = now_s();
  long long sent = 0;
  while (sent < total_bytes) {
    off_t offset = 0;
    ssize_t done;
    while ((done = sendfile(a, fd, &offset, 1 << 20)) > 0) sent += done;
    if (done < 0) die("sendfile");
  }
  print_rate(name, now_s() - began, sent);
  close(a);
  close(fd);
  wait(0);
  free(buffer);
}

static void measure_fdatasync(const char *name) {
  enum { ROUNDS = 200 };
  static double us[ROUNDS];
  static char chunk[16384];
  int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND, 0600);
  for (int i = 0; i < ROUNDS; i++) {
    if (write(fd, chunk, sizeof chunk) != sizeof chunk) die("append");
    double began = now_s();
    if (fdatasync(fd)) die("fdatasync");
    us[i] = (now_s() - began) * 1e6;
  }
  print_times(name, us, ROUNDS);
  close(fd);
}

static void measure_copy(const char *name) {
  size_t size = 1 << 20;
  uint8_t *from = malloc(size), *to = malloc(size);
  memset(from, 1, size);
  memset(to, 1, size);
  double began = now_s();
  long long moved = 0;
  for (; moved < total_bytes; moved += size) {
    memcpy(to, from, size);
    __asm__ volatile("" ::: "memory");
  }
  print_rate(name, now_s() - began, moved);
  free(from);
  free(to);
}

static int wanted(int argc, char **argv, const char *name) {
  if (argc <= 3) return 1;
  for (int i = 3; i < argc; i++)
    if (!strncmp(name, argv[i], strlen(argv[i]))) return 1;
  return 0;
}

int main(int argc, char **argv) {
  setvbuf(stdout, 0, _IONBF, 0);
  if (argc < 3) return 1;
  snprintf(path, sizeof path, "%s/limits.dat", argv[1]);
  total_bytes = atoll(argv[2]) << 20;
#define WANTED(name) wanted(argc, argv, name)
  if (WANTED("loopback_64k")) measure_one_way("loopback_64k", 0);
  if (WANTED("unix_64k")) measure_one_way("unix_64k", 1);
  if (WANTED("loopback_rtt_64")) measure_round_trips("loopback_rtt_64", 0);
  if (WANTED("unix_rtt_64")) measure_round_trips("unix_rtt_64", 1);
  if (WANTED("append_16k")) measure_append("append_16k", 16384);
  if (WANTED("append_256k")) measure_append("append_256k", 262144);
  if (WANTED("append_1m")) measure_append("append_1m", 1 << 20);
  if (WANTED("sendfile_1m")) measure_sendfile("sendfile_1m");
  if (WANTED("fdatasync_16k")) measure_fdatasync("fdatasync_16k");
  if (WANTED("memcpy_1m")) measure_copy("memcpy_1m");
  unlink(path);
  return 0;
}
