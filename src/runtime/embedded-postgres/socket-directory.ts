/** The directory of the server's unix socket. */
import { randomBytes } from 'node:crypto'
import { accessSync, constants } from 'node:fs'
import { chown, lstat, mkdir, readdir, rm, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { StartError } from '../../core/start-error.ts'
import { hasCode } from '../process/files.ts'
import { isRunning, type Owner, readOwner, recordSocketOwner, socketDirectoryPrefix } from './owner.ts'
import type { ServerUser } from './user.ts'

/** `sun_path` holds 103 bytes on macOS (107 on Linux), and Postgres appends `/.s.PGSQL.` and the port. */
const socketDirectoryBytes = 103 - '/.s.PGSQL.65535'.length

/** A short path that does not exist yet, in /tmp if the temporary directory does not suit. */
export function chooseSocketDirectory(user: ServerUser | null): string {
  const name = socketDirectoryPrefix + randomBytes(6).toString('hex')
  const usual = join(tmpdir(), name)
  // Postgres expects a list, which other characters would split.
  const fits = Buffer.byteLength(usual) <= socketDirectoryBytes && /^[\w./-]+$/.test(usual)
  return !user && fits && isWritable(tmpdir()) ? usual : join('/tmp', name)
}

/** For that of a start that was killed together with its shell. */
export async function removeSocketDirectory(directory: string) {
  if (!basename(directory).startsWith(socketDirectoryPrefix)) return
  const owner = await readOwner(join(directory, 'owner')).catch(() => undefined)
  if (owner && isRunning(owner.process)) return
  try {
    // By name, since the path comes from a file.
    for (const name of await readdir(directory))
      if (/^(owner|\.s\.PGSQL\.\d)/.test(name)) await rm(join(directory, name))
    await rmdir(directory)
  } catch {
    // Its own shell was quicker, or it is not ours.
  }
}

/** The shell removes it with the server; a restarted server gets the same path, which clients know. */
export async function reopenSocketDirectory(owner: Owner, user: ServerUser | null) {
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

function isWritable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK | constants.X_OK)
    return true
  } catch {
    return false
  }
}
