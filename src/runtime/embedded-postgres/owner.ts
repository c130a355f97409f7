/** Ownership of a data directory: identities of processes, the owner file, and Postgres's own lock file. */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { link, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { StartError } from '../../core/start-error.ts'
import { hasCode, readIfThere } from '../process/files.ts'

/** `<pid>.<start>`, since the system reuses pids. */
export type ProcessToken = string

export type Owner = {
  process: ProcessToken
  /** Tells two starts of one process apart. */
  id: string
  /** The server's data, not always below the directory that holds this file. */
  cluster: string
  socketDirectory: string
  port: number
}

/** Content of `postmaster.pid`; `socketDirectory` is empty until the server has opened its socket. */
export type Postmaster = { pid: number; port: number; socketDirectory: string; ready: boolean }

export const socketDirectoryPrefix = 'task-api-'
const ownerRecord = 'owner'

/** Undefined when no such process runs, or only its zombie. */
export function processToken(pid: number): ProcessToken | undefined {
  if (process.platform !== 'linux') {
    const [state, start] = ps(pid, 'stat=', 'lstart=')
    return state && start && !state.startsWith('Z')
      ? `${pid}.${Date.parse(`${start} UTC`) / 1000}`
      : undefined
  }
  const stat = readText(`/proc/${pid}/stat`)
  // The second field is the program's name in parentheses, which may contain parentheses.
  const [state, ...fields] = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? []
  if (!state || 'ZX'.includes(state)) return undefined
  const boot = readText('/proc/sys/kernel/random/boot_id')?.slice(0, 8) ?? '0'
  return `${pid}.${boot}-${fields[18]}`
}

export const pidOf = (token: ProcessToken) => Number.parseInt(token, 10)
export const isRunning = (token: ProcessToken) => processToken(pidOf(token)) === token

export const ownToken = () => processToken(process.pid) ?? `${process.pid}.0`

/** A name beside `path` that contains its maker, so that `removeLeftovers` finds what nobody will finish. */
export const temporaryName = (path: string) => `${path}.new.${ownToken()}.${randomBytes(4).toString('hex')}`

export async function removeLeftovers(directory: string) {
  for (const name of await readdir(directory)) {
    const maker = /\.new\.(\d+\.[\w-]+)\.\w+$/.exec(name)?.[1]
    // With retries, since a killed initdb may go on writing for a moment.
    if (maker && !isRunning(maker))
      await rm(join(directory, name), { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  }
}

export function inUse(dataDirectory: string, pid: number): StartError {
  return new StartError(
    `DATA_DIR ${dataDirectory} is in use by process ${pid}: stop that one, or set another DATA_DIR`,
  )
}

export async function readOwner(file: string): Promise<Owner | undefined> {
  try {
    const owner: Partial<Owner> = JSON.parse(await readFile(file, 'utf8'))
    const { process, id, cluster, socketDirectory, port } = owner
    if (!process || !id || !cluster || !socketDirectory || !port) return undefined
    return { process, id, cluster, socketDirectory, port }
  } catch (error) {
    if (error instanceof SyntaxError || hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}

/**
 * Writes the owner's record, or throws if another owner runs. Returns a dead owner's record. Two starts that
 * take over from one dead owner at the same instant may both pass; then Postgres's own lock decides (see
 * `findPostmasterOwner`).
 */
export async function claimOwnership(file: string, owner: Owner, dataDirectory: string) {
  const temporary = temporaryName(file)
  await writeFile(temporary, JSON.stringify(owner), { mode: 0o600 })
  try {
    await link(temporary, file)
    return undefined
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
    const other = await readOwner(file)
    if (other && isRunning(other.process)) throw inUse(dataDirectory, pidOf(other.process))
    await rename(temporary, file)
    return other
  } finally {
    await rm(temporary, { force: true })
  }
}

export async function writeOwner(file: string, owner: Owner) {
  const temporary = temporaryName(file)
  await writeFile(temporary, JSON.stringify(owner), { mode: 0o600 })
  await rename(temporary, file)
}

export async function releaseOwnership(file: string, owner: Owner) {
  if ((await readOwner(file))?.id === owner.id) await rm(file, { force: true })
}

/** The server's lock names its socket directory, whose record names the owner. */
export const recordSocketOwner = (owner: Owner) => writeOwner(join(owner.socketDirectory, ownerRecord), owner)

/** `foreign` for a server that this program did not start, undefined when its owner is unknown. */
export async function findPostmasterOwner(
  postmaster: Postmaster,
  ownerFile: string,
): Promise<Owner | 'foreign' | undefined> {
  if (!basename(postmaster.socketDirectory).startsWith(socketDirectoryPrefix)) return 'foreign'
  const owner = await readOwner(join(postmaster.socketDirectory, ownerRecord))
  if (owner) return owner
  // Cleaners of /tmp remove plain files and leave sockets.
  const named = await readOwner(ownerFile)
  return named?.socketDirectory === postmaster.socketDirectory ? named : undefined
}

/** Undefined without the file; `pid` is 0 while it is still being written. */
export async function readPostmaster(cluster: string): Promise<Postmaster | undefined> {
  const text = await readIfThere(join(cluster, 'postmaster.pid'))
  if (text === undefined) return undefined
  const [pid = '', , , port = '', socketDirectory = '', , , status = ''] = text.split('\n')
  // A stand-alone backend writes a negative pid.
  return { pid: Math.abs(Number(pid)), port: Number(port), socketDirectory, ready: status.trim() === 'ready' }
}

/** Whether the owner's server takes connections. A killed server leaves a lock that claims so. */
export async function isServing({ cluster, socketDirectory }: Owner): Promise<boolean> {
  const postmaster = await readPostmaster(cluster)
  return (
    postmaster?.ready === true &&
    postmaster.socketDirectory === socketDirectory &&
    isPostmaster(postmaster.pid, cluster)
  )
}

/** True in doubt. */
export function isPostmaster(pid: number, cluster: string): boolean {
  if (!processToken(pid)) return false
  if (process.platform !== 'linux') return basename(ps(pid, 'comm=')[0] ?? '') === 'postgres'
  if (!/^\d+ \(postgres\)/.test(readText(`/proc/${pid}/stat`) ?? '')) return false
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === cluster
  } catch (error) {
    // Not another user's process: Postgres itself refuses a cluster of another user.
    return !hasCode(error, 'EACCES') && !hasCode(error, 'ENOENT')
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

/** The first column of `ps` and the rest; empty when there is no such process. */
function ps(pid: number, ...columns: string[]): string[] {
  try {
    const env = { PATH: process.env.PATH ?? '/bin:/usr/bin', LC_ALL: 'C', TZ: 'UTC' }
    const options = columns.flatMap((column) => ['-o', column])
    const line = execFileSync('ps', [...options, '-p', String(pid)], { env, encoding: 'utf8' }).trim()
    const gap = columns.length > 1 ? line.indexOf(' ') : line.length
    return [line.slice(0, gap), line.slice(gap).trim()]
  } catch {
    return []
  }
}
