/** Files under DATA_DIR that are generated once and kept, such as secrets. */
import { randomBytes } from 'node:crypto'
import type { Stats } from 'node:fs'
import { link, open, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { codeOf } from '../../core/failure.ts'
import { StartError } from '../../core/start-error.ts'
import { temporaryName } from '../embedded-postgres/owner.ts'
import { hasCode, makeDirectory } from './files.ts'

/**
 * Returns the text of the file, which the first call creates with the result of `make`: complete, on disk and
 * readable by its owner only. Of two concurrent processes the second one takes the text of the first.
 * @throws StartError when it cannot be read or written
 */
export async function keepFile(path: string, make: () => string): Promise<string> {
  try {
    const kept = await readKept(path)
    if (kept !== undefined) return kept
    await writeOnce(path, make())
    return (await readKept(path)) ?? ''
  } catch (error) {
    if (error instanceof StartError) throw error
    throw new StartError(
      `DATA_DIR: cannot write ${path} (${codeOf(error)}); give a directory that this user may write to`,
    )
  }
}

/**
 * Returns the text of the file, or undefined when there is none.
 * @throws StartError when it cannot be read, or when another user can read it or could have written it
 */
export async function readKept(path: string): Promise<string | undefined> {
  try {
    const file = await open(path)
    try {
      await assertPrivate(path, await file.stat())
      return await file.readFile('utf8')
    } finally {
      await file.close()
    }
  } catch (error) {
    if (error instanceof StartError) throw error
    if (hasCode(error, 'ENOENT')) return undefined
    throw new StartError(
      `DATA_DIR: ${path} cannot be read (${codeOf(error)}); start as the user it belongs to`,
    )
  }
}

/**
 * Applies ssh's rule for private keys: owned by this user or root, and closed to everybody else. Root may
 * also start on the data directory of another user, with that user's secrets.
 */
async function assertPrivate(path: string, { uid, mode }: Stats) {
  const self = process.getuid?.()
  // Windows has neither owners nor modes.
  if (self === undefined) return
  const owners = [self, 0, ...(self === 0 ? [(await stat(dirname(path))).uid] : [])]
  if (!owners.includes(uid))
    throw new StartError(
      `DATA_DIR: ${path} belongs to user ${uid}, who can change it; start as that user, or remove it to have another made`,
    )
  if ((mode & 0o077) !== 0)
    throw new StartError(
      `DATA_DIR: ${path} has mode ${(mode & 0o777).toString(8)}, so that other users may use it; chmod 600 it, or remove it to have another made where somebody may have read it`,
    )
}

async function writeOnce(path: string, text: string) {
  await makeDirectory(dirname(path), 0o700)
  const temporary = temporaryName(path)
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    // A link, unlike a rename, keeps the file of a process that was faster.
    await link(temporary, path).catch((error) => {
      if (!hasCode(error, 'EEXIST')) throw error
    })
  } finally {
    await rm(temporary, { force: true })
  }
}

/** @throws StartError also when the kept text is too short for a secret, as after a power cut */
export async function keepSecret(directory: string, name: string): Promise<string> {
  const path = join(directory, name)
  return parseSecret(await keepFile(path, () => randomBytes(48).toString('base64url')), path)
}

/** @throws StartError as keepSecret does */
export async function readSecret(directory: string, name: string): Promise<string | undefined> {
  const path = join(directory, name)
  const text = await readKept(path)
  return text === undefined ? undefined : parseSecret(text, path)
}

function parseSecret(text: string, path: string): string {
  const secret = text.trim()
  if (Buffer.byteLength(secret) >= 32) return secret
  throw new StartError(
    `DATA_DIR: ${path} is damaged, it holds less than 32 bytes; remove it to have another made, which logs everybody out`,
  )
}
