// mqtt.js as its users run it: node mqtt_client.cjs <url> <protocol version 3, 4 or 5> <prefix of all topics>
const mqtt = require('mqtt');
const [url, version, prefix] = process.argv.slice(2);
const protocolVersion = Number(version);
const more = protocolVersion === 3 ? { protocolId: 'MQIsdp' } : {};
const options = (name, extra = {}) => ({
  protocolVersion, ...more, clientId: `${prefix}-${name}`.slice(0, 23), reconnectPeriod: 0, connectTimeout: 10000, ...extra,
});
const expect = (condition, what) => { if (!condition) throw new Error(what); };

function collect(client) {
  const got = [];
  let wake = () => {};
  client.on('message', (topic, payload, packet) => { got.push({ topic, payload: payload.toString(), packet }); wake(); });
  return async (count) => {
    while (got.length < count) await new Promise((resolve) => { wake = resolve; });
    return got.splice(0, count);
  };
}

async function main() {
  const said = {};
  const sub = await mqtt.connectAsync(url, options('sub'));
  const pub = await mqtt.connectAsync(url, options('pub'));
  const take = collect(sub);
  const granted = await sub.subscribeAsync(`${prefix}/#`, { qos: 2 });
  expect(granted[0].qos === 2, 'granted');

  for (const qos of [0, 1, 2]) {
    const sent = [...Array(100).keys()].map((n) => `${qos}-${n}`);
    await Promise.all(sent.map((payload) => pub.publishAsync(`${prefix}/q/${qos}`, payload, { qos })));
    const got = await take(100);
    expect(got.every((one, n) => one.payload === sent[n] && one.packet.qos === qos), `QoS ${qos}: ${JSON.stringify(got.slice(0, 3))}`);
  }
  said.qos = 300;

  const large = 'x'.repeat(300000);
  await pub.publishAsync(`${prefix}/large`, large, { qos: 1 });
  expect((await take(1))[0].payload === large, 'a large message');

  await pub.publishAsync(`${prefix}/kept`, 'kept', { qos: 1, retain: true });
  await take(1);
  const late = await mqtt.connectAsync(url, options('late'));
  const takeLate = collect(late);
  await late.subscribeAsync(`${prefix}/kept`, { qos: 1 });
  const [kept] = await takeLate(1);
  expect(kept.payload === 'kept' && kept.packet.retain, 'retained');
  await pub.publishAsync(`${prefix}/kept`, '', { qos: 1, retain: true });
  await take(1);
  await late.unsubscribeAsync(`${prefix}/kept`);
  await late.endAsync();

  const dying = await mqtt.connectAsync(url, options('die', { will: { topic: `${prefix}/will`, payload: Buffer.from('gone'), qos: 1, retain: false } }));
  dying.stream.destroy();
  expect((await take(1))[0].payload === 'gone', 'will');

  const clean = protocolVersion === 5 ? { clean: false, properties: { sessionExpiryInterval: 600 } } : { clean: false };
  let away = await mqtt.connectAsync(url, options('away', clean));
  await away.subscribeAsync(`${prefix}/away`, { qos: 1 });
  await away.endAsync();
  for (let n = 0; n < 20; n++) await pub.publishAsync(`${prefix}/away`, `${n}`, { qos: 1 });
  await take(20);
  away = mqtt.connect(url, options('away', clean));
  const takeAway = collect(away);
  const waited = await takeAway(20);
  expect(waited.every((one, n) => one.payload === `${n}`), 'a session that waited');
  await away.endAsync();

  if (protocolVersion === 5) {
    const properties = {
      contentType: 'text/plain', responseTopic: `${prefix}/answer`, correlationData: Buffer.from([1, 2]),
      userProperties: { a: ['1', '2'], b: '3' }, messageExpiryInterval: 100,
    };
    await pub.publishAsync(`${prefix}/properties`, 'x', { qos: 1, properties });
    const told = (await take(1))[0].packet.properties;
    expect(told.contentType === 'text/plain' && told.responseTopic === `${prefix}/answer`, 'properties');
    expect(Buffer.compare(told.correlationData, Buffer.from([1, 2])) === 0, 'correlation data');
    expect(JSON.stringify(told.userProperties) === JSON.stringify({ a: ['1', '2'], b: '3' }), 'user properties');
    said.properties = true;
  }
  await sub.endAsync();
  await pub.endAsync();
  console.log(JSON.stringify(said));
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
