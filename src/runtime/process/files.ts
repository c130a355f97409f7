import { lstat, mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * Creates the directory and its missing parents. Returns false where the path exists, be it a file. Node's
 * recursive `mkdir` never returns where the system answers ENOENT below an existing directory, as in /proc.
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

/** Undefined when there is no such file. */
export async function readIfThere(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error) => {
    if (!hasCode(error, 'ENOENT')) throw error
    return undefined
  })
}

/** Also for a link to nothing. */
export async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false
    throw error
  }
}

export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
