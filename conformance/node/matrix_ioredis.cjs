// ioredis.
const Redis = require('ioredis')
const { cell, run, refused, until } = require('./matrix.cjs')

const using = async (place, use, options = {}) => {
  const client = new Redis({ host: place.host, port: place.port, maxRetriesPerRequest: 1, retryStrategy: () => null, ...options })
  client.on('error', () => {})
  try { return await use(client) } finally { client.disconnect() }
}

cell('strings: set and get', place => using(place, async r => {
  const key = place.name('key')
  return [await r.set(key, 'v', 'EX', 100), await r.get(key), await r.incr(key + 'n'), await r.get(key + 'none'), await r.getBuffer(key), await r.del(key)]
}))

cell('strings: many keys at once', place => using(place, async r => {
  const a = place.name('a'), b = place.name('b')
  return [await r.mset({ [a]: 1, [b]: 2 }), await r.mget(a, b, 'none-x'), await r.exists(a, b)]
}))

cell('hashes: fields', place => using(place, async r => {
  const key = place.name('hash')
  return [await r.hset(key, { a: 1, b: 2 }), await r.hgetall(key), await r.hincrby(key, 'a', 5), await r.hgetall(key + 'none')]
}))

cell('lists: push and blocking pop', place => using(place, async r => {
  const key = place.name('list')
  const other = r.duplicate()
  const waiting = other.blpop(key, 20)
  await until(async () => (await r.client('LIST')).includes('cmd=blpop'))
  await r.rpush(key, 'one', 'two')
  const told = [await waiting, await r.lrange(key, 0, -1)]
  other.disconnect()
  return told
}))

cell('sets: members', place => using(place, async r => {
  const key = place.name('set')
  return [await r.sadd(key, 'a', 'b'), (await r.smembers(key)).sort(), await r.sismember(key, 'a'), await r.smismember(key, 'a', 'x')]
}))

cell('sorted sets: scores', place => using(place, async r => {
  const key = place.name('zset')
  return [await r.zadd(key, 1.5, 'a', 2, 'b'), await r.zrange(key, 0, -1, 'WITHSCORES'), await r.zrangebyscore(key, '(1.5', '+inf'), await r.zpopmin(key)]
}))

cell('streams: append, read and groups', place => using(place, async r => {
  const key = place.name('stream')
  const told = [await r.xadd(key, '1-1', 'a', '1'), await r.xrange(key, '-', '+'), await r.xread('STREAMS', key, '0')]
  told.push(await r.xgroup('CREATE', key, 'g', '0'), await r.xreadgroup('GROUP', 'g', 'c', 'STREAMS', key, '>'), await r.xack(key, 'g', '1-1'))
  return told
}))

cell('keys: scan streams', place => using(place, async r => {
  const key = place.name('key')
  for (let number = 0; number < 50; number++) await r.set(`${key}:${number}`, number)
  const found = new Set()
  for await (const names of r.scanStream({ match: `${key}:*`, count: 10 })) names.forEach(name => found.add(name))
  return found.size
}))

cell('keys: expiry', place => using(place, async r => {
  const key = place.name('key')
  await r.set(key, 1, 'PX', 30)
  await until(async () => !(await r.exists(key)))
  return [await r.get(key), await r.ttl(key)]
}))

cell('pub/sub: channels and patterns', place => using(place, async r => {
  const channel = place.name('channel'), found = []
  const subscriber = r.duplicate()
  subscriber.on('message', (name, message) => found.push([name, message]))
  subscriber.on('pmessage', (pattern, name, message) => found.push([pattern, name, message]))
  const told = [await subscriber.subscribe(channel), await subscriber.psubscribe(`${channel}.*`)]
  told.push(await r.publish(channel, 'one'), await r.publish(`${channel}.x`, 'two'))
  await until(() => found.length >= 2)
  told.push(found, await subscriber.unsubscribe(channel))
  subscriber.disconnect()
  return told
}))

cell('pub/sub: keyspace notifications', place => using(place, async r => {
  const key = place.name('key'), found = []
  await r.config('SET', 'notify-keyspace-events', 'KEA')
  const subscriber = r.duplicate()
  subscriber.on('message', (name, message) => found.push([name.split('__:')[0], message]))
  await subscriber.subscribe(`__keyspace@8__:${key}`)
  await r.set(key, 1)
  await r.del(key)
  await until(() => found.length >= 2)
  subscriber.disconnect()
  return found
}, { db: 8 }))

cell('pipelines: and transactions', place => using(place, async r => {
  const key = place.name('key')
  const told = [await r.pipeline().set(key, 1).incr(key).lpush(key, 'x').exec()]
  told.push(await r.multi().set(key, 5).incr(key).exec(), await r.multi({ pipeline: false }), await r.set(key, 7), await r.exec())
  return told
}))

cell('transactions: watch', place => using(place, async r => {
  const key = place.name('key')
  await r.watch(key)
  const other = r.duplicate()
  await other.set(key, 'changed')
  other.disconnect()
  return [await r.multi().set(key, 'mine').exec(), await r.get(key)]
}))

cell('pipelines: automatic', place => using(place, async r => {
  const key = place.name('key')
  return (await Promise.all(Array.from({ length: 200 }, (_, number) => r.incrby(key, number)))).at(-1)
}, { enableAutoPipelining: true }))

cell('scripting: a command of one\'s own', place => using(place, async r => {
  r.defineCommand('addTo', { numberOfKeys: 1, lua: "return redis.call('incrby', KEYS[1], ARGV[1])" })
  return r.addTo(place.name('key'), 5)
}))

cell('connection: ready check, name, database', place => using(place, async r => {
  const key = place.name('key')
  await r.set(key, 'in 6')
  return [await r.client('GETNAME'), r.status, await r.get(key), await using(place, other => other.get(key))]
}, { db: 6, connectionName: 'matrix-io' }))

cell('connection: errors', place => using(place, async r => {
  const key = place.name('key')
  await r.set(key, 'text')
  return [await refused(r.incr(key)), await refused(r.lpush(key, 1)), await refused(r.call('NOSUCH', 'a')), await refused(r.call('GET'))]
}))

cell('connection: commands before it is there', place => using(place, async r => Promise.all([r.ping(), r.set(place.name('k'), 1), r.echo('x')]), { lazyConnect: false }))

cell('server: user and password', async place => {
  const [host, port] = place.option('users', 'the target was started without users').split(':')
  const seen = []
  for (const password of [place.options.password, 'wrong']) {
    seen.push(await using(place, r => r.ping().catch(error => error.message), { host, port: Number(port), username: place.options.user, password }))
  }
  return seen
})

run()
