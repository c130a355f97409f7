/** `npm run load` leaves no process, for every way of ending. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { expect, test, vi } from 'vitest'
import { isRunning } from '../../src/runtime/embedded-postgres/owner.ts'
import { root } from '../support/directories.ts'
import { type Descendant, descendantsOf } from '../support/processes.ts'

/** Resolves when its API serves. */
async function startLoad(secondsOfRound: number) {
  const command = ['scripts/run.mjs', 'bench/load.ts', String(secondsOfRound), '2']
  const child = spawn(process.execPath, command, { cwd: root, stdio: ['ignore', 'pipe', 'ignore'] })
  const exited = once(child, 'exit')
  // The first line is printed when the API answers and the users are registered.
  await once(createInterface({ input: child.stdout }), 'line')
  const started: Descendant[] = descendantsOf(child)
  expect(started.some(({ command }) => command.includes('dist/api.js'))).toBe(true)
  return { child, exited, started }
}

const left = (started: Descendant[]) => started.filter(({ token }) => isRunning(token))
const patience = { timeout: 60_000, interval: 100 }

test('when its output is closed', async () => {
  // With rounds of a second it soon prints, and notices the closed output.
  const { child, exited, started } = await startLoad(1)
  child.stdout.destroy()
  expect(await exited).toEqual([1, null])
  await vi.waitFor(() => expect(left(started)).toEqual([]), patience)
})

test('on SIGTERM', async () => {
  const { child, exited, started } = await startLoad(3600)
  child.kill('SIGTERM')
  expect(await exited).toEqual([1, null])
  await vi.waitFor(() => expect(left(started)).toEqual([]), patience)
})
