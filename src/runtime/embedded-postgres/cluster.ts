/** Creates the data directory of the embedded Postgres, completely or not at all. */
import { randomBytes } from 'node:crypto'
import { chown, mkdir, open, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { StartError } from '../../core/start-error.ts'
import { hasCode, readIfThere } from '../process/files.ts'
import { keepFile, readKept } from '../process/kept-file.ts'
import { temporaryName } from './owner.ts'
import { findReason } from './server-log.ts'
import { type ServerUser, startProgram } from './user.ts'

export const databaseName = 'task_api'
/** Owns the database and may create others, for tests and restores. No superuser. */
export const roleName = 'task_api'
const superuser = 'postgres'

export type Passwords = { role: string; superuser: string }

type Programs = { native: string; user: ServerUser | null }

export async function readPassword(dataDirectory: string): Promise<string | undefined> {
  return (await readKept(join(dataDirectory, 'postgres-password')))?.trim()
}

/** Call it before creating the cluster, so that no cluster exists whose passwords are lost. */
export async function keepPasswords(dataDirectory: string): Promise<Passwords> {
  return {
    role: await keepPassword(join(dataDirectory, 'postgres-password')),
    superuser: await keepPassword(join(dataDirectory, 'postgres-superuser-password')),
  }
}

async function keepPassword(file: string): Promise<string> {
  return (await keepFile(file, () => `${randomBytes(24).toString('base64url')}\n`)).trim()
}

/** @throws StartError when the directory holds a cluster of another major version */
export async function hasCluster(cluster: string, version: string): Promise<boolean> {
  const major = version.split('.')[0]
  const found = await readIfThere(join(cluster, 'PG_VERSION'))
  if (found === undefined) return false
  if (found.trim() === major) return true
  throw new StartError(
    `${cluster} was made by Postgres ${found.trim()}, and this API comes with ${major}: ` +
      `move the data with pg_dump, or set another DATA_DIR`,
  )
}

/**
 * Builds it beside `cluster`, syncs it, then renames it: a start that is killed leaves only a directory that
 * `removeLeftovers` removes. If another start was quicker, its cluster stays, with the same passwords.
 */
export async function createCluster(cluster: string, programs: Programs, passwords: Passwords) {
  const building = temporaryName(cluster)
  try {
    await mkdir(building, { mode: 0o700 })
    await giveTo(programs.user, building)
    await run(programs, 'initdb', [
      ...['-D', building, '-U', superuser, '--encoding=UTF8'],
      ...['--data-checksums', '--no-sync', '--no-instructions'],
      // A collation of the C library or ICU may change with an update, which would invalidate indexes.
      ...['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
      // Replaced below: initdb takes scram-sha-256 only together with a password.
      '--auth=reject',
    ])
    const access = 'local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n'
    await write(join(building, 'pg_hba.conf'), access, programs.user)
    // Without syncing (-F): the last step syncs everything.
    const statements = [
      `alter role ${superuser} password '${passwords.superuser}'`,
      `create role ${roleName} login createdb password '${passwords.role}'`,
      `create database ${databaseName} owner ${roleName}`,
    ]
    await runStandalone(programs, building, statements, '-F')
    await run(programs, 'initdb', ['--sync-only', '-D', building])
    await rename(building, cluster).catch((error) => {
      if (!hasCode(error, 'ENOTEMPTY') && !hasCode(error, 'EEXIST')) throw error
    })
    const parent = await open(dirname(cluster))
    await parent.sync().finally(() => parent.close())
  } finally {
    await rm(building, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
  }
}

/** For a cluster whose password file was lost or came from elsewhere. No server may run on it. */
export async function setPasswords(cluster: string, programs: Programs, passwords: Passwords) {
  await runStandalone(programs, cluster, [
    `alter role ${superuser} password '${passwords.superuser}'`,
    `alter role ${roleName} password '${passwords.role}'`,
  ])
}

/** Runs statements as the superuser without a server, and so without a log-in. */
async function runStandalone(programs: Programs, cluster: string, statements: string[], ...flags: string[]) {
  const input = join(cluster, 'task-api-setup.sql')
  // log_min_error_statement: a failed statement would show the password.
  const settings = ['exit_on_error=on', 'log_min_error_statement=panic', 'log_checkpoints=off']
  const options = [...flags, '-D', cluster, ...settings.flatMap((setting) => ['-c', setting])]
  try {
    await write(input, statements.map((statement) => `${statement};\n\n`).join(''), programs.user)
    await run(programs, 'postgres', ['--single', '-j', ...options, 'postgres'], input)
  } finally {
    await rm(input, { force: true })
  }
}

async function run({ native, user }: Programs, program: string, parameters: string[], input?: string) {
  const running = startProgram([join(native, 'bin', program), ...parameters], user, { output: 'pipe', input })
  let output = ''
  for (const stream of [running.child.stdout, running.child.stderr])
    stream?.on('data', (chunk) => {
      output += chunk
    })
  const ending = await running.exited
  if (ending === 'exit code 0') return
  if (output.includes('could not look up effective user ID'))
    throw new StartError(
      `user ${process.getuid?.()} is not in /etc/passwd, and Postgres refuses to be set up by such a one: ` +
        'start as a user who is, or set DATABASE_URL',
    )
  throw new StartError(`cannot prepare the database: ${program}: ${findReason(output) ?? ending}`)
}

async function write(path: string, text: string, user: ServerUser | null) {
  await writeFile(path, text, { mode: 0o600 })
  await giveTo(user, path)
}

async function giveTo(user: ServerUser | null, path: string) {
  if (user) await chown(path, user.uid, user.gid)
}
