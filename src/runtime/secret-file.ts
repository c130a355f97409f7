import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { StartError } from '../start-error.ts'

/**
 * A secret that is made once and kept in a file that only its owner may read.
 * @throws StartError when the file there is damaged
 */
export function keptSecret(directory: string, name: string): string {
  mkdirSync(directory, { recursive: true })
  const path = join(directory, name)
  const made = join(directory, `${name}.${process.pid}`)
  const file = openSync(made, 'w', 0o600)
  writeFileSync(file, randomBytes(48).toString('base64url'))
  fsyncSync(file)
  closeSync(file)
  try {
    // Either the whole secret appears or, when there is one already, nothing changes.
    linkSync(made, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    rmSync(made)
  }
  const secret = readFileSync(path, 'utf8').trim()
  if (Buffer.byteLength(secret) >= 32) return secret
  throw new StartError(
    `DATA_DIR: ${path} is damaged, it holds less than 32 bytes; remove it to have another made, which logs everybody out`,
  )
}
