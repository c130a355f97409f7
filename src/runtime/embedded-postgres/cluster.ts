/** Creates the data directory of the embedded Postgres, completely or not at all. */
import { randomBytes } from 'node:crypto'
import { chown, mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { StartError } from '../../core/start-error.ts'
import { keepFile, readKept } from '../process/kept-file.ts'
import { hasCode, temporaryName } from './owner.ts'
import { startProgram } from './program.ts'
import type { ServerUser } from './user.ts'

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
  const found = await readFile(join(cluster, 'PG_VERSION'), 'utf8').catch((error) => {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  })
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
      // The same order and case folding on every machine. With a locale of the C library or ICU an update of
      // these could invalidate indexes.
      ...['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
      // Replaced below: initdb takes scram-sha-256 only together with a password.
      '--auth=reject',
    ])
    await writeDurably(
      join(building, 'pg_hba.conf'),
      'local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n',
      programs.user,
    )
    // Without syncing (-F): the last step syncs everything.
    await runStandalone(
      programs,
      building,
      ['-F'],
      [
        `alter role ${superuser} password '${passwords.superuser}'`,
        `create role ${roleName} login createdb password '${passwords.role}'`,
        `create database ${databaseName} owner ${roleName}`,
      ],
    )
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
  await runStandalone(
    programs,
    cluster,
    [],
    [
      `alter role ${superuser} password '${passwords.superuser}'`,
      `alter role ${roleName} password '${passwords.role}'`,
    ],
  )
}

/** Runs statements as the superuser without a server, and so without a log-in. */
async function runStandalone(programs: Programs, cluster: string, options: string[], statements: string[]) {
  const input = join(cluster, 'task-api-setup.sql')
  try {
    await writeDurably(input, statements.map((statement) => `${statement};\n\n`).join(''), programs.user)
    await run(
      programs,
      'postgres',
      [
        ...['--single', '-j', ...options, '-D', cluster],
        // A failed statement would show the password.
        ...['-c', 'exit_on_error=on', '-c', 'log_min_error_statement=panic', '-c', 'log_checkpoints=off'],
        'postgres',
      ],
      input,
    )
  } finally {
    await rm(input, { force: true })
  }
}

async function run({ native, user }: Programs, program: string, parameters: string[], input?: string) {
  const running = startProgram({
    command: [join(native, 'bin', program), ...parameters],
    user,
    output: 'pipe',
    ...(input === undefined ? {} : { input }),
  })
  let output = ''
  const collect = (chunk: Buffer) => {
    output += chunk
  }
  running.child.stdout?.on('data', collect)
  running.child.stderr?.on('data', collect)
  const ending = await running.exited
  if (ending === 'exit code 0') return
  if (output.includes('could not look up effective user ID'))
    throw new StartError(
      `user ${process.getuid?.()} is not in /etc/passwd, and Postgres refuses to be set up by such a one: ` +
        'start as a user who is, or set DATABASE_URL',
    )
  throw new StartError(`cannot prepare the database: ${program}: ${findReason(output) ?? ending}`)
}

/** The line with the error that ended a Postgres program, or else its last line. */
export const findReason = (output: string) =>
  findFatal(output) ?? output.split('\n').findLast((line) => line.trim() !== '')

/** The last error that ended a program, with its SQLSTATE if the line has one. */
export function findFatal(output: string): string | undefined {
  const lines = output.split('\n').filter((line) => fatal.test(line))
  // A lack of shared memory causes other errors.
  const shared = lines.find((line) => line.includes('shared memory segment "/PostgreSQL.'))
  const [, code, message] = fatal.exec(shared ?? lines.at(-1) ?? '') ?? []
  const said = code && message ? `${message} (${code})` : message
  return shared ? `${said}; /dev/shm is too small: give a larger one (docker run --shm-size=256m)` : said
}

const fatal = /(?:\] ([0-9A-Z]{5}) +)?\b(?:FATAL|PANIC|ERROR|error): +(.*\S)/

async function writeDurably(path: string, text: string, user: ServerUser | null = null) {
  const file = await open(path, 'w', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await giveTo(user, path)
}

async function giveTo(user: ServerUser | null, path: string) {
  if (user) await chown(path, user.uid, user.gid)
}
