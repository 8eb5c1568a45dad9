// The cells of one JavaScript client: what conformance/matrix/cells.py and column.py are for Python.
//
//     const { cell, run, until } = require('./matrix.cjs')
//     cell('strings: set and get', async place => [await ...])
//     run()
//
// `node program.cjs ADDRESS VARIANT OPTIONS ONLY` prints {"version", "features"}, then a line of JSON for each cell as it ends.
const crypto = require('node:crypto')
const CELL_MS_MAX = 60_000
const MESSAGE_CHARS = 300
const programs = new Map()

class Skip extends Error {}

class Place {
  constructor(address, variant, options) {
    Object.assign(this, { address, variant, options, names: new Map() })
    const at = address.lastIndexOf(':')
    this.host = address.slice(0, at)
    this.port = Number(address.slice(at + 1))
  }

  name(label = 'name') {
    const made = `${label}x${crypto.randomBytes(5).toString('hex')}`
    this.names.set(made, label)
    return made
  }

  option(name, why) {
    if (!this.options[name]) throw new Skip(why)
    return this.options[name]
  }

  told(text) {
    for (const [made, label] of this.names) text = text.replaceAll(made, label)
    return text.replaceAll(this.address, 'server')
  }
}

function plain(value) {
  if (value === undefined || value === null) return null
  if (value instanceof Error) return saidBy(value)
  if (Buffer.isBuffer(value) || value instanceof Uint8Array) return Buffer.from(value).toString()
  if (typeof value === 'bigint') return Number(value)
  if (Array.isArray(value)) return value.map(plain)
  if (value instanceof Map) return plain(Object.fromEntries(value))
  if (value instanceof Set) return [...value].map(plain).sort()
  if (typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]))
  return value
}

const saidBy = error => `${error.constructor?.name ?? 'Error'}: ${String(error.message ?? error).split('\n')[0]}`.slice(0, MESSAGE_CHARS)

function cell(feature, program, ...variants) {
  if (programs.has(feature)) throw new Error(`${feature} twice`)
  programs.set(feature, { program, variants })
}

// What a promise is refused with; it must be refused.
async function refused(promise) {
  let value
  try { value = await promise } catch (error) { return saidBy(error) }
  throw new Error(`not refused: ${JSON.stringify(value)}`)
}

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

async function until(holds, ms = 30_000) {
  const deadline = Date.now() + ms
  for (;;) {
    const found = await holds()
    if (found || Date.now() > deadline) return found
    await sleep(10)
  }
}

async function runCell(feature, place) {
  const began = performance.now()
  const tell = (status, observed) => console.log(JSON.stringify({ feature, status, observed, seconds: (performance.now() - began) / 1000 }))
  let timer
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`did not end within ${CELL_MS_MAX / 1000} s`)), CELL_MS_MAX) })
  try {
    const value = await Promise.race([programs.get(feature).program(place), late])
    tell('passed', JSON.parse(place.told(JSON.stringify(plain(value)))))
  } catch (error) {
    if (error instanceof Skip) tell('skipped', error.message)
    else tell('failed', place.told(saidBy(error)))
  } finally { clearTimeout(timer) }
}

async function run(together = 4) {
  const [address, variant = '', options = '{}', only = ''] = process.argv.slice(2)
  process.on('unhandledRejection', () => {})  // a client's own, of a connection that a cell broke
  process.on('uncaughtException', () => {})
  const { version } = JSON.parse(require('node:fs').readFileSync(`${process.env.NODE_PATH}/${process.env.PACKAGE}/package.json`))
  const features = [...programs].filter(([name, { variants }]) => name.includes(only) && (!variants.length || variants.includes(variant))).map(([name]) => name)
  console.log(JSON.stringify({ version, features }))
  const left = [...features]
  const work = async () => { while (left.length) await runCell(left.shift(), new Place(address, variant, JSON.parse(options))) }
  await Promise.all(Array.from({ length: together }, work))
  process.exit(0)
}

module.exports = { cell, run, refused, until, sleep, Skip, saidBy }
