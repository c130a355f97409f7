/** Runs an operator's command to its end, like `npm run`. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { root } from './directories.ts'

export type Ran = { code: number | null; stdout: string; stderr: string }

/** Its environment has only PATH and the given variables. `project` has the build. */
export async function runBuilt(
  name: string,
  args: string[],
  {
    environment = {},
    input = '',
    project = root,
    cwd = process.cwd(),
  }: { environment?: Record<string, string>; input?: string; project?: string; cwd?: string } = {},
): Promise<Ran> {
  const child = spawn(process.execPath, [join(project, `dist/${name}.js`), ...args], {
    cwd,
    env: { PATH: process.env.PATH, ...environment },
  })
  child.stdin.on('error', () => {}).end(input)
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ])
  return { code, stdout, stderr }
}
