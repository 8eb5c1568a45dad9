// ioredis: ready check, pipelines, transactions, pub/sub, streams with groups, blocking, scans. Argument: host:port
const Redis = require("ioredis");
const [host, port] = process.argv[2].split(":");
const connect = () => new (Redis.Redis || Redis)({ host, port: Number(port), connectionName: "io", db: 2 });

async function main() {
  const client = connect();
  await client.flushdb();
  const seen = {};
  seen.set = await client.set("a", "1", "EX", 100);
  seen.pipeline = (await client.pipeline().incr("a").get("a").exec()).map(([error, value]) => error || value);
  seen.multi = (await client.multi().set("b", 1).incr("b").exec()).map(([, value]) => value);
  await client.hset("h", { x: 1, y: 2 });
  seen.hash = await client.hgetall("h");
  seen.zset = await client.zadd("z", 1, "m", 2, "n").then(() => client.zrange("z", 0, -1, "WITHSCORES"));
  await client.xadd("s", "*", "k", "v");
  await client.xgroup("CREATE", "s", "g", "0");
  const got = await client.xreadgroup("GROUP", "g", "me", "COUNT", 10, "STREAMS", "s", ">");
  seen.entries = got[0][1].map(([, fields]) => fields);
  seen.acked = await client.xack("s", "g", got[0][1][0][0]);
  const waiting = connect();
  const taken = waiting.blpop("q", 20);
  await client.rpush("q", "job");
  seen.blpop = await taken;
  const listener = connect();
  const heard = new Promise((resolve) => listener.on("message", (channel, message) => resolve([channel, message])));
  await listener.subscribe("news:io");
  await client.publish("news:io", "hello");
  seen.heard = await heard;
  const keys = [];
  for await (const found of client.scanStream({ match: "*" })) keys.push(...found);
  seen.keys = [...new Set(keys)].sort();
  seen.bits = [await client.setbit("bits", 7, 1), await client.bitcount("bits")];
  seen.geo = await client.geoadd("g", 13.361389, 38.115556, "p").then(() => client.geosearch("g", "FROMLONLAT", 15, 37, "BYRADIUS", 200, "km"));
  seen.error = await client.lpush("a", 1).catch((error) => error.message);
  for (const one of [client, waiting, listener]) one.disconnect();
  console.log(JSON.stringify(seen));
}
main().catch((error) => { console.error(error); process.exit(1); });
