/** Files under DATA_DIR that are made once and kept: secrets, mostly. */
import { randomBytes } from 'node:crypto'
import { link, mkdir, open, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { StartError } from '../start-error.ts'
import { hasCode, temporaryName } from './embedded-postgres/owner.ts'

/**
 * The text in the file, which at the first call is what `make` answers: complete and on disk from its first moment,
 * readable by its owner only. Of two processes that begin at once the second takes over what the first made.
 * @throws StartError when it cannot be read or written
 */
export async function keepFile(path: string, make: () => string): Promise<string> {
  try {
    return await readFile(path, 'utf8').catch(async (error) => {
      if (!hasCode(error, 'ENOENT')) throw error
      await writeOnce(path, make())
      return readFile(path, 'utf8')
    })
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : error
    throw new StartError(
      `DATA_DIR: cannot write ${path} (${code}); give a directory that this user may write to`,
    )
  }
}

async function writeOnce(path: string, text: string) {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const temporary = temporaryName(path)
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    // A link, not a rename: the first one written stays.
    await link(temporary, path).catch((error) => {
      if (!hasCode(error, 'EEXIST')) throw error
    })
  } finally {
    await rm(temporary, { force: true })
  }
}

/** @throws StartError when what is kept is too short to be a secret of ours, after a power cut perhaps */
export async function keepSecret(directory: string, name: string): Promise<string> {
  const path = join(directory, name)
  const secret = (await keepFile(path, () => randomBytes(48).toString('base64url'))).trim()
  if (Buffer.byteLength(secret) >= 32) return secret
  throw new StartError(
    `DATA_DIR: ${path} is damaged, it holds less than 32 bytes; remove it to have another made, which logs everybody out`,
  )
}
