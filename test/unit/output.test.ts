/** Log lines are written together, turn by turn, and before an exit. Each script runs in its own process. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { root } from '../support/directories.ts'

const directory = mkdtempSync(join(tmpdir(), 'task-api-output-'))
const library = join(directory, 'output.mjs')
afterAll(() => rmSync(directory, { recursive: true, force: true }))

beforeAll(async () => {
  await build({
    entryPoints: [join(root, 'src/runtime/process/output.ts')],
    outfile: library,
    bundle: true,
    platform: 'node',
    format: 'esm',
  })
})

/** `before` are commands of the shell that starts the script. */
function run(script: string, { before = '', to = '' } = {}) {
  const code = `import { linesLost, logOnOutput } from ${JSON.stringify(library)}
    const print = logOnOutput()
    ${script}`
  const command = `${before} exec "$0" --input-type=module -e "$1" ${to}`
  const { stdout, stderr, status, signal } = spawnSync('/bin/sh', ['-c', command, process.execPath, code], {
    encoding: 'utf8',
    timeout: 60_000,
  })
  return { lines: stdout.split('\n').slice(0, -1), stderr, status, signal }
}

test.runIf(process.platform === 'linux')('the lines of a turn are one write, in their order', () => {
  const { lines, stderr } = run(`
    import { readFileSync } from 'node:fs'
    import { setImmediate as turn } from 'node:timers/promises'
    const writes = () => Number(/syscw: (\\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))[1])
    print('first')
    await turn()
    const before = writes()
    for (let i = 0; i < 200; i++) i % 2 ? console.log(i) : print(String(i))
    await turn()
    console.error(writes() - before)`)
  expect(lines).toEqual(['first', ...Array.from({ length: 200 }, (_, i) => String(i))])
  // Node itself writes now and then, to wake its own threads.
  expect(Number(stderr)).toBeLessThan(50)
})

describe('nothing is lost at', () => {
  const many = `for (let i = 0; i < 500; i++) print('line ' + i)`
  const expected = Array.from({ length: 500 }, (_, i) => `line ${i}`)

  test.each([
    ['the natural end', many, { status: 0, signal: null }],
    ['an exit', `${many}; process.exit(3)`, { status: 3, signal: null }],
    [
      'an exit from a signal',
      `process.on('SIGTERM', () => { ${many}; process.exit(4) })
      setInterval(() => {}, 1000); process.kill(process.pid)`,
      { status: 4, signal: null },
    ],
    ['an uncaught error', `${many}; throw new Error('crash')`, { status: 1, signal: null }],
    [
      'a rejection that nobody handles',
      `${many}; Promise.reject(new Error('crash')); await new Promise((resolve) => setTimeout(resolve, 10_000))`,
      { status: 1, signal: null },
    ],
    [
      'an exit, when a listener of the exit prints',
      `process.on('exit', () => { ${many} }); process.exit()`,
      { status: 0, signal: null },
    ],
  ])('%s', (_, script, ending) => {
    const { lines, status, signal } = run(script)
    expect({ lines, status, signal }).toEqual({ lines: expected, ...ending })
  })
})

test('a batch that is written in part counts the rest as lost', () => {
  const file = join(directory, 'limited')
  const { stderr } = run(
    `import { setImmediate as turn } from 'node:timers/promises'
    for (let i = 0; i < 1000; i++) print('line '.padEnd(100, 'x'))
    await turn()
    console.error(linesLost())`,
    { before: 'ulimit -f 8;', to: `>'${file}'` },
  )
  const written = readFileSync(file, 'utf8')
  expect(written.length).toBeGreaterThan(0)
  expect(Number(stderr) + written.split('\n').length - 1).toBe(1000)
})
