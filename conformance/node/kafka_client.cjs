// KafkaJS as its users run it: node kafka_client.cjs <host:port> <prefix of all names> [<mechanism> <user> <password>]
const { Kafka, logLevel, CompressionTypes, AssignerProtocol } = require('kafkajs');
const [address, prefix, mechanism, username, password] = process.argv.slice(2);
const sasl = mechanism ? { mechanism, username, password } : undefined;
const kafka = new Kafka({ clientId: 'js', brokers: [address], sasl, logLevel: logLevel.NOTHING, retry: { retries: 8, initialRetryTime: 50 } });
const expect = (condition, what) => { if (!condition) throw new Error(what); };
const topic = `${prefix}.js`;
const group = `${prefix}-group`;

// Everything that a consumer of the group gets; `count(n)` waits until it has n in all.
async function member(got, wake) {
  const consumer = kafka.consumer({ groupId: group, sessionTimeout: 6000, heartbeatInterval: 300, rebalanceTimeout: 10000, maxWaitTimeInMs: 100 });
  const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => resolve(payload)));
  const mine = [];
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({ eachMessage: async ({ partition, message }) => { const one = { partition, ...message }; mine.push(one); got.push(one); wake(); } });
  return { consumer, mine, joined: await joined };
}

async function main() {
  const said = {};
  const admin = kafka.admin();
  await admin.connect();
  expect(await admin.createTopics({ topics: [{ topic, numPartitions: 4, configEntries: [{ name: 'retention.ms', value: '1000000' }] }] }), 'created');
  expect(!(await admin.createTopics({ topics: [{ topic }] })), 'is there already');
  expect((await admin.listTopics()).includes(topic), 'listed');
  const described = await admin.describeConfigs({ resources: [{ type: 2, name: topic, configNames: ['retention.ms'] }] });
  expect(described.resources[0].configEntries[0].configValue === '1000000', 'described');
  await admin.alterConfigs({ validateOnly: false, resources: [{ type: 2, name: topic, configEntries: [{ name: 'retention.ms', value: '2000000' }] }] });
  await admin.createPartitions({ topicPartitions: [{ topic, count: 6 }] });
  const metadata = await admin.fetchTopicMetadata({ topics: [topic] });
  said.partitions = metadata.topics[0].partitions.length;
  said.brokers = (await admin.describeCluster()).brokers.length;

  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  const values = [...Array(300).keys()].map((number) => `value ${number}`);
  for (const [at, compression] of [[0, CompressionTypes.None], [100, CompressionTypes.GZIP], [200, CompressionTypes.None]]) {
    const messages = values.slice(at, at + 100).map((value, number) => ({ key: `key ${number}`, value, headers: { number: `${number}` } }));
    await producer.send({ topic, compression, acks: -1, messages });
  }
  await producer.disconnect();

  let wake = () => {};
  const got = [];
  const first = await member(got, () => wake());
  while (got.length < 300) await new Promise((resolve) => { wake = resolve; });
  expect(JSON.stringify(got.map((one) => one.value.toString()).sort()) === JSON.stringify([...values].sort()), 'every value once');
  expect(got.every((one) => one.headers.number.toString() === one.key.toString().slice(4)), 'headers');
  const second = await member(got, () => wake());
  said.members = (await admin.describeGroups([group])).groups[0].members.length;
  expect(second.joined.memberAssignment[topic].length === 3, 'work is shared');
  const more = kafka.producer();
  await more.connect();
  await more.send({ topic, acks: 1, messages: [...Array(60).keys()].map((number) => ({ value: `more ${number}`, partition: number % 6 })) });
  while (got.length < 360) await new Promise((resolve) => { wake = resolve; });
  expect(second.mine.length === 30, `the second member got its half, ${second.mine.length}`);
  await first.consumer.disconnect();
  await second.consumer.disconnect();
  await more.disconnect();

  const committed = await admin.fetchOffsets({ groupId: group, topics: [topic] });
  said.committed = committed[0].partitions.reduce((sum, one) => sum + Number(one.offset), 0);
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '5' }] });
  const offsets = await admin.fetchTopicOffsets(topic);
  expect(offsets.find((one) => one.partition === 0).low === '5', 'trimmed');
  expect((await admin.listGroups()).groups.some((one) => one.groupId === group), 'the group is listed');
  await admin.deleteGroups([group]);
  await admin.deleteTopics({ topics: [topic] });
  expect(!(await admin.listTopics()).includes(topic), 'deleted');
  await admin.disconnect();
  console.log(JSON.stringify(said));
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
