// nats.js 2: the package `nats`.
const nats = require('nats')
const { run } = require('./matrix.cjs')

require('./matrix_nats.cjs')({
  ...nats,
  jetstream: connection => connection.jetstream(),
  jetstreamManager: connection => connection.jetstreamManager(),
  openKv: (connection, name, options) => connection.jetstream().views.kv(name, options),
  openObject: (connection, name) => connection.jetstream().views.os(name),
})
run()
