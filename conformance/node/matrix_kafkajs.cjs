// KafkaJS.
const { Kafka, logLevel, CompressionTypes, ConfigResourceTypes, AssignerProtocol } = require('kafkajs')
const { cell, run, refused, until, sleep } = require('./matrix.cjs')

const client = place => new Kafka({ clientId: 'matrix', brokers: [place.address], logLevel: logLevel.NOTHING, retry: { retries: 8, initialRetryTime: 50 } })

async function withAdmin(place, use) {
  const admin = client(place).admin()
  await admin.connect()
  try { return await use(admin) } finally { await admin.disconnect() }
}

async function topic(place, numPartitions = 1, config = {}) {
  const name = place.name('topic')
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }))
  await withAdmin(place, admin => admin.createTopics({ topics: [{ topic: name, numPartitions, configEntries }], waitForLeaders: true }))
  return name
}

async function produce(place, name, messages, options = {}, settings = {}) {
  const producer = client(place).producer(settings)
  await producer.connect()
  try { return await producer.send({ topic: name, messages, ...options }) } finally { await producer.disconnect() }
}

// The first `count` messages of a group from the beginning.
async function consume(place, name, count, { group, commit = true, ...settings } = {}) {
  const consumer = client(place).consumer({ groupId: group ?? place.name('group'), sessionTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 100, ...settings })
  const found = []
  await consumer.connect()
  try {
    await consumer.subscribe({ topic: name, fromBeginning: true })
    await consumer.run({ autoCommit: false, eachMessage: async ({ partition, message }) => { if (found.length < count) found.push({ partition, ...message }) } })
    await until(() => found.length >= count)
    if (commit) {
      const next = new Map(found.map(each => [each.partition, String(Number(each.offset) + 1)]))
      await consumer.commitOffsets([...next].map(([partition, offset]) => ({ topic: name, partition, offset })))
    }
  } finally { await consumer.disconnect() }
  return found
}

const values = found => found.map(each => each.value)

cell('produce: acks all', async place => {
  const name = await topic(place)
  const [told] = await produce(place, name, [{ value: 'one' }, { value: 'two' }], { acks: -1 })
  return [told.errorCode, told.baseOffset, values(await consume(place, name, 2))]
})

cell('produce: acks 1', async place => {
  const name = await topic(place)
  const [told] = await produce(place, name, [{ value: 'one' }], { acks: 1 })
  return [told.errorCode, told.baseOffset, values(await consume(place, name, 1))]
})

cell('produce: acks 0', async place => {
  const name = await topic(place)
  await produce(place, name, [{ value: 'one' }], { acks: 0 })
  return values(await consume(place, name, 1))
})

cell('produce: gzip', async place => {
  const name = await topic(place)
  await produce(place, name, [{ value: 'x'.repeat(1000) }, { value: 'y' }], { compression: CompressionTypes.GZIP })
  return values(await consume(place, name, 2)).map(value => value.length)
})

cell('produce: headers, null key and value, timestamp', async place => {
  const name = await topic(place, 1, { 'retention.ms': '-1' })  // the timestamp is of long ago
  await produce(place, name, [{ key: 'k', value: 'v', headers: { a: '1', b: ['2', '3'] }, timestamp: '1700000000123' }, { key: 'tombstone', value: null }])
  return (await consume(place, name, 2)).map(({ key, value, headers, timestamp, offset }, index) => [key, value, headers, index ? null : timestamp, offset])
})

cell('produce: keys choose partitions', async place => {
  const name = await topic(place, 4)
  const { Partitioners } = require('kafkajs')
  const found = await produce(place, name, Array.from({ length: 20 }, (_, number) => ({ key: `key${number}`, value: 'v' })), {}, { createPartitioner: Partitioners.DefaultPartitioner })
  return found.map(each => [each.partition, each.baseOffset]).sort()
})

cell('produce: idempotent', async place => {
  const name = await topic(place)
  const [told] = await produce(place, name, Array.from({ length: 100 }, (_, number) => ({ value: String(number) })), { acks: -1 }, { idempotent: true, maxInFlightRequests: 1 })
  return [told.errorCode, values(await consume(place, name, 100)).at(-1)]
})

cell('produce: several topics at once', async place => {
  const [one, two] = [await topic(place), await topic(place)]
  const producer = client(place).producer()
  await producer.connect()
  const told = await producer.sendBatch({ topicMessages: [{ topic: one, messages: [{ value: 'a' }] }, { topic: two, messages: [{ value: 'b' }] }] })
  await producer.disconnect()
  return [told.length, values(await consume(place, one, 1)), values(await consume(place, two, 1))]
})

cell('produce: a message that is too large', async place => {
  const name = await topic(place, 1, { 'max.message.bytes': '1000' })
  return refused(produce(place, name, [{ value: 'x'.repeat(5000) }]))
})

cell('transactions: commit', async place => {
  const name = await topic(place)
  const producer = client(place).producer({ transactionalId: place.name('id'), idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  const transaction = await producer.transaction()
  await transaction.send({ topic: name, messages: [{ value: 'committed' }] })
  await transaction.commit()
  await producer.disconnect()
  return values(await consume(place, name, 1, { readUncommitted: false }))
})

cell('consume: seek', async place => {
  const name = await topic(place)
  await produce(place, name, Array.from({ length: 10 }, (_, number) => ({ value: String(number) })))
  const consumer = client(place).consumer({ groupId: place.name('group'), maxWaitTimeInMs: 100 })
  const found = []
  await consumer.connect()
  await consumer.subscribe({ topic: name, fromBeginning: true })
  await consumer.run({ eachMessage: async ({ message }) => { found.push(String(message.value)) } })
  await until(() => found.length >= 10)
  found.length = 0
  consumer.seek({ topic: name, partition: 0, offset: '7' })
  await until(() => found.length >= 3)
  await consumer.disconnect()
  return found
})

cell('consume: pause and resume', async place => {
  const name = await topic(place)
  const consumer = client(place).consumer({ groupId: place.name('group'), maxWaitTimeInMs: 100 })
  const found = []
  await consumer.connect()
  await consumer.subscribe({ topic: name, fromBeginning: true })
  await consumer.run({ eachMessage: async ({ message }) => { found.push(String(message.value)) } })
  await produce(place, name, [{ value: 'before' }])
  await until(() => found.length)
  consumer.pause([{ topic: name }])
  await produce(place, name, [{ value: 'during' }])
  await sleep(200)
  const during = [...found]
  consumer.resume([{ topic: name }])
  await until(() => found.length > 1)
  await consumer.disconnect()
  return [during, found]
})

cell('consume: batches', async place => {
  const name = await topic(place)
  await produce(place, name, Array.from({ length: 500 }, (_, number) => ({ value: String(number) })))
  const consumer = client(place).consumer({ groupId: place.name('group'), maxWaitTimeInMs: 100 })
  const found = []
  let highWatermark
  await consumer.connect()
  await consumer.subscribe({ topic: name, fromBeginning: true })
  await consumer.run({ eachBatch: async ({ batch }) => { highWatermark = batch.highWatermark; found.push(...batch.messages) } })
  await until(() => found.length >= 500)
  await consumer.disconnect()
  return [found.length, String(found.at(-1).value), highWatermark]
})

cell('group: resumes after its commit', async place => {
  const name = await topic(place), group = place.name('group')
  await produce(place, name, Array.from({ length: 6 }, (_, number) => ({ value: String(number) })))
  const first = values(await consume(place, name, 4, { group }))
  const second = values(await consume(place, name, 2, { group }))
  return [first, second, await withAdmin(place, async admin => (await admin.fetchOffsets({ groupId: group, topics: [name] }))[0].partitions)]
})

cell('group: two members share', async place => {
  const name = await topic(place, 4), groupId = place.name('group')
  const members = [0, 1].map(() => client(place).consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 200, rebalanceTimeout: 20_000, maxWaitTimeInMs: 100 }))
  const shares = [0, 0]
  for (const [index, member] of members.entries()) {
    member.on(member.events.GROUP_JOIN, ({ payload }) => { shares[index] = (payload.memberAssignment[name] ?? []).length })
    await member.connect()
    await member.subscribe({ topic: name })
    await member.run({ eachMessage: async () => {} })
  }
  await until(() => shares[0] === 2 && shares[1] === 2)
  const told = [...shares]
  await members[0].disconnect()
  await until(() => shares[1] === 4)
  await members[1].disconnect()
  return [told, shares[1]]
})

cell('admin: create, describe and delete topics', async place => withAdmin(place, async admin => {
  const name = place.name('topic')
  const told = [await admin.createTopics({ topics: [{ topic: name, numPartitions: 2 }] }), await admin.createTopics({ topics: [{ topic: name }] })]
  told.push((await admin.fetchTopicMetadata({ topics: [name] })).topics[0].partitions.length)
  await admin.createPartitions({ topicPartitions: [{ topic: name, count: 3 }] })
  told.push(await until(async () => (await admin.fetchTopicMetadata({ topics: [name] })).topics[0].partitions.length === 3))
  told.push((await admin.listTopics()).includes(name))
  await admin.deleteTopics({ topics: [name] })
  return [...told, await until(async () => !(await admin.listTopics()).includes(name))]
}))

cell('admin: topics that are refused', async place => withAdmin(place, async admin => {
  const told = []
  for (const asked of [{ topic: 'bad name!' }, { topic: place.name('t'), replicationFactor: 3 }, { topic: place.name('t'), configEntries: [{ name: 'no.such', value: '1' }] }]) {
    try { told.push(await admin.createTopics({ topics: [asked] })) } catch (error) { told.push((error.errors ?? [error]).map(each => each.type ?? each.name)) }
  }
  return told
}))

cell('admin: offsets of topics and times', async place => {
  const name = await topic(place), start = Date.now() - 100_000
  for (let number = 0; number < 5; number++) await produce(place, name, [{ value: 'v', timestamp: String(start + number * 1000) }])
  return withAdmin(place, async admin => [await admin.fetchTopicOffsets(name), await admin.fetchTopicOffsetsByTimestamp(name, start + 2500)])
})

cell('admin: describe and alter configs', async place => {
  const name = await topic(place, 1, { 'retention.ms': '86400000' })
  return withAdmin(place, async admin => {
    const asked = { includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name, configNames: ['retention.ms', 'cleanup.policy'] }] }
    const found = (await admin.describeConfigs(asked)).resources[0].configEntries.map(each => [each.configName, each.configValue, each.isDefault]).sort()
    return found
  })
})

cell('admin: alter configs, the old way', async place => {
  const name = await topic(place)
  return withAdmin(place, async admin => {
    await admin.alterConfigs({ validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name, configEntries: [{ name: 'retention.ms', value: '3600000' }] }] })
    const asked = { includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name, configNames: ['retention.ms'] }] }
    return (await admin.describeConfigs(asked)).resources[0].configEntries.map(each => each.configValue)
  })
})

cell('admin: groups', async place => {
  const name = await topic(place), group = place.name('group')
  await produce(place, name, [{ value: 'x' }])
  await consume(place, name, 1, { group })
  return withAdmin(place, async admin => {
    const described = (await admin.describeGroups([group])).groups[0]
    const listed = (await admin.listGroups()).groups.some(each => each.groupId === group)
    await admin.resetOffsets({ groupId: group, topic: name, earliest: true })
    const offsets = (await admin.fetchOffsets({ groupId: group, topics: [name] }))[0].partitions.map(each => each.offset)
    const deleted = (await admin.deleteGroups([group]))[0].errorCode ?? 0
    return [described.state, described.protocolType, listed, offsets, deleted]
  })
})

cell('admin: delete records', async place => {
  const name = await topic(place)
  await produce(place, name, Array.from({ length: 10 }, (_, number) => ({ value: String(number) })))
  return withAdmin(place, async admin => {
    await admin.fetchTopicOffsets(name)  // KafkaJS asks the leaders that it has heard of
    await admin.deleteTopicRecords({ topic: name, partitions: [{ partition: 0, offset: '6' }] })
    return admin.fetchTopicOffsets(name)
  })
})

cell('admin: cluster', async place => withAdmin(place, async admin => {
  const found = await admin.describeCluster()
  return [found.brokers.length, typeof found.clusterId, found.controller !== null]
}))

cell('security: SASL PLAIN', place => sasl(place, 'plain'))
cell('security: SASL SCRAM-SHA-256', place => sasl(place, 'scram-sha-256'))

async function sasl(place, mechanism) {
  const address = place.option('users', 'the target was started without users')
  const told = []
  for (const password of [place.options.password, 'wrong']) {
    const admin = new Kafka({ brokers: [address], sasl: { mechanism, username: place.options.user, password }, logLevel: logLevel.NOTHING, retry: { retries: 0 } }).admin()
    try {
      await admin.connect()
      told.push((await admin.describeCluster()).brokers.length)
    } catch (error) { told.push(error.name) }
    await admin.disconnect()
  }
  return told
}

run()
