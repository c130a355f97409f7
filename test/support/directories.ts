import { chmod, cp, mkdtemp, symlink } from 'node:fs/promises'
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

/** A copy of the project that may build: other tests run what is built in the project itself. */
export async function copyProject(directory: string) {
  const project = join(directory, 'project')
  for (const part of ['package.json', 'scripts', 'sql', 'src', 'tsconfig.json', 'workers'])
    await cp(join(root, part), join(project, part), { recursive: true })
  await symlink(join(root, 'node_modules'), join(project, 'node_modules'))
  return project
}
