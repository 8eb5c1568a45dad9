// node-redis: RESP2 and RESP3, pipelines, transactions, pub/sub, streams with groups, blocking, scans. Arguments: host:port, 2 or 3
const { createClient } = require("redis");
const options = { url: `redis://${process.argv[2]}/3`, RESP: Number(process.argv[3]), name: "node" };

async function main() {
  const client = await createClient(options).connect();
  await client.flushDb();
  const seen = {};
  seen.set = await client.set("a", "1", { EX: 100 });
  seen.pipeline = await Promise.all([client.incr("a"), client.get("a")]);
  seen.multi = await client.multi().set("b", 1).incr("b").exec();
  await client.hSet("h", { x: 1, y: 2 });
  seen.hash = { ...(await client.hGetAll("h")) };
  await client.zAdd("z", [{ score: 1, value: "m" }, { score: 2, value: "n" }]);
  seen.zset = (await client.zRangeWithScores("z", 0, -1)).map(({ value, score }) => [value, score]);
  await client.xAdd("s", "*", { k: "v" });
  await client.xGroupCreate("s", "g", "0");
  const got = await client.xReadGroup("g", "me", { key: "s", id: ">" }, { COUNT: 10 });
  const stream = Array.isArray(got) ? got[0].messages : Object.values(got)[0];
  seen.entries = stream.map((entry) => ({ ...entry.message }));
  seen.acked = await client.xAck("s", "g", stream[0].id);
  const waiting = await client.duplicate().connect();
  const taken = waiting.blPop("q", 20);
  await client.rPush("q", "job");
  seen.blpop = (await taken).element;
  const listener = await client.duplicate().connect();
  const heard = new Promise((resolve) => listener.subscribe("news:node", (message, channel) => resolve([channel, message])).then(() => client.publish("news:node", "hello")));
  seen.heard = await heard;
  const keys = [];
  for await (const found of client.scanIterator({ MATCH: "*" })) keys.push(...[].concat(found));
  seen.keys = [...new Set(keys)].sort();
  seen.geo = await client.geoAdd("g", { longitude: 13.361389, latitude: 38.115556, member: "p" }).then(() => client.geoSearch("g", { longitude: 15, latitude: 37 }, { radius: 200, unit: "km" }));
  seen.error = await client.lPush("a", "1").catch((error) => error.message);
  for (const one of [client, waiting, listener]) one.destroy();
  console.log(JSON.stringify(seen));
}
main().catch((error) => { console.error(error); process.exit(1); });
