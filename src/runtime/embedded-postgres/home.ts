/** Location of the data: DATA_DIR, or for root a directory that the server's user can enter. */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { access, chmod, lstat, readdir, realpath, stat, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { StartError } from '../../core/start-error.ts'
import { exists, hasCode, makeDirectory } from '../process/files.ts'
import { canEnter, findServerUser, isRoot, isShared, ownAccount, type ServerUser } from './user.ts'

export type Home = {
  /** Postgres's own data directory, as a real path; it may not exist yet. */
  cluster: string
  user: ServerUser | null
  /** The directory of root's server when its user cannot enter DATA_DIR. */
  relocated: string | null
  /** Resolves with a directory that the server's user can enter, for a copy of the programs. */
  copies(): Promise<string>
}

/** For lasting state; /var/tmp is cleaned of files that were not touched for a month. */
const relocationRoot = process.platform === 'darwin' ? '/var/db' : '/var/lib'
const relocationPrefix = 'task-api-'

/** Makes nothing. @throws StartError when `path` is no directory, or does not exist and cannot be made */
export async function checkDataDirectory(path: string): Promise<void> {
  for (let existing = path; ; existing = dirname(existing)) {
    const found = await stat(existing).catch((error) => {
      if (!hasCode(error, 'ENOENT'))
        throw hasCode(error, 'ENOTDIR') ? notDirectory(path) : cannotMake(path, error)
    })
    if (!found) continue
    if (!found.isDirectory()) throw notDirectory(path)
    if (existing !== path)
      await access(existing, constants.W_OK | constants.X_OK).catch((error) =>
        Promise.reject(cannotMake(path, error)),
      )
    return
  }
}

/**
 * Makes the directory if it is absent, and returns its real path. Root's server runs as another user, who
 * must pass through. So a new or empty directory of root gets mode 711, under which each secret in it stays
 * private; one in use is left as it is.
 * @throws StartError when it is no directory, or cannot be made
 */
export async function openDataDirectory(path: string): Promise<string> {
  const made = await makeDirectory(path).catch((error) => {
    throw hasCode(error, 'ENOTDIR') ? notDirectory(path) : cannotMake(path, error)
  })
  // A link to nothing exists, and can neither be made nor used.
  const found = await stat(path).catch((error) => Promise.reject(cannotMake(path, error)))
  if (!found.isDirectory()) throw notDirectory(path)
  if (!isRoot()) {
    if (made) await chmod(path, 0o700)
  } else if (found.uid === 0 && (await readdir(path)).length === 0) {
    await chmod(path, made ? 0o711 : 0o711 | found.mode)
  }
  return realpath(path)
}

const notDirectory = (path: string) => new StartError(`DATA_DIR ${path} is not a directory`)
const cannotMake = (path: string, { code }: NodeJS.ErrnoException) =>
  new StartError(`DATA_DIR: cannot make ${path} (${code}); give a directory that this user may write to`)

/** @param dataDirectory a real path. @throws StartError when data exist that the server could not reach */
export async function findHome(dataDirectory: string, packageRoot: string): Promise<Home> {
  const link = join(dataDirectory, 'postgres')
  const root = await realpath(relocationRoot).catch(() => relocationRoot)
  const hash = createHash('sha256').update(`${await realpath(packageRoot)}\0${dataDirectory}`)
  const relocation = join(root, relocationPrefix + hash.digest('hex').slice(0, 16))
  const existing = await resolveCluster(link)
  const user = await findServerUser(existing)
  const home = async (cluster: string, relocated: string | null): Promise<Home> => ({
    cluster,
    user,
    relocated,
    async copies() {
      if (!relocated && (await canEnter(user, dataDirectory))) return dataDirectory
      return makeTrusted(relocated ?? relocation)
    },
  })
  if (!user) {
    if (existing !== undefined && (await stat(existing)).uid !== process.getuid?.())
      throw new StartError(`${existing} belongs to another user: start as that user, or set another DATA_DIR`)
    return home(existing ?? link, null)
  }
  if (existing !== undefined) {
    const relocated = dirname(existing).startsWith(join(root, relocationPrefix))
    if (relocated) await makeTrusted(dirname(existing))
    if (!(await canEnter(user, existing)))
      throw new StartError(
        `${existing} holds data, but ${user.name}, who runs the database when root starts it, cannot enter it: ` +
          'open the directories above it (chmod a+x), or start as an ordinary user',
      )
    return home(existing, relocated ? dirname(existing) : null)
  }
  // Relocated data stay in use, also when DATA_DIR can be entered by now.
  const before = (await isTrusted(relocation)) && (await exists(join(relocation, 'postgres')))
  if (!before && (await canEnter(user, dataDirectory))) return home(link, null)
  await makeTrusted(relocation)
  return home(join(relocation, 'postgres'), relocation)
}

/** A link finds the data again after the project was moved, and shows them to a person. */
export async function linkRelocated(dataDirectory: string, cluster: string) {
  const link = join(dataDirectory, 'postgres')
  if (!(await exists(link))) await symlink(cluster, link)
}

async function makeTrusted(directory: string): Promise<string> {
  await makeDirectory(directory)
  if (await isTrusted(directory)) {
    await chmod(directory, 0o755)
    return directory
  }
  const { uid, mode } = await lstat(directory)
  throw new StartError(
    `${directory}, where root's data would go, was made or opened by somebody else (owner ${uid}, mode ` +
      `${(mode & 0o7777).toString(8)}): remove it, or set DATA_DIR to a directory that everybody can enter`,
  )
}

/** Belongs to root, and nobody else can write to it: Postgres may run from it. */
async function isTrusted(directory: string): Promise<boolean> {
  if (!(await exists(directory))) return false
  const found = await lstat(directory)
  return found.isDirectory() && found.uid === 0 && (found.mode & 0o022) === 0
}

async function resolveCluster(link: string): Promise<string | undefined> {
  if (!(await exists(link))) return undefined
  try {
    return await realpath(link)
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
    throw new StartError(`${link} is a link to data that are gone: restore them, or remove it to start empty`)
  }
}

/** Notices for the operator, a line each. */
export function describeHome({ cluster, user, relocated }: Home): string[] {
  if (!user) return []
  const notices: string[] = []
  if (relocated !== null)
    notices.push(
      `started by root, the database runs as ${user.name} and keeps its data where that user can enter: ${cluster}`,
    )
  if (isShared(user))
    notices.push(
      `started by root, the database runs as ${user.name}, as other services may, which could then read its data; ` +
        `to give it a user of its own, stop, then: useradd --system ${ownAccount} && chown -R ${ownAccount} ${cluster}`,
    )
  return notices
}
