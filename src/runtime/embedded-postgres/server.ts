/** Starts the server on a cluster, after whatever may still run there from an earlier start. */
import { randomBytes } from 'node:crypto'
import { accessSync, closeSync, constants, openSync } from 'node:fs'
import { chown, lstat, mkdir, open, readdir, rename, rm, rmdir, stat, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import type { BoundChild } from '../process/bound-child.ts'
import { findFatal, findReason } from './cluster.ts'
import {
  findPostmasterOwner,
  hasCode,
  inUse,
  isPostmaster,
  isRunning,
  isServing,
  type Owner,
  pidOf,
  processToken,
  readOwner,
  readPostmaster,
  recordSocketOwner,
  socketDirectoryPrefix,
  writeOwner,
} from './owner.ts'
import { startProgram } from './program.ts'
import type { ServerUser } from './user.ts'

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
/** `sun_path` holds 103 bytes on macOS (107 on Linux), and Postgres appends `/.s.PGSQL.` and the port. */
const socketDirectoryBytes = 103 - '/.s.PGSQL.65535'.length
const logBytes = 1024 * 1024
const logTailBytes = 65_536
/** Less than a page of each of a few tables. */
const leastRoomBytes = 256 * 1024

/** A short path of our own, not made yet. The temporary directory may be a long one, and root's closed to others. */
export function chooseSocketDirectory(user: ServerUser | null): string {
  const name = socketDirectoryPrefix + randomBytes(6).toString('hex')
  const usual = join(tmpdir(), name)
  // Postgres takes a list here, which other characters would split.
  const fits = Buffer.byteLength(usual) <= socketDirectoryBytes && /^[\w./-]+$/.test(usual)
  return !user && fits && isWritable(tmpdir()) ? usual : join('/tmp', name)
}

/** A server that runs, and how to find out why it has ended. */
export type Launched = BoundChild & { findCause(): Promise<string | undefined> }

/** Resolves when the server takes connections. @throws StartError with what the server said when it can't run. */
export async function launchServer(options: ServerOptions, signal?: AbortSignal): Promise<Launched> {
  const deadline = Date.now() + replacedWithinMs
  for (;;) {
    await replaceLeftServer(options)
    await reopenSocketDirectory(options)
    const logFile = join(options.dataDirectory, 'postgres.log')
    const logged = await boundLog(logFile)
    const server = spawnServer(options, logFile)
    try {
      if (await isReady(server, options.owner, signal)) {
        // A start that lost the race may have put its own name there.
        await writeOwner(options.ownerFile, options.owner)
        return { ...server, findCause: () => findCause(options, logFile, logged) }
      }
    } catch (error) {
      await server.end()
      throw error
    }
    const output = await readFrom(logFile, logged)
    // Another start was quicker, or sessions of a killed server are still on their way out.
    const taken = /"postmaster\.pid" already exists|pre-existing shared memory block/.test(output)
    if (!taken || Date.now() > deadline) {
      const reason = (await findCause(options, logFile, logged)) ?? findReason(output)
      throw new StartError(explain(output, options, reason ?? `it ended with ${await server.exited}`))
    }
    await delay(50)
  }
}

/**
 * A live server whose owner is gone is stopped (its own shell may be at it already); one that has an owner is left
 * alone. A lock whose pid belongs to some other program by now is removed, since Postgres would believe it.
 * @throws StartError when the cluster belongs to somebody else
 */
async function replaceLeftServer({ dataDirectory, ownerFile, owner, log }: ServerOptions) {
  const begun = Date.now()
  let told = 0
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
      if (told === 0) log.warn('stopping a Postgres that has lost its API', { pid: postmaster.pid })
      // The same steps as the shell's.
      const step = [0, 2000, 4000].filter((after) => waited >= after).length
      if (step > told) kill(postmaster.pid, (['SIGINT', 'SIGQUIT', 'SIGKILL'] as const)[step - 1])
      told = step
    }
    // A machine that failed in the middle of writing it leaves an empty one.
    if (!postmaster.pid && waited > 1000) await rm(join(owner.cluster, 'postmaster.pid'), { force: true })
    if (waited > replacedWithinMs)
      throw new StartError(
        `cannot stop the Postgres that runs on ${owner.cluster} (process ${postmaster.pid})`,
      )
    await delay(20)
  }
}

/** Removes the socket directory of a start that was killed together with its shell. */
export async function removeSocketDirectory(directory: string) {
  if (!basename(directory).startsWith(socketDirectoryPrefix)) return
  const owner = await readOwner(join(directory, 'owner')).catch(() => undefined)
  if (owner && isRunning(owner.process)) return
  try {
    // By name: the path comes from a file.
    for (const name of await readdir(directory))
      if (/^(owner|\.s\.PGSQL\.\d)/.test(name)) await rm(join(directory, name))
    await rmdir(directory)
  } catch {
    // Its own shell was quicker, or it is not ours after all.
  }
}

/** Its shell removes it with the server; a server that is started again keeps the path that clients know. */
async function reopenSocketDirectory({ owner, user }: ServerOptions) {
  try {
    await mkdir(owner.socketDirectory, { mode: 0o700 })
    if (user) await chown(owner.socketDirectory, user.uid, user.gid)
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
    const found = await lstat(owner.socketDirectory)
    if (!found.isDirectory() || found.uid !== (user?.uid ?? process.getuid?.()))
      throw new StartError(`${owner.socketDirectory} was taken by another user`)
  }
  await recordSocketOwner(owner)
}

function spawnServer({ owner, native, user, tcpPort, parameters }: ServerOptions, logFile: string) {
  const settings: Record<string, string> = {
    unix_socket_directories: owner.socketDirectory,
    unix_socket_permissions: '0700',
    listen_addresses: tcpPort === undefined ? '' : '127.0.0.1',
    port: String(owner.port),
    max_connections: '50',
    shared_buffers: '64MB',
    // Bounds the disk that idle data take, and how long a start after a crash recovers.
    min_wal_size: '32MB',
    max_wal_size: '256MB',
    jit: 'off',
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_line_prefix: '%m [%p] %e ',
    // Starts, crashes and refused log-ins. Failed statements would show what people write; the API logs their codes.
    log_min_messages: 'log',
    log_min_error_statement: 'panic',
    log_checkpoints: 'off',
    ...parameters,
  }
  // A file rather than this process's own output: it still has the last words when this process is gone.
  const output = openSync(logFile, 'a', 0o600)
  try {
    return startProgram({
      command: [
        join(native, 'bin/postgres'),
        ...['-D', owner.cluster],
        ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
      ],
      user,
      output,
      socketDirectory: owner.socketDirectory,
    })
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
      throw new StartError(
        `the database did not get ready within ${readyWithinMs / 1000} s: see postgres.log`,
      )
    signal?.throwIfAborted()
    await delay(10)
  }
}

function explain(output: string, { dataDirectory, tcpPort }: ServerOptions, reason: string): string {
  if (tcpPort !== undefined && output.includes('Address already in use'))
    return `port ${tcpPort} on 127.0.0.1, which the database was to listen on, is in use by another program`
  return `the database cannot start: ${reason} (see ${join(dataDirectory, 'postgres.log')})`
}

/**
 * The server's last words before it ended, after `since` in its log. On a full disk it could not even write
 * that down.
 */
async function findCause({ owner, dataDirectory }: ServerOptions, logFile: string, since: number) {
  const { size } = await stat(logFile)
  const output = await readFrom(logFile, Math.max(since, size - logTailBytes))
  const said = findFatal(output)
  if (said !== undefined) return said
  for (const directory of [owner.cluster, dataDirectory]) {
    const { bavail, bsize } = await statfs(directory)
    if (bavail * bsize < leastRoomBytes) return `no room is left on the disk of ${directory}`
  }
  return undefined
}

/** The log grows by a few lines a start. Answers where the next line will be. */
async function boundLog(file: string): Promise<number> {
  const size = await stat(file).then(
    (found) => found.size,
    () => 0,
  )
  if (size < logBytes) return size
  await rename(file, `${file}.1`)
  return 0
}

async function readFrom(path: string, position: number): Promise<string> {
  const file = await open(path)
  try {
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(logTailBytes), position })
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await file.close()
  }
}

function isWritable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK | constants.X_OK)
    return true
  } catch {
    return false
  }
}

function kill(pid: number, signal: NodeJS.Signals | undefined) {
  try {
    if (signal) process.kill(pid, signal)
  } catch {
    // Gone meanwhile.
  }
}
