/** Registration, login and changes of one's own account. */
import postgres from 'postgres'
import { type Caller, checkSession } from '../auth/caller.ts'
import { invalidInput, Problem } from '../core/problem.ts'
import type { Deps } from '../http/deps.ts'
import type { Database } from '../ports/database.ts'
import type { PasswordHasher } from '../ports/passwords.ts'
import { isName, isSameName, passwordForms } from './password-rules.ts'
import * as queries from './queries.ts'
import { afterSessionsEnded, startSession, type TokenAnswer } from './sessions.ts'

export type User = queries.UserRow

type NewUser = { username: string; password: string; email?: string | undefined }

/** @throws Problem 403 when registration is closed, 409 when the name is taken */
export async function register({ config, db }: Deps, passwords: PasswordHasher, input: NewUser) {
  if (config.registration === 'closed') throw new Problem(403, 'Accounts are made by the operator here.')
  return createUser({ db, passwords }, input)
}

/** @throws Problem 409 when the name is taken */
export async function createUser(
  { db, passwords }: Pick<Deps, 'db'> & { passwords: PasswordHasher },
  input: NewUser,
) {
  const passwordHash = await passwords.hash(input.password)
  try {
    return await queries.insertUser(db, {
      username: input.username,
      email: input.email ?? null,
      passwordHash,
    })
  } catch (error) {
    if (error instanceof postgres.PostgresError && error.constraint_name === 'users_username_key') {
      throw new Problem(409, 'The username is taken.', {
        errors: [{ pointer: '/username', detail: 'It is taken; case does not matter.' }],
      })
    }
    throw error
  }
}

/** Null for a wrong name or password, after the same work for both. Calls `identified` for a known name. */
export async function logIn(
  deps: Deps,
  passwords: PasswordHasher,
  { username, password, userAgent }: { username: string; password: string; userAgent: string | null },
  identified: (userId: number) => void,
): Promise<TokenAnswer | null> {
  const user = await queries.findUserByName(deps.db, username)
  if (user) identified(user.id)
  const form = await formOf(passwords, password, user?.password_hash ?? null)
  if (!user || form === undefined) return null
  let passwordHash = user.password_hash
  const [wanted = form] = passwordForms(password)
  if (form !== wanted || !passwords.isCurrent(passwordHash)) {
    // A check at another cost takes another time than for an unknown name, which would reveal who exists.
    const renewed = await passwords.hash(wanted)
    const isRenewed = await queries.renewHash(deps.db, user.id, { from: passwordHash, to: renewed })
    // Another login replaced the hash first, or the password was changed: start again.
    if (!isRenewed) return logIn(deps, passwords, { username, password, userAgent }, identified)
    passwordHash = renewed
  }
  return startSession(deps, { id: user.id, passwordHash }, userAgent)
}

/** The form of the password that was hashed; undefined for a wrong one. A null hash costs the same time. */
async function formOf(passwords: PasswordHasher, password: string, hash: string | null) {
  for (const form of passwordForms(password)) if (await passwords.verify(form, hash)) return form
  return undefined
}

type Wrong = 'wrong password'

/**
 * Members that are undefined stay. A new password ends every session but the caller's.
 * @throws SessionEnded
 */
export async function changeAccount(
  deps: Deps,
  passwords: PasswordHasher,
  caller: Caller,
  change: { currentPassword: string; password: string | undefined; email: string | null | undefined },
): Promise<User | Wrong> {
  const user = await queries.findCaller(deps.db, caller)
  const { currentPassword, password, email } = change
  if (password !== undefined && isSameName(password, user.username))
    throw invalidInput([{ pointer: '/password', detail: isName }])
  const from = user.password_hash
  if ((await formOf(passwords, currentPassword, from)) === undefined) return 'wrong password'
  const to = password === undefined ? from : await passwords.hash(password)
  const changed = await deps.db.transaction(async (tx) => {
    const row = await queries.updateUser(tx, caller, { from, to, email })
    if (row && to !== from) await queries.endOtherSessions(tx, caller)
    return row
  })
  if (!changed) return changedMeanwhile(deps, caller)
  if (to !== from) await afterSessionsEnded(deps, [caller.userId])
  return changed
}

/** Deleting an account with hundreds of thousands of tasks takes seconds: each has several index entries. */
const deletionTimeoutMs = 60_000

export type DeletionParts = {
  /** See tasks/access.ts. */
  lockTasksOf: (tx: Database, userId: number, timeoutMs: number) => Promise<number[]>
}

/** @throws SessionEnded */
export async function deleteAccount(
  deps: Deps & DeletionParts,
  passwords: PasswordHasher,
  caller: Caller,
  password: string,
): Promise<null | Wrong> {
  const user = await queries.findCaller(deps.db, caller)
  if ((await formOf(passwords, password, user.password_hash)) === undefined) return 'wrong password'
  const { userId } = caller
  const audience = await deps.db.transaction(
    async (tx) => {
      // From here on no task can be assigned by, or to, this user.
      if (!(await queries.lockUser(tx, caller, user.password_hash))) return null
      const users = await deps.lockTasksOf(tx, userId, deletionTimeoutMs)
      await queries.deleteUser(tx, userId, deletionTimeoutMs)
      return users
    },
    { timeoutMs: deletionTimeoutMs },
  )
  if (!audience) return changedMeanwhile(deps, caller)
  await afterSessionsEnded(deps, [userId, ...audience])
  return null
}
/** The password was changed after it was checked, or the session ended. @throws SessionEnded */
async function changedMeanwhile({ db }: Deps, caller: Caller): Promise<Wrong> {
  await checkSession(db, caller)
  return 'wrong password'
}
