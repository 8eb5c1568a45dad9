// node-redis: RESP2 and RESP3.
const { createClient } = require('redis')
const { cell, run, refused, until } = require('./matrix.cjs')

const using = async (place, use, options = {}) => {
  const client = createClient({ socket: { host: place.host, port: place.port, reconnectStrategy: false }, RESP: Number(place.variant.slice(-1)), ...options })
  client.on('error', () => {})
  await client.connect()
  try { return await use(client) } finally { client.destroy() }
}

cell('strings: set and get', place => using(place, async r => {
  const key = place.name('key')
  return [await r.set(key, 'v', { expiration: { type: 'EX', value: 100 } }), await r.get(key), await r.incr(key + 'n'), await r.get(key + 'none'), await r.del(key)]
}))

cell('strings: many keys at once', place => using(place, async r => {
  const a = place.name('a'), b = place.name('b')
  return [await r.mSet({ [a]: '1', [b]: '2' }), await r.mGet([a, b, 'none-x']), await r.exists([a, b])]
}))

cell('hashes: fields', place => using(place, async r => {
  const key = place.name('hash')
  return [await r.hSet(key, { a: 1, b: 2 }), { ...await r.hGetAll(key) }, await r.hIncrBy(key, 'a', 5)]
}))

cell('lists: push and blocking pop', place => using(place, async r => {
  const key = place.name('list')
  const other = r.duplicate()
  await other.connect()
  const waiting = other.blPop(key, 20)
  await until(async () => (await r.sendCommand(['CLIENT', 'LIST'])).includes('cmd=blpop'))
  await r.rPush(key, ['one', 'two'])
  const told = [await waiting, await r.lRange(key, 0, -1)]
  other.destroy()
  return told
}))

cell('sets: members', place => using(place, async r => {
  const key = place.name('set')
  return [await r.sAdd(key, ['a', 'b']), [...await r.sMembers(key)].sort(), await r.sIsMember(key, 'a')]
}))

cell('sorted sets: scores', place => using(place, async r => {
  const key = place.name('zset')
  return [await r.zAdd(key, [{ score: 1.5, value: 'a' }, { score: 2, value: 'b' }]), await r.zRangeWithScores(key, 0, -1), await r.zScore(key, 'a'), await r.zPopMax(key)]
}))

cell('streams: append, read and groups', place => using(place, async r => {
  const key = place.name('stream')
  const told = [await r.xAdd(key, '1-1', { a: '1' }), await r.xRange(key, '-', '+'), await r.xGroupCreate(key, 'g', '0')]
  return [...told, await r.xReadGroup('g', 'c', { key, id: '>' }), await r.xAck(key, 'g', '1-1')]
}))

cell('keys: scan', place => using(place, async r => {
  const key = place.name('key')
  for (let number = 0; number < 50; number++) await r.set(`${key}:${number}`, String(number))
  const found = new Set()
  for await (const names of r.scanIterator({ MATCH: `${key}:*`, COUNT: 10 })) for (const name of [names].flat()) found.add(name)
  return found.size
}))

cell('pub/sub: channels and patterns', place => using(place, async r => {
  const channel = place.name('channel'), found = []
  const subscriber = r.duplicate()
  await subscriber.connect()
  await subscriber.subscribe(channel, (message, name) => found.push([name, message]))
  await subscriber.pSubscribe(`${channel}.*`, (message, name) => found.push([name, message]))
  const told = [await r.publish(channel, 'one'), await r.publish(`${channel}.x`, 'two')]
  await until(() => found.length >= 2)
  await subscriber.unsubscribe(channel)
  told.push(found, await r.publish(channel, 'three'))
  subscriber.destroy()
  return told
}))

cell('transactions: multi', place => using(place, async r => {
  const key = place.name('key')
  const told = [await r.multi().set(key, '1').incr(key).get(key).exec()]
  told.push(await refused(r.multi().set(key, 'text').incr(key).exec()))
  return told
}))

cell('transactions: watch', place => using(place, async r => {
  const key = place.name('key')
  await r.watch(key)
  const other = r.duplicate()
  await other.connect()
  await other.set(key, 'changed')
  other.destroy()
  return [await refused(r.multi().set(key, 'mine').exec()), await r.get(key)]
}))

cell('pipelines: automatic', place => using(place, async r => {
  const key = place.name('key')
  return (await Promise.all(Array.from({ length: 200 }, (_, number) => r.incrBy(key, number)))).at(-1)
}))

cell('scripting: eval', place => using(place, r => r.eval("return redis.call('incrby', KEYS[1], ARGV[1])", { keys: [place.name('key')], arguments: ['5'] })))

cell('connection: handshake', place => using(place, async r => {
  const key = place.name('key')
  await r.set(key, 'in 5')
  return [await r.clientGetName(), await r.get(key), await using(place, other => other.get(key)), await r.ping()]
}, { name: 'matrix-node', database: 5 }))

cell('connection: errors', place => using(place, async r => {
  const key = place.name('key')
  await r.set(key, 'text')
  return [await refused(r.incr(key)), await refused(r.lPush(key, '1')), await refused(r.sendCommand(['NOSUCH', 'a'])), await refused(r.sendCommand(['GET']))]
}))

cell('server: info and config', place => using(place, async r => {
  const info = await r.info('server')
  return [info.includes('redis_version'), { ...await r.configGet('databases') }, typeof (await r.dbSize())]
}))

cell('server: client-side caching', place => using(place, async r => {
  const key = place.name('key')
  return [await r.set(key, 'v'), await r.get(key), await r.get(key)]
}, { clientSideCache: { ttl: 0, maxEntries: 10 } }), 'RESP3')

cell('server: user and password', async place => {
  const [host, port] = place.option('users', 'the target was started without users').split(':')
  const seen = []
  for (const password of [place.options.password, 'wrong']) {
    try { seen.push(await using(place, r => r.ping(), { socket: { host, port: Number(port), reconnectStrategy: false }, username: place.options.user, password })) } catch (error) { seen.push(error.message) }
  }
  return seen
})

run()
