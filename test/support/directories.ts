import { chmod, cp, mkdtemp, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Root directory of the project. */
export const root = fileURLToPath(new URL('../..', import.meta.url))

/** A directory that every user may enter, as the embedded Postgres of root needs. The caller removes it. */
export async function temporaryDirectory() {
  const directory = await mkdtemp(join(tmpdir(), 'task-api-test-'))
  await chmod(directory, 0o711)
  return directory
}

/** A copy of the project for a build, since other tests run the build of the project itself. */
export async function copyProject(directory: string) {
  const project = join(directory, 'project')
  for (const part of ['package.json', 'scripts', 'sql', 'src', 'tsconfig.json', 'workers'])
    await cp(join(root, part), join(project, part), { recursive: true })
  await symlink(join(root, 'node_modules'), join(project, 'node_modules'))
  return project
}
