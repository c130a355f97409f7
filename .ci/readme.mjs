// Runs the README's tours like a reader: `npm start`, or another script such as `dev:edge`, in one process
// and the tours' commands in others.
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const script = process.argv[2] ?? 'start'
/** Tours that work with `npm start` only. */
const onlyOnNode = ['notifier']

const readme = readFileSync('README.md', 'utf8')
const tours = [
  ...readme.matchAll(/<!-- tour: (\w+) -->\n```sh\n([\s\S]*?)```\n((?:<!-- expect: .* -->\n)*)/g),
].map(([, name, commands, expectations]) => ({
  name,
  commands,
  expected: [...expectations.matchAll(/<!-- expect: (.*) -->/g)].map(([, text]) => text),
}))
if (tours.length < 3) throw new Error('the README has fewer than three tours')
const selected = tours.filter(({ name }) => script === 'start' || !onlyOnNode.includes(name))

const dataDirectory = mkdtempSync(join(tmpdir(), 'task-api-readme-'))
const api = spawn('npm', ['run', script], {
  env: { ...process.env, DATA_DIR: dataDirectory },
  stdio: ['ignore', 'pipe', 'inherit'],
})
const lines = []
let wake = () => {}
createInterface({ input: api.stdout }).on('line', (line) => {
  lines.push(line)
  wake()
})
api.on('exit', () => wake())

/** Waits for a line of output; resolves with the milliseconds waited, rejects after a minute. */
async function waitForLine(pattern) {
  const startedAt = Date.now()
  while (!lines.some((line) => pattern.test(line))) {
    if (api.exitCode !== null || Date.now() - startedAt > 60_000)
      throw new Error(`npm run ${script} did not print ${pattern}`)
    await new Promise((resolve) => {
      wake = resolve
      setTimeout(resolve, 1000)
    })
  }
  return Date.now() - startedAt
}

let failed = 0
try {
  console.log(`listening after ${await waitForLine(/"listening"/)} ms`)
  for (const { name, commands, expected } of selected) {
    // Without a terminal HTTPie reads its body from standard input.
    const preamble = 'set -euo pipefail\nhttp() { command http --ignore-stdin --print=hb "$@"; }\n'
    const { stdout, status } = spawnSync(
      'bash',
      ['-c', preamble + commands.replaceAll('http --body', 'command http --ignore-stdin --body')],
      {
        encoding: 'utf8',
        env: { ...process.env, DATA_DIR: dataDirectory },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    // Header names are case-insensitive; Node and workerd write them differently.
    const answers = stdout.toLowerCase()
    const missing = expected.filter((text) => !answers.includes(text.toLowerCase()))
    console.log(
      `${name}: exit code ${status}, ${expected.length - missing.length} of ${expected.length} expectations met`,
    )
    if (status !== 0 || missing.length > 0) {
      failed++
      console.log(`${stdout}\nmissing: ${missing.join(' | ')}`)
    }
  }
  console.log(
    `the notifier's lines were printed after ${await waitForLine(/"task completed".*"task_id":2/)} ms`,
  )
} finally {
  api.kill('SIGTERM')
  await new Promise((resolve) => (api.exitCode === null ? api.once('exit', resolve) : resolve()))
}
process.exitCode = failed === 0 && api.exitCode === 0 ? 0 : 1
