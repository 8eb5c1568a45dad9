// rdkafkagen: librdkafka as its users run it, from C, so that the client costs as little as it can. One JSON line a run on stdout.
//
//   rdkafkagen -l LIBRDKAFKA.so -p PORT -m produce -T TOPIC -s BYTES -t SECONDS [-C PID]
//       acks=all, the client's own batching (linger 5 ms); ends when everything is acknowledged.
//   rdkafkagen -l LIBRDKAFKA.so -p PORT -m consume -T TOPIC -n MESSAGES [-t SECONDS_MAX] [-C PID]
//       partition 0 from offset 0.
//   rdkafkagen -l LIBRDKAFKA.so -p PORT -m latency -T TOPIC -s BYTES -t SECONDS [-C PID]
//       one message at a time, linger 0, from produce to the same process' consumer, in a new topic; p50_us, p99_us.
// The library is loaded by name: no headers are needed. What is declared here is its stable C interface (rdkafka.h, 1.0 and later).
#include "gen.h"
#include <dlfcn.h>

typedef struct {
  int err;
  void *topic;
  int32_t partition;
  void *payload;
  size_t len;
  void *key;
  size_t key_len;
  int64_t offset;
  void *opaque;
} message_t;

enum { PRODUCER, CONSUMER, COPY = 2, QUEUE_FULL = -184, PARTITION_EOF = -191, TIMED_OUT = -185 };
#define OFFSET_BEGINNING -2
#define OFFSET_END -1

static void *(*conf_new)(void), *(*topic_new)(void *, const char *, void *);
static void *(*client_new)(int, void *, char *, size_t);
static int (*conf_set)(void *, const char *, const char *, char *, size_t);
static void (*conf_set_dr)(void *, void (*)(void *, const message_t *, void *));
static int (*produce)(void *, int32_t, int, void *, size_t, const void *, size_t, void *);
static int (*last_error)(void), (*poll_client)(void *, int), (*flush)(void *, int);
static int (*consume_start)(void *, int32_t, int64_t), (*consume_stop)(void *, int32_t);
static ssize_t (*consume_batch)(void *, int32_t, int, message_t **, size_t);
static message_t *(*consume)(void *, int32_t, int);
static void (*message_destroy)(message_t *);
static const char *(*err2str)(int);

static int port = 9092, pid = 0, size = 100;
static long count = 1000000;
static double seconds = 2;
static const char *mode = "produce", *topic = "bench", *library = "librdkafka.so.1";
static long delivered = 0, failed = 0;
static int first_error = 0;

static void *symbol(void *from, const char *name) {
  void *found = dlsym(from, name);
  if (!found) die(name);
  return found;
}

static void load(void) {
  void *from = dlopen(library, RTLD_NOW);
  if (!from) die(dlerror());
  *(void **)&conf_new = symbol(from, "rd_kafka_conf_new");
  *(void **)&conf_set = symbol(from, "rd_kafka_conf_set");
  *(void **)&conf_set_dr = symbol(from, "rd_kafka_conf_set_dr_msg_cb");
  *(void **)&client_new = symbol(from, "rd_kafka_new");
  *(void **)&topic_new = symbol(from, "rd_kafka_topic_new");
  *(void **)&produce = symbol(from, "rd_kafka_produce");
  *(void **)&last_error = symbol(from, "rd_kafka_last_error");
  *(void **)&poll_client = symbol(from, "rd_kafka_poll");
  *(void **)&flush = symbol(from, "rd_kafka_flush");
  *(void **)&consume_start = symbol(from, "rd_kafka_consume_start");
  *(void **)&consume_stop = symbol(from, "rd_kafka_consume_stop");
  *(void **)&consume_batch = symbol(from, "rd_kafka_consume_batch");
  *(void **)&consume = symbol(from, "rd_kafka_consume");
  *(void **)&message_destroy = symbol(from, "rd_kafka_message_destroy");
  *(void **)&err2str = symbol(from, "rd_kafka_err2str");
}

static void on_delivery(void *client, const message_t *message, void *opaque) {
  (void)client, (void)opaque;
  if (message->err) failed++, first_error = message->err;
  else delivered++;
}

static void *open_client(int kind, const char *linger) {
  char error[512], address[64];
  void *conf = conf_new();
  snprintf(address, sizeof address, "127.0.0.1:%d", port);
  if (conf_set(conf, "bootstrap.servers", address, error, sizeof error)) die(error);
  if (kind == PRODUCER) {
    conf_set(conf, "acks", "all", error, sizeof error);
    conf_set(conf, "linger.ms", linger, error, sizeof error);
    conf_set(conf, "queue.buffering.max.messages", "200000", error, sizeof error);
    conf_set_dr(conf, on_delivery);
  } else {
    conf_set(conf, "fetch.wait.max.ms", "100", error, sizeof error);
    conf_set(conf, "queued.min.messages", "10000000", error, sizeof error);  // else it pauses 1 s when it is ahead of us
    conf_set(conf, "queued.max.messages.kbytes", "1000000", error, sizeof error);
  }
  void *client = client_new(kind, conf, error, sizeof error);
  if (!client) die(error);
  return client;
}

static void report(long messages, double took, double cpu, const char *more) {
  printf("{\"complete\":%s,\"messages\":%ld,\"failed\":%ld,\"error\":\"%s\",\"seconds\":%.4f,\"rate\":%.1f,\"cpu_us\":%.4f%s}\n",
         failed || !messages ? "false" : "true", messages, failed, first_error ? err2str(first_error) : "", took,
         messages / took, messages ? cpu * 1e6 / messages : 0.0, more);
}

static void run_produce(void) {
  void *client = open_client(PRODUCER, "5"), *to = topic_new(client, topic, NULL);
  char *payload = malloc(size);
  for (int i = 0; i < size; i++) payload[i] = (char)(i * 31);
  if (produce(to, 0, COPY, payload, size, NULL, 0, NULL) || flush(client, 20000)) die("the first message was not delivered");
  delivered = 0;
  double cpu = cpu_s(pid), began = now_s();
  long sent = 0;
  while ((sent & 255) || now_s() - began < seconds) {
    if (produce(to, 0, COPY, payload, size, NULL, 0, NULL)) {
      if (last_error() != QUEUE_FULL) die(err2str(last_error()));
      poll_client(client, 1);
      continue;
    }
    sent++;
    if (!(sent & 1023)) poll_client(client, 0);
  }
  flush(client, 60000);
  double took = now_s() - began;
  if (delivered + failed < sent) failed += sent - delivered - failed;
  report(delivered, took, cpu_s(pid) - cpu, "");
}

static void run_consume(void) {
  void *client = open_client(CONSUMER, ""), *from = topic_new(client, topic, NULL);
  static message_t *batch[10000];
  double cpu = cpu_s(pid), began = now_s(), first = 0;
  long got = 0;
  if (consume_start(from, 0, OFFSET_BEGINNING)) die("consume_start");
  while (got < count && now_s() - began < 60) {
    ssize_t n = consume_batch(from, 0, 1000, batch, 10000);
    for (ssize_t i = 0; i < n; i++) {
      if (!batch[i]->err) got++;
      else if (batch[i]->err != PARTITION_EOF) failed++, first_error = batch[i]->err;
      message_destroy(batch[i]);
    }
    if (got && !first) first = now_s();
  }
  double took = now_s() - began;
  if (got < count) failed += count - got;
  report(got, took, cpu_s(pid) - cpu, "");
  fflush(stdout);
  _exit(0);
}

static void run_latency(void) {
  void *producer = open_client(PRODUCER, "0"), *to = topic_new(producer, topic, NULL);
  void *consumer = open_client(CONSUMER, ""), *from = topic_new(consumer, topic, NULL);
  char *payload = calloc(1, size);
  static double times[2000000];
  if (produce(to, 0, COPY, payload, size, NULL, 0, NULL) || flush(producer, 20000)) die("the first message was not delivered");
  if (consume_start(from, 0, OFFSET_BEGINNING)) die("consume_start");
  message_t *got;
  while (!(got = consume(from, 0, 1000)) || got->err)
    if (got) message_destroy(got);
  message_destroy(got);
  double began = now_s(), cpu = cpu_s(pid);
  long n = 0;
  while (now_s() - began < seconds && n < 2000000) {
    double sent = now_s();
    if (produce(to, 0, COPY, payload, size, NULL, 0, NULL)) die(err2str(last_error()));
    for (;;) {
      got = consume(from, 0, 5000);
      if (!got) die("a message did not come within 5 s");
      int error = got->err;
      message_destroy(got);
      if (!error) break;
    }
    times[n++] = (now_s() - sent) * 1e6;
    poll_client(producer, 0);
  }
  double took = now_s() - began, used = cpu_s(pid) - cpu;
  qsort(times, n, sizeof *times, compare_doubles);
  char more[100];
  snprintf(more, sizeof more, ",\"p50_us\":%.1f,\"p99_us\":%.1f", times[n / 2], times[n * 99 / 100]);
  report(n, took, used, more);
  fflush(stdout);
  _exit(0);
}

int main(int argc, char **argv) {
  int option;
  while ((option = getopt(argc, argv, "l:p:m:T:s:n:t:C:")) != -1) switch (option) {
      case 'l': library = optarg; break;
      case 'p': port = atoi(optarg); break;
      case 'm': mode = optarg; break;
      case 'T': topic = optarg; break;
      case 's': size = atoi(optarg); break;
      case 'n': count = atol(optarg); break;
      case 't': seconds = atof(optarg); break;
      case 'C': pid = atoi(optarg); break;
      default: return 1;
    }
  load();
  if (*mode == 'p') run_produce();
  else if (*mode == 'c') run_consume();
  else run_latency();
  return 0;
}
