// natsgen: load on a NATS server. One JSON line a run on stdout.
//
//   natsgen -p PORT -m pub -s SIZE -t SECONDS [-n MESSAGES] [-S SUBSCRIBERS] [-P PUBLISHERS] [-K SUBJECTS] [-w AHEAD] [-C PID]
//       publishes for SECONDS (at most MESSAGES), then waits until the server has answered a PING and every subscriber
//       has every message. AHEAD bounds what is published but not yet at the slowest subscriber. Every subscriber
//       counts bytes: all messages of a run have one length.
//   natsgen -p PORT -m rtt -s SIZE -n PINGS
//       one connection publishes, another that subscribed receives: half a dozen bytes there and back to us.
//   natsgen -p PORT -m js -s SIZE -t SECONDS [-n MESSAGES] -w WINDOW -J CONFIG [-i 1] [-C PID]
//       creates a JetStream stream BENCH of this CONFIG (JSON; its subjects hold js.>) and publishes with at most WINDOW
//       publishes not yet acknowledged; an acknowledgement that holds an error is counted. -i 1: each publish of a window
//       has a reply subject of its own, as clients that wait for each acknowledgement have.
//   PID: of the server, for its CPU time.
#include "gen.h"

static int port = 4222, size = 128, subscribers = 0, subjects = 1, publishers = 1, pid = 0, own_inboxes = 0;
static long messages_max = 1000000000, ahead = 0;
static double seconds = 2;
static const char *mode = "pub", *subject = "bench.a.b", *stream_config = "";
static const double DRAIN_S = 20;

static int open_connection(void) {
  int fd = dial(port), have = 0;
  char answer[16384];
  while (!memchr(answer, '\n', have)) {
    int got = read(fd, answer + have, sizeof answer - have);
    if (got <= 0) die("INFO");
    have += got;
  }
  const char *hello = "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\",\"version\":\"1\",\"protocol\":1,"
                      "\"headers\":true,\"no_responders\":true}\r\nPING\r\n";
  write_all(fd, hello, strlen(hello));
  have = 0;
  while (!memmem(answer, have, "PONG\r\n", 6)) {
    int got = read(fd, answer + have, sizeof answer - have);
    if (got <= 0) die("PONG");
    have += got;
  }
  return fd;
}

// Everything sent on this connection has been taken by the server when this returns.
static void wait_for_pong(int fd) {
  char answer[4096];
  int have = 0;
  write_all(fd, "PING\r\n", 6);
  while (!memmem(answer, have, "PONG\r\n", 6)) {
    int got = read(fd, answer + have, sizeof answer - have);
    if (got <= 0) die("PONG");
    have += got;
  }
}

struct publisher {
  long sent;      // whole messages
  size_t offset;  // bytes sent of the next one
  int pinged, ponged;
};

static void run_publish(void) {
  static struct pollfd polls[CONNECTIONS_MAX];
  static struct publisher publisher[CONNECTIONS_MAX];
  static long long received[CONNECTIONS_MAX];
  static char input[1 << 18];
  char line[256], name[128];

  // One chunk of whole messages, sent again and again.
  if (subjects > 1) snprintf(name, sizeof name, "%s.%06d", subject, 0);
  else snprintf(name, sizeof name, "%s", subject);
  int line_bytes = snprintf(line, sizeof line, "PUB %s %d\r\n", name, size), frame_bytes = line_bytes + size + 2;
  int delivered_bytes = snprintf(line, sizeof line, "MSG %s %d %d\r\n", name, 1, size) + size + 2;
  long chunk_messages = 65536 / frame_bytes;
  if (chunk_messages < 1) chunk_messages = 1;
  if (subjects > 1) chunk_messages = chunk_messages < subjects ? subjects : chunk_messages / subjects * subjects;
  char *chunk = malloc((size_t)frame_bytes * chunk_messages);
  for (long i = 0; i < chunk_messages; i++) {
    char *at = chunk + (size_t)i * frame_bytes;
    if (subjects > 1) snprintf(line, sizeof line, "PUB %s.%06d %d\r\n", subject, (int)(i * 7919LL % subjects), size);
    else snprintf(line, sizeof line, "PUB %s %d\r\n", name, size);
    memcpy(at, line, line_bytes);
    memset(at + line_bytes, 'x', size);
    memcpy(at + line_bytes + size, "\r\n", 2);
  }

  for (int i = 0; i < subscribers; i++) {
    int fd = open_connection(), length = snprintf(line, sizeof line, "SUB %s%s 1\r\n", subject, subjects > 1 ? ".*" : "");
    write_all(fd, line, length);
    wait_for_pong(fd);
    set_nonblocking(fd);
    polls[i] = (struct pollfd){fd, POLLIN, 0};
  }
  for (int i = 0; i < publishers; i++) {
    polls[subscribers + i].fd = open_connection();
    set_nonblocking(polls[subscribers + i].fd);
  }

  double cpu_before = cpu_s(pid), began = now_s(), taken_at = 0, delivered_at = 0;
  int stopped = 0;
  long long total = 0;
  for (;;) {
    double elapsed = now_s() - began;
    if (elapsed > seconds || total >= messages_max) stopped = 1;
    if (elapsed > seconds + DRAIN_S) break;
    long long slowest = -1;
    for (int i = 0; i < subscribers; i++)
      if (slowest < 0 || received[i] < slowest) slowest = received[i];
    int all_taken = 1;
    int held = ahead && subscribers && total - slowest / delivered_bytes > ahead;
    for (int i = 0; i < publishers; i++) {
      struct publisher *p = &publisher[i];
      if (!p->ponged) all_taken = 0;
      int more = p->offset || !stopped;
      polls[subscribers + i].events = POLLIN;
      if ((more && (p->offset || !held)) || (!more && !p->pinged)) polls[subscribers + i].events |= POLLOUT;
    }
    if (all_taken && !taken_at) taken_at = elapsed;
    if (all_taken && !delivered_at && (!subscribers || slowest >= total * delivered_bytes)) delivered_at = elapsed;
    if (taken_at && delivered_at) break;
    poll(polls, subscribers + publishers, 100);

    for (int i = 0; i < subscribers; i++)
      if (polls[i].revents & (POLLIN | POLLHUP))
        for (int round = 0; round < 4; round++) {
          ssize_t got = read(polls[i].fd, input, sizeof input);
          if (got == 0) die("the server closed a subscriber");
          if (got > 0) received[i] += got;
          if (got < (ssize_t)sizeof input) break;
        }
    for (int i = 0; i < publishers; i++) {
      struct publisher *p = &publisher[i];
      struct pollfd *connection = &polls[subscribers + i];
      if (connection->revents & (POLLIN | POLLHUP)) {
        ssize_t got = read(connection->fd, input, sizeof input);
        if (got == 0) die("the server closed a publisher");
        if (got > 0 && memmem(input, got, "-ERR", 4)) die("-ERR");
        if (got > 0 && p->pinged && memmem(input, got, "PONG\r\n", 6)) p->ponged = 1;
      }
      if (!(connection->revents & POLLOUT)) continue;
      if (p->offset || !stopped) {
        long at = p->sent % chunk_messages;
        size_t bytes = stopped ? frame_bytes - p->offset : (size_t)(chunk_messages - at) * frame_bytes - p->offset;
        ssize_t done = write(connection->fd, chunk + (size_t)at * frame_bytes + p->offset, bytes);
        if (done > 0) {
          size_t offset = p->offset + done;
          p->sent += offset / frame_bytes;
          total += offset / frame_bytes;
          p->offset = offset % frame_bytes;
        }
      } else if (!p->pinged && write(connection->fd, "PING\r\n", 6) == 6) {
        p->pinged = 1;
      }
    }
  }
  double cpu = cpu_s(pid) - cpu_before;
  int complete = taken_at && delivered_at;
  double took = complete ? delivered_at : now_s() - began;
  long long delivered = 0;
  for (int i = 0; i < subscribers; i++) delivered += received[i] / delivered_bytes;
  printf("{\"complete\":%s,\"messages\":%lld,\"delivered\":%lld,\"seconds\":%.4f,\"rate\":%.1f,\"cpu_us\":%.5f}\n",
         complete ? "true" : "false", total, delivered, took, total / took, total ? cpu * 1e6 / total : 0.0);
}

static void run_round_trips(void) {
  int publisher = open_connection(), subscriber = open_connection();
  write_all(subscriber, "SUB rt 1\r\n", 10);
  wait_for_pong(subscriber);
  static char frame[70000], answer[70000];
  int frame_bytes = sprintf(frame, "PUB rt %d\r\n", size);
  memset(frame + frame_bytes, 'x', size);
  memcpy(frame + frame_bytes + size, "\r\n", 2);
  frame_bytes += size + 2;
  char line[64];
  int answer_bytes = sprintf(line, "MSG rt 1 %d\r\n", size) + size + 2;
  long count = 0;
  double *took_us = malloc(messages_max * sizeof *took_us), began = now_s(), cpu_before = cpu_s(pid);
  for (; count < messages_max && now_s() - began < seconds; count++) {
    double sent = now_s();
    write_all(publisher, frame, frame_bytes);
    read_all(subscriber, answer, answer_bytes);
    took_us[count] = (now_s() - sent) * 1e6;
  }
  double cpu = cpu_s(pid) - cpu_before, elapsed = now_s() - began;
  qsort(took_us, count, sizeof *took_us, compare_doubles);
  printf("{\"complete\":true,\"messages\":%ld,\"seconds\":%.4f,\"rate\":%.1f,\"p50_us\":%.2f,\"p99_us\":%.2f,\"cpu_us\":%.3f}\n",
         count, elapsed, count / elapsed, took_us[count / 2], took_us[count * 99 / 100], cpu * 1e6 / count);
}

// Sends a JetStream API request and returns when its answer (which names `type`) is there; *refused: it holds an error.
static void request(int fd, const char *api, const char *body, const char *type, int *refused) {
  static char buffer[1 << 16];
  int have = 0, length = snprintf(buffer, sizeof buffer, "PUB $JS.API.%s _INBOX.g.c %zu\r\n%s\r\n", api, strlen(body), body);
  write_all(fd, buffer, length);
  while (!memmem(buffer, have, type, strlen(type)) || buffer[have - 1] != '\n') {
    int got = read(fd, buffer + have, sizeof buffer - have);
    if (got <= 0) die(api);
    have += got;
  }
  *refused = memmem(buffer, have, "\"error\"", 7) != 0;
}

static void run_jetstream(void) {
  int fd = open_connection(), refused = 0;
  static char input[1 << 18];
  char line[256];
  write_all(fd, "SUB _INBOX.g.* 1\r\n", 18);
  request(fd, "STREAM.DELETE.BENCH", "", "stream_delete_response", &refused);
  request(fd, "STREAM.CREATE.BENCH", stream_config, "stream_create_response", &refused);
  if (refused) die("the stream was refused");
  usleep(100000);
  set_nonblocking(fd);
  while (read(fd, input, sizeof input) > 0) {}

  long window = ahead ? ahead : 512, sent = 0, acked = 0, errors = 0;
  const char *form = own_inboxes ? "PUB js.a _INBOX.g.%06ld %d\r\n" : "PUB js.a _INBOX.g.a%.0ld %d\r\n";
  int line_bytes = snprintf(line, sizeof line, form, 0L, size), frame_bytes = line_bytes + size + 2;
  char *chunk = malloc((size_t)frame_bytes * window);
  for (long i = 0; i < window; i++) {
    char *at = chunk + (size_t)i * frame_bytes;
    snprintf(line, sizeof line, form, own_inboxes ? i : 0L, size);
    memcpy(at, line, line_bytes);
    memset(at + line_bytes, 'x', size);
    memcpy(at + line_bytes + size, "\r\n", 2);
  }
  size_t offset = 0;
  int have = 0, stopped = 0;
  struct pollfd connection = {fd, 0, 0};
  double cpu_before = cpu_s(pid), began = now_s();
  for (;;) {
    double elapsed = now_s() - began;
    if (elapsed > seconds || sent >= messages_max) stopped = 1;
    if ((stopped && !offset && acked >= sent) || elapsed > seconds + DRAIN_S) break;
    long room = stopped ? (offset ? 1 : 0) : window - (sent - acked);
    connection.events = POLLIN | (room > 0 ? POLLOUT : 0);
    poll(&connection, 1, 100);
    if (connection.revents & POLLOUT && room > 0) {
      ssize_t done = write(fd, chunk + offset, (size_t)room * frame_bytes - offset);
      if (done > 0) {
        sent += (offset + done) / frame_bytes;
        offset = (offset + done) % frame_bytes;
      }
    }
    if (!(connection.revents & (POLLIN | POLLHUP))) continue;
    ssize_t got = read(fd, input + have, sizeof input - have);
    if (got == 0) die("the server closed the connection");
    if (got < 0) continue;
    have += got;
    char *at = input, *end = input + have;
    for (;;) {
      char *line_end = memchr(at, '\n', end - at);
      if (!line_end) break;
      if (*at == 'M') {  // MSG subject sid size
        char *digits = line_end;
        while (digits[-1] != ' ') digits--;
        long length = atol(digits);
        if (line_end + 1 + length + 2 > end) break;
        if (memmem(line_end, length, "\"error\"", 7)) errors++;
        acked++;
        at = line_end + 1 + length + 2;
      } else {
        if (*at == '-') die("-ERR");
        if (at[0] == 'P' && at[1] == 'I') (void)!write(fd, "PONG\r\n", 6);
        at = line_end + 1;
      }
    }
    memmove(input, at, end - at);
    have = end - at;
  }
  double took = now_s() - began, cpu = cpu_s(pid) - cpu_before;
  printf("{\"complete\":%s,\"messages\":%ld,\"errors\":%ld,\"seconds\":%.4f,\"rate\":%.1f,\"cpu_us\":%.4f}\n",
         acked >= sent && !errors ? "true" : "false", acked, errors, took, acked / took, acked ? cpu * 1e6 / acked : 0.0);
}

int main(int argc, char **argv) {
  int option;
  while ((option = getopt(argc, argv, "p:m:s:n:S:P:K:w:t:C:J:i:")) != -1) switch (option) {
      case 'p': port = atoi(optarg); break;
      case 'm': mode = optarg; break;
      case 's': size = atoi(optarg); break;
      case 'n': messages_max = atol(optarg); break;
      case 'S': subscribers = atoi(optarg); break;
      case 'P': publishers = atoi(optarg); break;
      case 'K': subjects = atoi(optarg); break;
      case 'w': ahead = atol(optarg); break;
      case 't': seconds = atof(optarg); break;
      case 'C': pid = atoi(optarg); break;
      case 'J': stream_config = optarg; break;
      case 'i': own_inboxes = atoi(optarg); break;
      default: return 1;
    }
  if (subscribers + publishers > CONNECTIONS_MAX || size > 60000 || subjects < 1) return 1;
  if (*mode == 'p') run_publish();
  else if (*mode == 'r') {
    if (messages_max > 1000000) messages_max = 1000000;
    run_round_trips();
  } else run_jetstream();
  return 0;
}
