// Push, queue and ordered consumers, and asynchronous publishing, by nats.js: node nats_push.cjs <2|3> <host:port>
const [version, address] = process.argv.slice(2)
const text = data => new TextDecoder().decode(data)

function imports() {
  if (version === '2') {
    const { connect, consumerOpts, createInbox, AckPolicy, DeliverPolicy } = require('nats')
    return { connect, consumerOpts, createInbox, AckPolicy, DeliverPolicy, jetstream: c => c.jetstream(), manager: c => c.jetstreamManager() }
  }
  const { connect } = require('@nats-io/transport-node')
  const { createInbox } = require('@nats-io/nats-core')
  const { jetstream, jetstreamManager, AckPolicy, DeliverPolicy } = require('@nats-io/jetstream')
  return { connect, createInbox, AckPolicy, DeliverPolicy, jetstream, manager: jetstreamManager }
}

async function first(messages, count, each = message => text(message.data)) {
  const found = []
  for await (const message of messages) { found.push(each(message)); if (found.length >= count) break }
  return found
}

async function main() {
  const { connect, consumerOpts, createInbox, AckPolicy, DeliverPolicy, jetstream, manager } = imports()
  const client = await connect({ servers: address, reconnect: false })
  const admin = await manager(client), stream = jetstream(client)
  const told = {}
  await admin.streams.add({ name: 'JSP', subjects: ['jsp.>'] })
  const acks = await Promise.all(Array.from({ length: 200 }, (_, n) => stream.publish(`jsp.${n % 2}`, String(n))))
  told.sequences = acks.map(ack => ack.seq).sort((a, b) => a - b).join()
  if (version === '2') {
    const options = consumerOpts()
    options.durable('d'); options.deliverTo(createInbox()); options.manualAck(); options.ackExplicit(); options.filterSubject('jsp.0')
    const subscription = await stream.subscribe('jsp.0', options)
    told.durable = await first(subscription, 100, message => { message.ack(); return [text(message.data), message.info.pending] })
    await client.flush()
    const ordered = consumerOpts()
    ordered.orderedConsumer()
    told.ordered = await first(await stream.subscribe('jsp.1', ordered), 100)
    const queued = consumerOpts()
    queued.durable('w'); queued.queue('w'); queued.deliverTo('jsp-workers'); queued.manualAck(); queued.ackExplicit(); queued.deliverNew()
    const members = [await stream.subscribe('jsp.>', queued)]
    for (let n = 0; n < 5; n++) await stream.publish('jsp.new', String(n))
    told.queue = await first(members[0], 5, message => { message.ack(); return text(message.data) })
  } else {
    await admin.consumers.add('JSP', {
      durable_name: 'd', deliver_subject: createInbox(), ack_policy: AckPolicy.Explicit, filter_subject: 'jsp.0', flow_control: true, idle_heartbeat: 5_000_000_000,
    })
    const pushed = await stream.consumers.getPushConsumer('JSP', 'd')
    told.durable = await first(await pushed.consume(), 100, message => { message.ack(); return [text(message.data), message.info.pending] })
    await client.flush()
    const ordered = await stream.consumers.getPushConsumer('JSP', { filter_subjects: ['jsp.1'], deliver_policy: DeliverPolicy.All })
    told.ordered = await first(await ordered.consume(), 100)
    const bound = await stream.consumers.getBoundPushConsumer(await (async () => {
      const info = await admin.consumers.add('JSP', { durable_name: 'w', deliver_subject: 'jsp-workers', deliver_group: 'w', ack_policy: AckPolicy.Explicit, deliver_policy: DeliverPolicy.New })
      return info.config
    })())
    const messages = await bound.consume()
    for (let n = 0; n < 5; n++) await stream.publish('jsp.new', String(n))
    told.queue = await first(messages, 5, message => { message.ack(); return text(message.data) })
  }
  await client.flush()
  const info = await admin.consumers.info('JSP', 'd')
  told.info = [info.num_pending, info.delivered.stream_seq, info.config.deliver_policy, info.config.filter_subject]
  await admin.streams.delete('JSP')
  await client.close()
  console.log(JSON.stringify(told))
}

main().then(() => process.exit(0), error => { console.error(error); process.exit(1) })
