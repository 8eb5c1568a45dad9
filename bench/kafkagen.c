// kafkagen: load on a Kafka broker with requests built once. One JSON line a run on stdout.
//
//   kafkagen -p PORT -m produce -T TOPIC -b BATCH_BYTES -r RECORD_BYTES -n REQUESTS [-t SECONDS] [-w PIPELINED] [-c CONNECTIONS] [-C PID]
//       Produce v7, acks=all, one batch a request to partition 0; an answer with an error is counted.
//   kafkagen -p PORT -m fetch -T TOPIC -b BYTES_MAX -n MEGABYTES [-t SECONDS] [-C PID]
//       Fetch v4 of partition 0 from offset 0, one request after the other, until MEGABYTES are read or the end is reached.
#include "gen.h"

static int port = 9092, batch_bytes = 262144, record_bytes = 100, pid = 0, pipelined = 4, connections = 1;
static long count = 1000;
static double seconds = 20;
static const char *mode = "produce", *topic = "bench";

static uint8_t *put16(uint8_t *out, int value) {
  out[0] = value >> 8;
  out[1] = value;
  return out + 2;
}
static uint8_t *put32(uint8_t *out, uint32_t value) { return put16(put16(out, value >> 16), value & 0xffff); }
static uint8_t *put64(uint8_t *out, uint64_t value) { return put32(put32(out, value >> 32), value & 0xffffffff); }
static uint32_t get32(const uint8_t *in) { return (uint32_t)in[0] << 24 | in[1] << 16 | in[2] << 8 | in[3]; }
static uint64_t get64(const uint8_t *in) { return (uint64_t)get32(in) << 32 | get32(in + 4); }
static uint8_t *put_varint(uint8_t *out, int64_t value) {
  uint64_t bits = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
  do {
    uint8_t byte = bits & 127;
    bits >>= 7;
    *out++ = bits ? byte | 128 : byte;
  } while (bits);
  return out;
}
static int varint_bytes(int64_t value) {
  uint8_t scratch[10];
  return put_varint(scratch, value) - scratch;
}
static uint8_t *put_topic(uint8_t *out) {
  int length = strlen(topic);
  out = put32(put16(put32(out, 1), length) + length, 1);
  memcpy(out - 4 - length, topic, length);
  return out;
}

// A request's header (v1) behind four bytes for its length.
static uint8_t *put_header(uint8_t *out, int api, int version) {
  out = put16(put32(put16(put16(out + 4, api), version), 7), 3);
  memcpy(out, "gen", 3);
  return out + 3;
}

// Fills `out` with a v2 batch of records of `record_bytes` up to `batch_bytes`; *records: how many. Returns its size.
static int put_batch(uint8_t *out, int *records) {
  uint8_t *at = out + 61;
  int n = 0;
  memset(out, 0, 61);
  for (;; n++) {
    int body = 1 + 1 + varint_bytes(n) + 1 + varint_bytes(record_bytes) + record_bytes + 1;
    if (n && at - out + 5 + body > batch_bytes) break;
    at = put_varint(at, body);
    *at++ = 0;
    *at++ = 0;
    at = put_varint(at, n);
    *at++ = 1;  // no key
    at = put_varint(at, record_bytes);
    memset(at, 'x', record_bytes);
    at += record_bytes;
    *at++ = 0;
  }
  int size = at - out;
  struct timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  uint64_t now_ms = wall.tv_sec * 1000ull + wall.tv_nsec / 1000000;
  put32(out + 8, size - 12);
  put32(out + 12, 0xffffffff);
  out[16] = 2;
  put32(out + 23, n - 1);
  put64(out + 27, now_ms);
  put64(out + 35, now_ms);
  put64(out + 43, -1);
  put16(out + 51, -1);
  put32(out + 53, -1);
  put32(out + 57, n);
  put32(out + 17, crc32c(out + 21, size - 21));
  *records = n;
  return size;
}

struct connection {
  long sent, answered;
  size_t offset;  // bytes sent of the request under way
  int have;
  uint8_t input[65536];
};

static void run_produce(void) {
  uint8_t *frame = malloc(batch_bytes + record_bytes + 4096), *at = put_header(frame, 0, 7);
  at = put_topic(put32(put16(put16(at, -1), -1), 30000));  // no transaction, acks=all
  at = put32(at, 0);
  uint8_t *size_at = at;
  int records = 0, size = put_batch(at + 4, &records);
  put32(size_at, size);
  size_t frame_bytes = at + 4 + size - frame;
  put32(frame, frame_bytes - 4);

  static struct pollfd polls[CONNECTIONS_MAX];
  static struct connection table[CONNECTIONS_MAX];
  long begun = 0, answered = 0, errors = 0, done_requests = 0;
  int first_error = 0;
  for (int i = 0; i < connections; i++) {
    polls[i].fd = dial(port);
    set_nonblocking(polls[i].fd);
  }
  double cpu_before = cpu_s(pid), began = now_s();
  int error_at = 4 + 4 + 2 + strlen(topic) + 4 + 4;
  for (;;) {
    double elapsed = now_s() - began;
    int stopped = begun >= count || elapsed > seconds;
    if ((stopped && answered >= begun) || elapsed > seconds + 20) break;
    for (int i = 0; i < connections; i++) {
      struct connection *c = &table[i];
      polls[i].events = POLLIN | (c->offset || (!stopped && c->sent - c->answered < pipelined) ? POLLOUT : 0);
    }
    poll(polls, connections, 100);
    for (int i = 0; i < connections; i++) {
      struct connection *c = &table[i];
      if (polls[i].revents & (POLLIN | POLLHUP)) {
        ssize_t got = read(polls[i].fd, c->input + c->have, sizeof c->input - c->have);
        if (got == 0) die("the server closed a connection");
        if (got > 0) {
          c->have += got;
          int used = 0;
          while (c->have - used >= 4 && c->have - used >= 4 + (int)get32(c->input + used)) {
            uint8_t *error = c->input + used + 4 + error_at;
            if (error[0] | error[1]) errors++, first_error = error[0] << 8 | error[1];
            c->answered++;
            answered++;
            used += 4 + get32(c->input + used);
          }
          memmove(c->input, c->input + used, c->have - used);
          c->have -= used;
        }
      }
      if (!(polls[i].revents & POLLOUT)) continue;
      if (!c->offset) {
        if (begun >= count) continue;
        begun++;
        c->sent++;
      }
      ssize_t done = write(polls[i].fd, frame + c->offset, frame_bytes - c->offset);
      if (done <= 0) {
        if (!c->offset) begun--, c->sent--;
        continue;
      }
      c->offset += done;
      if (c->offset == frame_bytes) c->offset = 0, done_requests++;
    }
  }
  double took = now_s() - began, cpu = cpu_s(pid) - cpu_before;
  printf("{\"complete\":%s,\"requests\":%ld,\"errors\":%ld,\"error\":%d,\"batch_bytes\":%d,\"records_per_batch\":%d,"
         "\"seconds\":%.4f,\"rate\":%.1f,\"bytes_per_s\":%.0f,\"cpu_us\":%.3f}\n",
         answered >= begun && !errors ? "true" : "false", answered, errors, first_error, size, records, took,
         answered / took, answered * (double)size / took, answered ? cpu * 1e6 / answered : 0.0);
}

static void run_fetch(void) {
  int fd = dial(port);
  size_t room = 96 << 20;
  uint8_t *answer = malloc(room);
  uint64_t position = 0;
  long long bytes = 0, records = 0;
  long requests = 0;
  double cpu_before = cpu_s(pid), began = now_s();
  while (bytes < (long long)count << 20 && now_s() - began < seconds) {
    uint8_t frame[512], *at = put_header(frame, 1, 4);
    at = put32(put32(put32(put32(at, -1), 0), 1), batch_bytes);
    *at++ = 0;
    at = put32(put64(put32(put_topic(at), 0), position), batch_bytes);
    put32(frame, at - frame - 4);
    write_all(fd, frame, at - frame);
    uint8_t head[4];
    read_all(fd, head, 4);
    uint32_t length = get32(head);
    if (length > room) die("answer too large");
    read_all(fd, answer, length);
    uint8_t *in = answer + 4 + 4 + 4 + 2 + strlen(topic) + 4 + 4;
    if (in[0] | in[1]) die("fetch was answered with an error");
    in += 2 + 8 + 8 + 4;  // error, high watermark, last stable offset; aborted transactions: none
    uint32_t set_bytes = get32(in);
    in += 4;
    if (!set_bytes) break;
    requests++;
    bytes += set_bytes;
    uint64_t before = position;
    for (uint8_t *end = in + set_bytes; end - in >= 61 && in + 12 + get32(in + 8) <= end; in += 12 + get32(in + 8)) {
      uint64_t next = get64(in) + get32(in + 23) + 1;
      records += next - position;
      position = next;
    }
    if (position == before) die("no whole batch in an answer");
  }
  double took = now_s() - began, cpu = cpu_s(pid) - cpu_before;
  printf("{\"complete\":true,\"requests\":%ld,\"records\":%lld,\"bytes\":%lld,\"seconds\":%.4f,\"rate\":%.1f,"
         "\"bytes_per_s\":%.0f,\"cpu_us\":%.3f}\n",
         requests, records, bytes, took, requests / took, bytes / took, requests ? cpu * 1e6 / requests : 0.0);
}

int main(int argc, char **argv) {
  int option;
  while ((option = getopt(argc, argv, "p:m:b:r:n:w:c:T:t:C:")) != -1) switch (option) {
      case 'p': port = atoi(optarg); break;
      case 'm': mode = optarg; break;
      case 'b': batch_bytes = atoi(optarg); break;
      case 'r': record_bytes = atoi(optarg); break;
      case 'n': count = atol(optarg); break;
      case 'w': pipelined = atoi(optarg); break;
      case 'c': connections = atoi(optarg); break;
      case 'T': topic = optarg; break;
      case 't': seconds = atof(optarg); break;
      case 'C': pid = atoi(optarg); break;
      default: return 1;
    }
  if (connections > CONNECTIONS_MAX || strlen(topic) > 200) return 1;
  if (*mode == 'p') run_produce();
  else run_fetch();
  return 0;
}
