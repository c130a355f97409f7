// Imported first, because modules that need a newer Node fail with misleading errors.
const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`Node 20.19 or newer is needed; this is Node ${process.versions.node}.`)
  process.exit(1)
}
