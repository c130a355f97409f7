/**
 * A data directory as a first start leaves it, made once for a run of the tests and copied by those to which a first start
 * is nothing but its second of waiting.
 */
import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { promisify } from 'node:util'
import postgres from 'postgres'
import { createLogger } from '../../src/core/log.ts'
import { startEmbeddedPostgres } from '../../src/runtime/embedded-postgres/start.ts'
import { root, temporaryDirectory } from './directories.ts'

/** Names it to the tests' processes. */
const variable = 'TEST_FIRST_START'

/** Answers how to remove it. */
export async function makeFirstStart() {
  const directory = await temporaryDirectory()
  const server = await startEmbeddedPostgres({
    dataDirectory: directory,
    packageRoot: root,
    log: createLogger('warn'),
    parameters: { fsync: 'off' },
  })
  const sql = postgres({ ...server.connection, max: 1, onnotice: () => {} })
  // A Worker logs in for each request; what makes a stolen hash of the password costly is nothing but a delay here.
  await sql.unsafe('set scram_iterations = 1')
  await sql.unsafe(`alter role current_user password '${server.connection.password}'`)
  await sql.end()
  await server.stop()
  process.env[variable] = directory
  return () => rm(directory, { recursive: true, force: true })
}

/** Does nothing where none was made: the first start is then to come. */
export async function copyFirstStart(dataDirectory: string) {
  const directory = process.env[variable]
  if (!directory) return
  // Owners and modes are kept: both are checked at a start.
  await promisify(execFile)('cp', ['-a', `${directory}/.`, dataDirectory])
}
