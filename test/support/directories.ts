import { chmod, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The project's own. */
export const root = fileURLToPath(new URL('../..', import.meta.url))

/** A directory that every user may enter, as the embedded Postgres of a root user needs; remove it with `rm`. */
export async function temporaryDirectory() {
  const directory = await mkdtemp(join(tmpdir(), 'task-api-test-'))
  await chmod(directory, 0o711)
  return directory
}
