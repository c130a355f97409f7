/** Directories that are made when absent. */
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { hasCode } from '../embedded-postgres/owner.ts'

/**
 * Makes the directory and those above it that are missing. Returns false where the path exists already, as whatever.
 * Node's own recursive `mkdir` never ends where the system answers ENOENT below a directory that exists, as /proc does.
 * @throws the system's error
 */
export async function makeDirectory(path: string, mode = 0o777): Promise<boolean> {
  try {
    return await make(path, mode)
  } catch (error) {
    const parent = dirname(path)
    if (!hasCode(error, 'ENOENT') || parent === path) throw error
    await makeDirectory(parent, mode)
    return make(path, mode)
  }
}

async function make(path: string, mode: number): Promise<boolean> {
  try {
    await mkdir(path, { mode })
    return true
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false
    throw error
  }
}
