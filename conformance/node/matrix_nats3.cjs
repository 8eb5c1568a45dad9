// nats.js 3: the packages `@nats-io/*`.
const { connect, headers } = require('@nats-io/transport-node')
const { jetstream, jetstreamManager, AckPolicy, DeliverPolicy } = require('@nats-io/jetstream')
const { Kvm } = require('@nats-io/kv')
const { Objm } = require('@nats-io/obj')
const { run } = require('./matrix.cjs')

require('./matrix_nats.cjs')({
  connect, headers, jetstream, jetstreamManager, AckPolicy, DeliverPolicy,
  openKv: (connection, name, options) => new Kvm(connection).create(name, options),
  openObject: (connection, name) => new Objm(connection).create(name),
})
run()
