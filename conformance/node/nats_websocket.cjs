// nats.js over WebSocket: node nats_websocket.cjs <ws url>
globalThis.WebSocket = require('ws');
const { wsconnect } = require('@nats-io/nats-core');

async function main() {
  const url = process.argv[2];
  const one = await wsconnect({ servers: url, reconnect: false });
  const other = await wsconnect({ servers: url, reconnect: false });
  const sub = other.subscribe('ws.>', { max: 201 });
  other.subscribe('ask', { callback: (_, message) => message.respond(`re: ${message.string()}`) });
  await other.flush();
  const large = 'x'.repeat(500000);
  for (let n = 0; n < 200; n++) one.publish(`ws.${n}`, `${n}`);
  one.publish('ws.large', large);
  const got = [];
  for await (const message of sub) got.push(message.string());
  const answer = (await one.request('ask', 'what', { timeout: 10000 })).string();
  const whole = got.length === 201 && got.slice(0, 200).every((one, n) => one === `${n}`) && got[200] === large;
  await one.close();
  await other.close();
  console.log(JSON.stringify({ whole, answer }));
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
