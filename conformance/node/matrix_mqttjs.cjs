// MQTT.js: MQTT 3.1.1 and 5.
const mqtt = require('mqtt')
const { cell, run, until, sleep } = require('./matrix.cjs')
const FIVE = '5'

async function connect(place, options = {}) {
  const { url = `mqtt://${place.address}`, ...rest } = options
  const client = mqtt.connect(url, { protocolVersion: place.variant === '5' ? 5 : 4, clientId: place.name('c'), reconnectPeriod: 0, connectTimeout: 15_000, ...rest })
  const found = []
  client.on('message', (topic, payload, packet) => found.push([topic, payload.toString(), packet.qos, packet.retain, packet.properties ?? null]))
  client.found = found
  client.on('error', () => {})
  client.connack = await new Promise((resolve, reject) => {
    client.once('connect', resolve)
    client.once('error', reject)
    client.once('close', () => reject(new Error('closed')))
  })
  client.take = async count => { await until(() => found.length >= count); return found.splice(0, count).map(each => each.slice(0, 4)) }
  return client
}

async function using(place, peers, use) {
  const clients = []
  for (const options of peers) clients.push(await connect(place, options))
  try { return await use(...clients) } finally { for (const client of clients) await client.endAsync(true).catch(() => {}) }
}

for (const qos of [0, 1, 2]) {
  cell(`publish: QoS ${qos}`, place => using(place, [{}, {}], async (reader, writer) => {
    const topic = place.name('topic')
    const granted = await reader.subscribeAsync(`${topic}/#`, { qos: 2 })
    for (let number = 0; number < 3; number++) await writer.publishAsync(`${topic}/${number}`, String(number), { qos })
    return [granted.map(each => each.qos), await reader.take(3)]
  }))
}

cell('publish: many in flight', place => using(place, [{}, {}], async (reader, writer) => {
  const topic = place.name('topic')
  await reader.subscribeAsync(topic, { qos: 1 })
  for (let batch = 0; batch < 20; batch++) await Promise.all(Array.from({ length: 15 }, (_, number) => writer.publishAsync(topic, String(batch * 15 + number), { qos: 1 })))
  return new Set((await reader.take(300)).map(each => each[1])).size
}))

cell('publish: an empty payload, and one of 200 kB', place => using(place, [{}], async client => {
  const topic = place.name('topic')
  await client.subscribeAsync(topic, { qos: 1 })
  await client.publishAsync(topic, '', { qos: 1 })
  await client.publishAsync(topic, 'x'.repeat(200_000), { qos: 1 })
  return (await client.take(2)).map(each => each[1].length)
}))

cell('subscribe: wildcards', place => using(place, [{}], async client => {
  const root = place.name('root')
  await client.subscribeAsync({ [`${root}/+/b`]: { qos: 1 }, [`${root}/x/#`]: { qos: 1 } })
  for (const topic of ['a/b', 'a/c', 'x', 'x/y/z', 'b']) await client.publishAsync(`${root}/${topic}`, topic, { qos: 1 })
  return client.take(3)
}))

cell('unsubscribe: and nothing more', place => using(place, [{}], async client => {
  const root = place.name('root')
  await client.subscribeAsync([`${root}/a`, `${root}/b`], { qos: 1 })
  await client.unsubscribeAsync(`${root}/a`)
  await client.publishAsync(`${root}/a`, 'unseen', { qos: 1 })
  await client.publishAsync(`${root}/b`, 'seen', { qos: 1 })
  return client.take(1)
}))

cell('retained: kept, removed', place => using(place, [{}, {}], async (reader, writer) => {
  const topic = place.name('topic')
  await writer.publishAsync(topic, 'kept', { qos: 1, retain: true })
  await reader.subscribeAsync(topic, { qos: 1 })
  const seen = await reader.take(1)
  await writer.publishAsync(topic, '', { qos: 1, retain: true })
  seen.push(...await reader.take(1))
  await reader.unsubscribeAsync(topic)
  await reader.subscribeAsync(topic, { qos: 1 })
  await writer.publishAsync(topic, 'live', { qos: 1 })
  return [...seen, ...await reader.take(1)]
}))

cell('will: sent when the connection vanishes', place => using(place, [{}], async reader => {
  const topic = place.name('topic')
  await reader.subscribeAsync(topic, { qos: 1 })
  const dying = await connect(place, { will: { topic, payload: 'gone', qos: 1 } })
  dying.stream.destroy()
  return reader.take(1)
}))

cell('session: resumed with what was missed', async place => {
  const topic = place.name('topic')
  const kept = { clientId: place.name('c'), clean: false, properties: place.variant === '5' ? { sessionExpiryInterval: 100 } : undefined }
  const first = await using(place, [kept], async client => { await client.subscribeAsync(topic, { qos: 1 }); return client.connack.sessionPresent })
  await using(place, [{}], client => client.publishAsync(topic, 'missed', { qos: 1 }))
  return using(place, [kept], async client => [first, client.connack.sessionPresent, await client.take(1)])
})

cell('session: taken over', async place => {
  const clientId = place.name('c')
  const first = await connect(place, { clientId })
  let reason = null, closed = false
  first.on('disconnect', packet => { reason = packet.reasonCode })
  first.on('close', () => { closed = true })
  const second = await connect(place, { clientId })
  await until(() => closed)
  await second.endAsync(true)
  return [closed, reason]
})

cell('connect: keep alive', place => using(place, [{ keepalive: 1 }], async client => {
  const topic = place.name('topic')
  await client.subscribeAsync(topic, { qos: 1 })
  await sleep(2500)
  await client.publishAsync(topic, 'still here', { qos: 1 })
  return client.take(1)
}))

cell('properties: pass through unchanged', place => using(place, [{}], async client => {
  const topic = place.name('topic')
  await client.subscribeAsync(topic, { qos: 1 })
  await client.publishAsync(topic, 'x', { qos: 1, properties: { userProperties: { a: ['1', '2'], b: '3' }, contentType: 'text/plain', responseTopic: 'r', correlationData: Buffer.from('c'), payloadFormatIndicator: true } })
  await until(() => client.found.length)
  return client.found[0][4]
}), FIVE)

cell('properties: topic alias', place => using(place, [{}, { autoAssignTopicAlias: true }], async (reader, writer) => {
  const topic = place.name('topic')
  await reader.subscribeAsync(topic, { qos: 1 })
  for (const word of ['one', 'two', 'three']) await writer.publishAsync(topic, word, { qos: 1 })
  return reader.take(3)
}), FIVE)

cell('properties: topic alias of the server', place => using(place, [{ properties: { topicAliasMaximum: 5 } }, {}], async (reader, writer) => {
  const topic = place.name('topic')
  await reader.subscribeAsync(topic, { qos: 1 })
  for (const word of ['one', 'two']) await writer.publishAsync(topic, word, { qos: 1 })
  return reader.take(2)
}), FIVE)

cell('properties: of CONNACK', place => using(place, [{}], async client => [client.connack.reasonCode, Object.keys(client.connack.properties ?? {}).sort()]), FIVE)

cell('options: no local, subscription identifiers', place => using(place, [{}, {}], async (client, other) => {
  const topic = place.name('topic')
  await client.subscribeAsync(topic, { qos: 1, nl: true, properties: { subscriptionIdentifier: 42 } })
  await client.publishAsync(topic, 'mine', { qos: 1 })
  await other.publishAsync(topic, 'theirs', { qos: 1 })
  await until(() => client.found.length)
  return [client.found[0][1], client.found[0][4]]
}), FIVE)

cell('options: retain as published, retain handling', place => using(place, [{}, {}], async (client, other) => {
  const topic = place.name('topic')
  await other.publishAsync(topic, 'kept', { qos: 1, retain: true })
  await client.subscribeAsync(topic, { qos: 1, rap: true, rh: 2 })
  await other.publishAsync(topic, 'flagged', { qos: 1, retain: true })
  return client.take(1)
}), FIVE)

cell('shared: subscriptions share the work', place => using(place, [{}, {}, {}], async (one, two, writer) => {
  const topic = place.name('topic')
  for (const each of [one, two]) await each.subscribeAsync(`$share/group/${topic}`, { qos: 1 })
  for (let number = 0; number < 60; number++) await writer.publishAsync(topic, String(number), { qos: 1 })
  await until(() => one.found.length + two.found.length >= 60)
  return [one.found.length + two.found.length, Math.min(one.found.length, two.found.length) > 10]
}), FIVE)

cell('reasons: no matching subscribers', place => using(place, [{}], async client => {
  const packet = await client.publishAsync(place.name('topic'), 'x', { qos: 1 })
  return packet?.reasonCode ?? null
}), FIVE)

cell('transport: WebSocket', async place => {
  const url = `ws://${place.option('websocket', 'the target has no WebSocket listener')}/mqtt`
  return using(place, [{ url }, {}], async (client, other) => {
    const topic = place.name('topic')
    await client.subscribeAsync(topic, { qos: 2 })
    await other.publishAsync(topic, 'x'.repeat(70_000), { qos: 2 })
    await client.publishAsync(topic, 'back', { qos: 2 })
    return (await client.take(2)).map(each => each[1].length)
  })
})

cell('security: user and password', async place => {
  const url = `mqtt://${place.option('users', 'the target was started without users')}`
  const seen = []
  for (const password of [place.options.password, 'wrong']) {
    try {
      const client = await connect(place, { url, username: place.options.user, password })
      seen.push(client.connack.reasonCode ?? client.connack.returnCode)
      await client.endAsync(true)
    } catch (error) { seen.push([error.code, error.message]) }
  }
  return seen
})

run()
