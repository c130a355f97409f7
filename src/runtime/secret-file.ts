import { randomBytes } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** A secret that is made once and kept in a file that only its owner may read. */
export function keptSecret(directory: string, name: string): string {
  mkdirSync(directory, { recursive: true })
  const path = join(directory, name)
  const made = join(directory, `${name}.${process.pid}`)
  writeFileSync(made, randomBytes(48).toString('base64url'), { mode: 0o600 })
  try {
    // Either the whole secret appears or, when there is one already, nothing changes.
    linkSync(made, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    rmSync(made)
  }
  return readFileSync(path, 'utf8')
}
