/**
 * A data directory after a first start, made once for a run of the tests. Tests that do not test a first
 * start copy it to save a second.
 */
import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { promisify } from 'node:util'
import postgres from 'postgres'
import { createLogger } from '../../src/core/log.ts'
import { startEmbeddedPostgres } from '../../src/runtime/embedded-postgres/start.ts'
import { root, temporaryDirectory } from './directories.ts'

/** Has the path of the directory in the processes of the tests. */
const variable = 'TEST_FIRST_START'

/** Returns a function that removes it. */
export async function makeFirstStart() {
  const directory = await temporaryDirectory()
  const server = await startEmbeddedPostgres({
    dataDirectory: directory,
    packageRoot: root,
    log: createLogger('warn'),
    parameters: { fsync: 'off' },
  })
  const sql = postgres({ ...server.connection, max: 1, onnotice: () => {} })
  // A Worker logs in for each request, so the cost of password hashes only delays tests.
  await sql.unsafe('set scram_iterations = 1')
  await sql.unsafe(`alter role current_user password '${server.connection.password}'`)
  await sql.end()
  await server.stop()
  process.env[variable] = directory
  return () => rm(directory, { recursive: true, force: true })
}

/** Does nothing if none was made: the service then makes its first start. */
export async function copyFirstStart(dataDirectory: string) {
  const directory = process.env[variable]
  if (!directory) return
  // A start checks owners and modes, so both are copied.
  await promisify(execFile)('cp', ['-a', `${directory}/.`, dataDirectory])
}
