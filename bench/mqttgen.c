// mqttgen: MQTT 3.1.1 load. One JSON line a run on stdout.
//
//   mqttgen -p PORT -q 0 -s SIZE -t SECONDS [-n MESSAGES] [-S SUBSCRIBERS] [-w AHEAD] [-C PID]
//       publishes at QoS 0 for SECONDS, then waits for a PINGRESP and until every subscriber (QoS 0) has every message;
//       AHEAD bounds what is published but not yet at the slowest subscriber.
//   mqttgen -p PORT -q 1 -s SIZE -t SECONDS [-n MESSAGES] [-S SUBSCRIBERS] [-Q SUBSCRIBED_QOS] [-w WINDOW] [-T TOPIC] [-C PID]
//       publishes at QoS 1 with at most WINDOW not yet acknowledged; subscribers of QoS 1 acknowledge too.
//   -P PUBLISHERS: so many connections publish, each with a window of its own (QoS 1 only).
#include "gen.h"

static int port = 1883, size = 64, subscribers = 0, publishers = 1, pid = 0, qos = 0, subscribed_qos = 0;
static long messages_max = 1000000000, window = 0;
static double seconds = 2;
static const char *topic = "bench/a/b";
static const double DRAIN_S = 20;

static int open_connection(int number) {
  int fd = dial(port);
  uint8_t packet[64] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0};
  int length = sprintf((char *)packet + 14, "g%d_%d", getpid() % 100000, number);
  packet[13] = length;
  packet[1] = 12 + length;
  write_all(fd, packet, 14 + length);
  read_all(fd, packet, 4);
  if (packet[0] != 0x20 || packet[3]) die("CONNACK");
  return fd;
}

static int put_length(uint8_t *out, uint32_t value) {
  int bytes = 0;
  do {
    uint8_t byte = value & 127;
    value >>= 7;
    out[bytes++] = value ? byte | 128 : byte;
  } while (value);
  return bytes;
}

static int subscribe(int number) {
  int fd = open_connection(number), topic_bytes = strlen(topic);
  uint8_t packet[256] = {0x82, 2 + 2 + topic_bytes + 1, 0, 1, 0, topic_bytes};
  memcpy(packet + 6, topic, topic_bytes);
  packet[6 + topic_bytes] = subscribed_qos;
  write_all(fd, packet, 7 + topic_bytes);
  read_all(fd, packet, 5);
  if (packet[0] != 0x90 || packet[4] > 2) die("SUBACK");
  set_nonblocking(fd);
  return fd;
}

// Takes `got` bytes of a subscriber's input, of which every message is `message_bytes` long with its packet id at
// `id_offset`, and acknowledges each message when its id has passed. *received counts the bytes of this subscriber.
static void acknowledge(int fd, const uint8_t *input, ssize_t got, long long *received, int message_bytes, int id_offset,
                        uint8_t *id_high) {
  static uint8_t acks[1 << 16];
  int filled = 0;
  for (ssize_t at = 0; at < got;) {
    long long within = *received % message_bytes, step;
    if (within < id_offset) step = id_offset - within;
    else if (within == id_offset) *id_high = input[at], step = 1;
    else if (within == id_offset + 1) {
      memcpy(acks + filled, (uint8_t[]){0x40, 2, *id_high, input[at]}, 4);
      filled += 4;
      step = 1;
      if (filled > 65000) {
        write_all(fd, acks, filled);
        filled = 0;
      }
    } else step = message_bytes - within;
    if (step > got - at) step = got - at;
    at += step;
    *received += step;
  }
  if (filled) write_all(fd, acks, filled);
}

typedef struct {
  long sent, acked;
  long long ack_bytes;
  size_t offset;  // within a packet that was written in part
} Publisher;

static void run(void) {
  static Publisher all[CONNECTIONS_MAX];
  static struct pollfd polls[CONNECTIONS_MAX];
  static long long received[CONNECTIONS_MAX];
  static uint8_t id_high[CONNECTIONS_MAX], input[1 << 18];
  int topic_bytes = strlen(topic);
  if (qos && !window) window = 100;
  for (int i = 0; i < subscribers; i++) polls[i] = (struct pollfd){subscribe(i), POLLIN, 0};
  for (int i = subscribers; i < subscribers + publishers; i++) {
    polls[i].fd = open_connection(100 + i);
    set_nonblocking(polls[i].fd);
  }

  // A chunk of whole packets; at QoS 1 one for each packet id, so that an id comes again only after 65,535 others.
  uint8_t head[256];
  head[0] = 0x30 | qos << 1;
  int head_bytes = 1 + put_length(head + 1, 2 + topic_bytes + (qos ? 2 : 0) + size);
  head[head_bytes] = 0;
  head[head_bytes + 1] = topic_bytes;
  memcpy(head + head_bytes + 2, topic, topic_bytes);
  head_bytes += 2 + topic_bytes;
  int id_at = head_bytes;
  if (qos) head_bytes += 2;
  int packet_bytes = head_bytes + size;
  long chunk_packets = qos ? 65535 : 65536 / packet_bytes;
  if (chunk_packets < 1) chunk_packets = 1;
  uint8_t *chunk = malloc((size_t)packet_bytes * chunk_packets);
  for (long i = 0; i < chunk_packets; i++) {
    uint8_t *at = chunk + i * packet_bytes;
    memcpy(at, head, head_bytes);
    if (qos) at[id_at] = (i + 1) >> 8, at[id_at + 1] = (i + 1) & 255;
    memset(at + head_bytes, 'x', size);
  }
  int delivered_qos = qos < subscribed_qos ? qos : subscribed_qos;
  uint8_t scratch[8];
  int delivered_rest = 2 + topic_bytes + (delivered_qos ? 2 : 0) + size;
  int delivered_bytes = 1 + put_length(scratch, delivered_rest) + delivered_rest;

  long sent = 0, acked = 0;
  int pinged = 0, ponged = 0, stopped = 0;
  double cpu_before = cpu_s(pid), began = now_s(), taken_at = 0, delivered_at = 0;
  for (;;) {
    double elapsed = now_s() - began;
    if (elapsed > seconds || sent >= messages_max) stopped = 1;
    if (elapsed > seconds + DRAIN_S) break;
    long long slowest = -1;
    for (int i = 0; i < subscribers; i++)
      if (slowest < 0 || received[i] < slowest) slowest = received[i];
    int all_sent = stopped;
    for (int i = 0; i < publishers; i++) all_sent &= !all[i].offset;
    if (all_sent && !taken_at && (qos ? acked >= sent : ponged)) taken_at = elapsed;
    if (all_sent && !delivered_at && (!subscribers || slowest >= (long long)sent * delivered_bytes)) delivered_at = elapsed;
    if (taken_at && delivered_at) break;
    int ping = !qos && all_sent && !pinged;
    long rooms[CONNECTIONS_MAX];
    for (int i = 0; i < publishers; i++) {
      Publisher *p = &all[i];
      long room = stopped ? (p->offset ? 1 : 0) : chunk_packets;
      if (!stopped && qos) room = window - (p->sent - p->acked);
      if (!stopped && !qos && window && subscribers && sent - slowest / delivered_bytes > window) room = p->offset ? 1 : 0;
      rooms[i] = room;
      polls[subscribers + i].events = POLLIN | (room > 0 || ping ? POLLOUT : 0);
    }
    poll(polls, subscribers + publishers, 100);

    for (int i = 0; i < subscribers; i++)
      if (polls[i].revents & (POLLIN | POLLHUP)) {
        ssize_t got = read(polls[i].fd, input, sizeof input);
        if (got == 0) die("the server closed a subscriber");
        if (got < 0) continue;
        if (delivered_qos) acknowledge(polls[i].fd, input, got, &received[i], delivered_bytes, delivered_bytes - size - 2, &id_high[i]);
        else received[i] += got;
      }
    for (int i = 0; i < publishers; i++) {
      struct pollfd *publisher = &polls[subscribers + i];
      Publisher *p = &all[i];
      if (publisher->revents & (POLLIN | POLLHUP)) {
        ssize_t got = read(publisher->fd, input, sizeof input);
        if (got == 0) die("the server closed the publisher");
        if (got > 0 && qos) {
          p->ack_bytes += got;
          acked += p->ack_bytes / 4 - p->acked;
          p->acked = p->ack_bytes / 4;
        } else if (got > 0 && memmem(input, got, "\xd0\0", 2)) ponged = 1;
      }
      if (!(publisher->revents & POLLOUT)) continue;
      if (rooms[i] > 0) {
        long at = p->sent % chunk_packets, packets = chunk_packets - at < rooms[i] ? chunk_packets - at : rooms[i];
        ssize_t done = write(publisher->fd, chunk + (size_t)at * packet_bytes + p->offset, (size_t)packets * packet_bytes - p->offset);
        if (done > 0) {
          p->sent += (p->offset + done) / packet_bytes;
          sent += (p->offset + done) / packet_bytes;
          p->offset = (p->offset + done) % packet_bytes;
        }
      } else if (ping && write(publisher->fd, "\xc0\0", 2) == 2) {
        pinged = 1;
      }
    }
  }
  double cpu = cpu_s(pid) - cpu_before;
  int complete = taken_at && delivered_at;
  double took = complete ? (delivered_at > taken_at ? delivered_at : taken_at) : now_s() - began;
  long long delivered = 0;
  for (int i = 0; i < subscribers; i++) delivered += received[i] / delivered_bytes;
  printf("{\"complete\":%s,\"messages\":%ld,\"acked\":%ld,\"delivered\":%lld,\"seconds\":%.4f,\"rate\":%.1f,\"cpu_us\":%.5f}\n",
         complete ? "true" : "false", sent, acked, delivered, took, sent / took, sent ? cpu * 1e6 / sent : 0.0);
}

int main(int argc, char **argv) {
  int option;
  while ((option = getopt(argc, argv, "p:q:Q:s:n:S:P:w:t:T:C:")) != -1) switch (option) {
      case 'p': port = atoi(optarg); break;
      case 'q': qos = atoi(optarg); break;
      case 'Q': subscribed_qos = atoi(optarg); break;
      case 's': size = atoi(optarg); break;
      case 'n': messages_max = atol(optarg); break;
      case 'S': subscribers = atoi(optarg); break;
      case 'P': publishers = atoi(optarg); break;
      case 'w': window = atol(optarg); break;
      case 't': seconds = atof(optarg); break;
      case 'T': topic = optarg; break;
      case 'C': pid = atoi(optarg); break;
      default: return 1;
    }
  if (publishers < 1 || (publishers > 1 && !qos) || subscribers + publishers > CONNECTIONS_MAX || size > 60000 || qos > 1 || strlen(topic) > 100 || window > 30000) return 1;
  run();
  return 0;
}
