/** The user of Postgres's programs. Postgres refuses root, so a start by root runs them as another user. */
import { execFileSync } from 'node:child_process'
import { readFile, stat } from 'node:fs/promises'
import { StartError } from '../../core/start-error.ts'
import { type BoundChildOptions, startBoundChild } from '../process/bound-child.ts'
import { hasCode } from '../process/files.ts'

export type ServerUser = { uid: number; gid: number; name: string }

export const isRoot = () => process.getuid?.() === 0

/** An account that an operator may create for the server alone. */
export const ownAccount = 'task-api'
const sharedAccount = 'nobody'

/**
 * The owner of an existing cluster, otherwise the account `task-api` if it exists, otherwise `nobody`, which
 * other services use too. Null when this process is not root, and runs the server itself.
 */
export async function findServerUser(cluster: string | undefined): Promise<ServerUser | null> {
  if (!isRoot()) return null
  const accounts = readAccounts(await readFile('/etc/passwd', 'utf8').catch(() => ''))
  const owner = cluster === undefined ? undefined : await stat(cluster)
  if (!owner || owner.uid === 0) return chooseAccount(accounts)
  const name = accounts.find(({ uid }) => uid === owner.uid)?.name ?? `user ${owner.uid}`
  return { uid: owner.uid, gid: owner.gid, name }
}

export function chooseAccount(accounts: ServerUser[]): ServerUser {
  const named = (wanted: string) => accounts.find(({ name, uid }) => name === wanted && uid !== 0)
  return named(ownAccount) ?? named(sharedAccount) ?? { uid: 65534, gid: 65534, name: sharedAccount }
}

/** @param passwd the text of /etc/passwd */
export const readAccounts = (passwd: string): ServerUser[] =>
  passwd.split('\n').map((line) => {
    const [name = '', , uid, gid] = line.split(':')
    // macOS writes -2 for what the kernel calls 4294967294.
    return { name, uid: Number(uid) >>> 0, gid: Number(gid) >>> 0 }
  })

/** Whether other services may run as this user, and could read the data. */
export const isShared = (user: ServerUser) => user.name === sharedAccount

export const canEnter = (user: ServerUser | null, directory: string) => test(user, '-x', directory)
export const canRead = (user: ServerUser | null, path: string) => test(user, '-r', path)

/** Runs `test` as the user: file modes do not show access lists or containers. */
async function test(user: ServerUser | null, condition: '-r' | '-x', path: string): Promise<boolean> {
  if (!user) return true
  try {
    execFileSync('/bin/sh', ['-c', 'test "$0" "$1"', condition, path], { ...spawnAs(user), stdio: 'ignore' })
    return true
  } catch (error) {
    if (hasCode(error, 'EPERM'))
      throw new StartError(
        `root cannot act as ${user.name} here, and Postgres does not run as root: ` +
          'start the API as an ordinary user, or set DATABASE_URL',
      )
    return false
  }
}

type Options = Pick<BoundChildOptions, 'output' | 'input' | 'removedAtEnd'>

/** Starts a Postgres program, which ends with this process. */
export const startProgram = (command: [string, ...string[]], user: ServerUser | null, options: Options) =>
  startBoundChild(command, {
    ...options,
    ...spawnAs(user),
    // Without PGDATA, PGPORT, LC_ALL and the like. macOS needs a locale; initdb would look for a time zone.
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
  })

/** With a working directory, since that user may not be able to enter the one of this process. */
export function spawnAs(user: ServerUser | null) {
  // Node wants the ids as signed numbers of 32 bits.
  return user ? { cwd: '/', uid: user.uid | 0, gid: user.gid | 0 } : { cwd: '/' }
}
