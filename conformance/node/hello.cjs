// Every stock JavaScript client that the conformance programs use, and its version.
const packages = require('./package.json').dependencies
for (const name of Object.keys(packages)) require(name)
console.log(JSON.stringify(packages))
