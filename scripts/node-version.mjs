// Imported first, because modules that need a newer Node fail with misleading errors.
import { readFileSync } from 'node:fs'

const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
const oldest = engines.node.replace('>=', '')
const { node } = process.versions
if (node.localeCompare(oldest, 'en', { numeric: true }) < 0) {
  console.error(`Node ${oldest} or newer is needed; this is Node ${node}.`)
  process.exit(1)
}
