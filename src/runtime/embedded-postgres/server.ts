/** Starts the server on a cluster, after ending one that an earlier start may have left running. */
import { closeSync, openSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import type { BoundChild } from '../process/bound-child.ts'
import {
  findPostmasterOwner,
  inUse,
  isPostmaster,
  isRunning,
  isServing,
  type Owner,
  pidOf,
  processToken,
  readPostmaster,
  writeOwner,
} from './owner.ts'
import { findCause, findReason, readFrom, rotateLog } from './server-log.ts'
import { reopenSocketDirectory } from './socket-directory.ts'
import { type ServerUser, startProgram } from './user.ts'

export type ServerOptions = {
  dataDirectory: string
  ownerFile: string
  owner: Owner
  native: string
  user: ServerUser | null
  tcpPort: number | undefined
  parameters: Record<string, string>
  log: Logger
}

const readyWithinMs = 120_000
const replacedWithinMs = 15_000

/** A running server; `findCause` finds out why it has ended. */
export type Launched = BoundChild & { findCause(): Promise<string | undefined> }

/** Resolves when the server takes connections. @throws StartError with the server's own reason */
export async function launchServer(options: ServerOptions, signal?: AbortSignal): Promise<Launched> {
  const deadline = Date.now() + replacedWithinMs
  for (;;) {
    await replaceLeftServer(options)
    await reopenSocketDirectory(options.owner, options.user)
    const logFile = join(options.dataDirectory, 'postgres.log')
    const logged = await rotateLog(logFile)
    const server = spawnServer(options, logFile)
    const findEnd = () => findCause(logFile, logged, [options.owner.cluster, options.dataDirectory])
    try {
      if (await isReady(server, options.owner, signal)) {
        // A start that lost the race may have written its own record.
        await writeOwner(options.ownerFile, options.owner)
        return { ...server, findCause: findEnd }
      }
    } catch (error) {
      await server.end()
      throw error
    }
    const output = await readFrom(logFile, logged)
    // Another start was quicker, or sessions of a killed server are still ending.
    const taken = /"postmaster\.pid" already exists|pre-existing shared memory block/.test(output)
    if (!taken || Date.now() > deadline) {
      const reason = (await findEnd()) ?? findReason(output)
      throw new StartError(explain(output, options, reason ?? `it ended with ${await server.exited}`))
    }
    await delay(50)
  }
}

/**
 * Stops a live server whose owner is gone (its own shell may be doing so already). Removes a lock whose pid
 * belongs to another program by now, since Postgres would believe it.
 * @throws StartError when the server has a live owner, or was not started by this program
 */
async function replaceLeftServer({ dataDirectory, ownerFile, owner, log }: ServerOptions) {
  const begun = Date.now()
  let signals = 0
  for (;;) {
    const postmaster = await readPostmaster(owner.cluster)
    const waited = Date.now() - begun
    if (!postmaster) return
    if (postmaster.pid && !processToken(postmaster.pid)) return
    if (postmaster.pid && !isPostmaster(postmaster.pid, owner.cluster)) {
      await rm(join(owner.cluster, 'postmaster.pid'), { force: true })
      return
    }
    if (postmaster.pid && postmaster.socketDirectory) {
      const found = await findPostmasterOwner(postmaster, ownerFile)
      if (found === 'foreign')
        throw new StartError(
          `a Postgres that this API did not start runs on ${owner.cluster} (process ${postmaster.pid}): stop it first`,
        )
      if (found && found.id !== owner.id && isRunning(found.process))
        throw inUse(dataDirectory, pidOf(found.process))
      if (signals === 0) log.warn('stopping a Postgres that has lost its API', { pid: postmaster.pid })
      // The steps of the shell.
      const step = [0, 2000, 4000].filter((after) => waited >= after).length
      if (step > signals) kill(postmaster.pid, (['SIGINT', 'SIGQUIT', 'SIGKILL'] as const)[step - 1])
      signals = step
    }
    // A machine that fails while it is written leaves an empty lock.
    if (!postmaster.pid && waited > 1000) await rm(join(owner.cluster, 'postmaster.pid'), { force: true })
    if (waited > replacedWithinMs)
      throw new StartError(`cannot stop the Postgres on ${owner.cluster} (process ${postmaster.pid})`)
    await delay(20)
  }
}

function spawnServer({ owner, native, user, tcpPort, parameters }: ServerOptions, logFile: string) {
  const settings: Record<string, string> = {
    unix_socket_directories: owner.socketDirectory,
    unix_socket_permissions: '0700',
    listen_addresses: tcpPort === undefined ? '' : '127.0.0.1',
    port: String(owner.port),
    max_connections: '50',
    shared_buffers: '64MB',
    // Bounds the disk space of idle data, and the recovery after a crash.
    min_wal_size: '32MB',
    max_wal_size: '256MB',
    jit: 'off',
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_line_prefix: '%m [%p] %e ',
    // Starts, crashes and refused log-ins, without failed statements, which would show users' text.
    log_min_messages: 'log',
    log_min_error_statement: 'panic',
    log_checkpoints: 'off',
    ...parameters,
  }
  // A file rather than this process's output: it has the last messages also when this process is gone.
  const output = openSync(logFile, 'a', 0o600)
  try {
    const parameters = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const command = [join(native, 'bin/postgres'), '-D', owner.cluster, ...parameters] as const
    return startProgram([...command], user, { output, removedAtEnd: owner.socketDirectory })
  } finally {
    closeSync(output)
  }
}

/** False when the server ended first. */
async function isReady(server: BoundChild, owner: Owner, signal?: AbortSignal) {
  const deadline = Date.now() + readyWithinMs
  for (;;) {
    if (server.hasExited()) return false
    if (await isServing(owner)) return true
    if (Date.now() > deadline)
      throw new StartError(`the database is not ready after ${readyWithinMs / 1000} s: see postgres.log`)
    signal?.throwIfAborted()
    await delay(10)
  }
}

function explain(output: string, { dataDirectory, tcpPort }: ServerOptions, reason: string): string {
  if (tcpPort !== undefined && output.includes('Address already in use'))
    return `port ${tcpPort} on 127.0.0.1, which the database was to listen on, is in use by another program`
  return `the database cannot start: ${reason} (see ${join(dataDirectory, 'postgres.log')})`
}

function kill(pid: number, signal: NodeJS.Signals | undefined) {
  try {
    if (signal) process.kill(pid, signal)
  } catch {
    // Gone meanwhile.
  }
}
