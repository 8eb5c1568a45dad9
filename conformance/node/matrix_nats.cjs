// What nats.js 2 and 3 have in common; each names its own imports.
const { cell, refused, until } = require('./matrix.cjs')

const text = data => new TextDecoder().decode(data)
const bytes = words => new TextEncoder().encode(words)

// The first `count` of an async iterator.
async function take(iterator, count) {
  const found = []
  if (count) for await (const each of iterator) { found.push(each); if (found.length >= count) break }
  return found
}

const told = error => [error.constructor.name, error.code ?? error.api_error?.err_code ?? null, String(error.message).split('\n')[0]]
async function verdict(promise) { try { return await promise } catch (error) { return told(error) } }

module.exports = function natsCells({ connect, headers, jetstream, jetstreamManager, openKv, openObject, AckPolicy, DeliverPolicy }) {
  const withClient = async (place, use, options = {}) => {
    const connection = await connect({ servers: place.address, reconnect: false, ...options })
    try { return await use(connection) } finally { await connection.close() }
  }

  const withStream = (place, config, use) => withClient(place, async connection => {
    const name = place.name('stream')
    const manager = await jetstreamManager(connection)
    await manager.streams.add({ name, subjects: [`${name}.>`], ...config })
    try { return await use({ connection, name, manager, stream: jetstream(connection) }) } finally { await manager.streams.delete(name) }
  })

  cell('core: publish and subscribe', place => withClient(place, async connection => {
    const subject = place.name('subject')
    const subscription = connection.subscribe(subject, { max: 2 })
    connection.publish(subject, bytes('one'))
    connection.publish(subject, bytes(''), { reply: 'an.inbox' })
    return (await take(subscription, 2)).map(each => [each.subject, text(each.data), each.reply ?? null])
  }))

  cell('core: wildcards and queue groups', place => withClient(place, async connection => {
    const root = place.name('root')
    const all = connection.subscribe(`${root}.>`), one = connection.subscribe(`${root}.*`), members = [0, 1].map(() => connection.subscribe(`${root}.>`, { queue: 'q' }))
    for (let number = 0; number < 100; number++) connection.publish(`${root}.${number % 2 ? 'a' : 'a.b'}`, bytes(String(number)))
    await until(() => all.getReceived() === 100)
    await connection.flush()
    const shares = members.map(each => each.getReceived())
    return [one.getReceived(), shares[0] + shares[1], shares.every(share => share > 10)]
  }))

  cell('core: request and reply', place => withClient(place, async connection => {
    const subject = place.name('subject')
    connection.subscribe(subject, { callback: (_, message) => message.respond(bytes(`answer to ${text(message.data)}`)) })
    const answer = await connection.request(subject, bytes('it'), { timeout: 10_000 })
    return [text(answer.data), await verdict(connection.request(place.name('nobody'), bytes(''), { timeout: 10_000 }))]
  }))

  cell('core: requests with many answers', place => withClient(place, async connection => {
    const subject = place.name('subject')
    for (let number = 0; number < 3; number++) connection.subscribe(subject, { callback: (_, message) => message.respond(bytes(String(number))) })
    const found = []
    for await (const each of await connection.requestMany(subject, bytes(''), { strategy: 'count', maxMessages: 3, maxWait: 10_000 })) found.push(text(each.data))
    return found.sort()
  }))

  cell('core: headers', place => withClient(place, async connection => {
    const subject = place.name('subject')
    const subscription = connection.subscribe(subject, { max: 1 })
    const given = headers()
    given.append('A', '1')
    given.append('A', '2')
    given.set('Mixed-Case', 'two words')
    connection.publish(subject, bytes('x'), { headers: given })
    const [found] = await take(subscription, 1)
    return [found.headers.values('A'), found.headers.get('Mixed-Case')]
  }))

  cell('core: drain, unsubscribe', place => withClient(place, async connection => {
    const subject = place.name('subject')
    const subscription = connection.subscribe(subject)
    subscription.unsubscribe(2)
    for (let number = 0; number < 5; number++) connection.publish(subject, bytes(String(number)))
    const found = (await take(subscription, 9)).map(each => text(each.data))
    const drained = connection.subscribe(subject)
    await connection.drain()
    return [found, drained.isClosed(), connection.isClosed()]
  }))

  cell('core: no echo', place => withClient(place, async connection => {
    const subject = place.name('subject')
    const subscription = connection.subscribe(subject)
    connection.publish(subject, bytes('mine'))
    await connection.flush()
    return subscription.getReceived()
  }, { noEcho: true }))

  cell('stream: create, info, update, purge, delete', place => withStream(place, {}, async ({ name, manager, stream }) => {
    for (let number = 0; number < 4; number++) await stream.publish(`${name}.${number % 2}`, bytes('x'))
    const found = await manager.streams.info(name, { subjects_filter: '>' })
    const seen = [found.config.retention, found.config.storage, found.state.messages, found.state.subjects]
    const updated = await manager.streams.update(name, { max_msgs: 3 })
    seen.push(updated.config.max_msgs, (await manager.streams.info(name)).state.messages)
    seen.push((await manager.streams.purge(name, { filter: `${name}.1` })).purged)
    seen.push(await verdict(manager.streams.info(`${name}none`)))
    seen.push(await manager.streams.find(`${name}.x`))
    return seen
  }))

  cell('stream: get and delete messages', place => withStream(place, {}, async ({ name, manager, stream }) => {
    for (let number = 0; number < 4; number++) await stream.publish(`${name}.${number % 2}`, bytes(String(number)))
    const found = await manager.streams.getMessage(name, { last_by_subj: `${name}.1` })
    const seen = [found.subject, found.seq, text(found.data), await manager.streams.deleteMessage(name, 2)]
    return [...seen, (await manager.streams.info(name)).state.messages]
  }))

  cell('publish: acknowledged, deduplicated, expected', place => withStream(place, {}, async ({ name, stream }) => {
    const seen = []
    for (const options of [{ msgID: '1' }, { msgID: '1' }, { expect: { lastSequence: 1 } }, { expect: { lastSequence: 1 } }, { expect: { streamName: 'wrong' } }, { expect: { lastMsgID: 'x' } }]) {
      const answer = await verdict(stream.publish(`${name}.a`, bytes('x'), options))
      seen.push(Array.isArray(answer) ? answer : [answer.seq, answer.duplicate ?? false])
    }
    return seen
  }))

  cell('limits: messages a subject, new ones discarded', place => withStream(place, { max_msgs_per_subject: 1, discard: 'new', discard_new_per_subject: true, max_msgs: 5 }, async ({ name, stream }) => {
    const seen = []
    for (const subject of ['a', 'b', 'a']) {
      const answer = await verdict(stream.publish(`${name}.${subject}`, bytes('x')))
      seen.push(Array.isArray(answer) ? answer : answer.seq)
    }
    return seen
  }))

  cell('stream: work queue', place => withStream(place, { retention: 'workqueue' }, async ({ name, manager, stream }) => {
    await stream.publish(`${name}.a`, bytes('x'))
    await manager.consumers.add(name, { durable_name: 'c', ack_policy: AckPolicy.Explicit })
    const consumer = await stream.consumers.get(name, 'c')
    const message = await consumer.next({ expires: 5000 })
    await message.ackAck()
    return (await manager.streams.info(name)).state.messages
  }))

  cell('consumer: create, info, list, delete', place => withStream(place, {}, async ({ name, manager }) => {
    const made = await manager.consumers.add(name, { durable_name: 'c', ack_policy: AckPolicy.Explicit, filter_subjects: [`${name}.a`, `${name}.b`] })
    const { ack_wait, max_deliver, max_ack_pending, max_waiting, deliver_policy, replay_policy, filter_subjects } = made.config
    const listed = []
    for await (const each of manager.consumers.list(name)) listed.push(each.name)
    const seen = [ack_wait, max_deliver, max_ack_pending, max_waiting, deliver_policy, replay_policy, filter_subjects, made.num_pending, listed]
    return [...seen, await manager.consumers.delete(name, 'c'), await verdict(manager.consumers.info(name, 'c'))]
  }))

  cell('consumer: pause', place => withStream(place, {}, async ({ name, manager, stream }) => {
    await manager.consumers.add(name, { durable_name: 'c', ack_policy: AckPolicy.Explicit })
    const paused = await manager.consumers.pause(name, 'c', new Date(Date.now() + 60_000))
    await stream.publish(`${name}.a`, bytes('x'))
    const consumer = await stream.consumers.get(name, 'c')
    const none = await consumer.next({ expires: 1000 })
    await manager.consumers.resume(name, 'c')
    return [paused.paused, none, text((await consumer.next({ expires: 5000 })).data)]
  }))

  cell('pull: next, fetch and consume', place => withStream(place, {}, async ({ name, manager, stream }) => {
    for (let number = 0; number < 50; number++) await stream.publish(`${name}.a`, bytes(String(number)))
    await manager.consumers.add(name, { durable_name: 'c', ack_policy: AckPolicy.Explicit })
    const consumer = await stream.consumers.get(name, 'c')
    const first = await consumer.next({ expires: 5000 })
    await first.ackAck()
    const seen = [[text(first.data), first.seq, first.info.deliveryCount, first.info.pending]]
    const fetched = []
    for await (const each of await consumer.fetch({ max_messages: 9, expires: 5000 })) { fetched.push(text(each.data)); each.ack() }
    const consumed = []
    const messages = await consumer.consume({ max_messages: 10, expires: 5000 })
    for await (const each of messages) { consumed.push(text(each.data)); each.ack(); if (consumed.length === 40) break }
    return [...seen, fetched, consumed.length, consumed.at(-1)]
  }))

  cell('pull: an ordered consumer', place => withStream(place, {}, async ({ name, stream }) => {
    for (let number = 0; number < 20; number++) await stream.publish(`${name}.${number % 2}`, bytes(String(number)))
    const consumer = await stream.consumers.get(name)
    const found = []
    for await (const each of await consumer.consume()) { found.push(text(each.data)); if (found.length === 20) break }
    return found
  }))

  cell('pull: an ordered consumer that starts later', place => withStream(place, {}, async ({ name, stream }) => {
    for (let number = 0; number < 10; number++) await stream.publish(`${name}.${number % 2}`, bytes(String(number)))
    const consumer = await stream.consumers.get(name, { filterSubjects: `${name}.1`, filter_subjects: [`${name}.1`], opt_start_seq: 5, deliver_policy: DeliverPolicy.StartSequence })
    const found = []
    for await (const each of await consumer.fetch({ max_messages: 3, expires: 5000 })) found.push(text(each.data))
    return found
  }))

  cell('ack: nak, term, working', place => withStream(place, {}, async ({ name, manager, stream }) => {
    for (let number = 0; number < 3; number++) await stream.publish(`${name}.a`, bytes(String(number)))
    await manager.consumers.add(name, { durable_name: 'c', ack_policy: AckPolicy.Explicit })
    const consumer = await stream.consumers.get(name, 'c')
    const found = []
    for await (const each of await consumer.fetch({ max_messages: 3, expires: 5000 })) found.push(each)
    found[0].nak()
    found[1].term('because')
    found[2].working()
    const again = await consumer.next({ expires: 5000 })
    await again.ackAck()
    await found[2].ackAck()
    const info = await consumer.info()
    return [text(again.data), again.info.deliveryCount, info.num_ack_pending, info.ack_floor.stream_seq]
  }))

  cell('stream: direct get', place => withStream(place, { allow_direct: true }, async ({ name, manager, stream }) => {
    for (let number = 0; number < 4; number++) await stream.publish(`${name}.${number % 2}`, bytes(String(number)))
    const one = await manager.direct.getMessage(name, { seq: 2 }), last = await manager.direct.getMessage(name, { last_by_subj: `${name}.0` })
    return [one.subject, text(one.data), text(last.data)]
  }))

  cell('stream: direct get of a batch', place => withStream(place, { allow_direct: true }, async ({ name, manager, stream }) => {
    for (let number = 0; number < 6; number++) await stream.publish(`${name}.${number % 2}`, bytes(String(number)))
    const found = []
    for await (const each of await manager.direct.getBatch(name, { seq: 2, batch: 3 })) found.push(text(each.data))
    return found
  }), '3')

  cell('key-value: put, get, update, delete', place => withClient(place, async connection => {
    const store = await openKv(connection, place.name('bucket'), { history: 3 })
    const seen = [await store.put('k', bytes('1')), await store.create('n', bytes('new')), await verdict(store.create('n', bytes('again')))]
    seen.push(await store.update('k', bytes('2'), 1), await verdict(store.update('k', bytes('3'), 1)))
    const entry = await store.get('k')
    seen.push(text(entry.value), entry.revision)
    await store.delete('k')
    seen.push((await store.get('k'))?.operation, await store.get('none'))
    const operations = []
    for await (const each of await store.history({ key: 'k' })) operations.push(each.operation)
    const keys = []
    for await (const key of await store.keys()) keys.push(key)
    const status = await store.status()
    await store.destroy()
    return [...seen, operations, keys, status.history]
  }))

  cell('key-value: watch', place => withClient(place, async connection => {
    const store = await openKv(connection, place.name('bucket'))
    await store.put('a.1', bytes('old'))
    const watcher = await store.watch({ key: 'a.>' })
    const found = []
    const reading = (async () => { for await (const each of watcher) { found.push([each.key, text(each.value), each.operation]); if (found.length === 3) break } })()
    await until(() => found.length === 1)
    await store.put('a.2', bytes('new'))
    await store.put('b.1', bytes('other'))
    await store.purge('a.1')
    await reading
    await store.destroy()
    return found
  }))

  cell('object store: put, get, delete', place => withClient(place, async connection => {
    const store = await openObject(connection, place.name('bucket'))
    const data = new Uint8Array(400_000).map((_, index) => index % 251)
    const made = await store.putBlob({ name: 'file' }, data)
    const back = await store.getBlob('file')
    const listed = (await store.list()).map(each => each.name)
    const deleted = await store.delete('file')
    const seen = [made.size, made.chunks, made.digest, Buffer.compare(Buffer.from(back), Buffer.from(data)), listed, deleted.success, await store.getBlob('file')]
    await store.destroy()
    return seen
  }))

  cell('account: information', place => withClient(place, async connection => {
    const found = await (await jetstreamManager(connection)).getAccountInfo()
    return [found.limits.max_memory, found.limits.max_storage]
  }))

  cell('security: user and password', async place => {
    const servers = place.option('users', 'the target was started without users'), { user, password } = place.options
    const seen = []
    for (const pass of [password, 'wrong']) {
      try {
        const connection = await connect({ servers, user, pass, reconnect: false })
        seen.push(!connection.isClosed())
        await connection.close()
      } catch (error) { seen.push(told(error)) }
    }
    return seen
  })

}
