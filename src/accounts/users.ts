/** Registering, logging in and what people may do with their own account. */
import postgres from 'postgres'
import type { Caller } from '../auth/access-tokens.ts'
import { invalidInput, Problem } from '../core/problem.ts'
import type { Deps } from '../http/deps.ts'
import type { PasswordHasher } from '../ports/passwords.ts'
import { isName, isSameName, passwordForms } from './password-rules.ts'
import * as queries from './queries.ts'
import { startSession, type TokenAnswer, tellEnded } from './sessions.ts'

export type User = queries.UserRow

type NewUser = { username: string; password: string; email?: string | undefined }

/** Throws a Problem: 403 when registration is closed, 409 when the name is taken. */
export async function register({ config, db }: Deps, passwords: PasswordHasher, input: NewUser) {
  if (config.registration === 'closed') throw new Problem(403, 'Accounts are made by the operator here.')
  return createUser({ db, passwords }, input)
}

/** Throws a Problem, 409, when the name is taken. */
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

/** Null for a wrong name or password, after the same work for both. `identified` is told who has the name. */
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
    // Of another cost, its check takes another time than an unknown name's, which would tell who exists.
    const renewed = await passwords.hash(wanted)
    const isRenewed = await queries.renewHash(deps.db, user.id, { from: passwordHash, to: renewed })
    // Another login was first, or the password is another by now: look again.
    if (!isRenewed) return logIn(deps, passwords, { username, password, userAgent }, identified)
    passwordHash = renewed
  }
  return startSession(deps, { id: user.id, passwordHash }, userAgent)
}

/**
 * The form of the password that was hashed; undefined for a wrong password. `hash` is null for an unknown user, who
 * costs as much time.
 */
async function formOf(passwords: PasswordHasher, password: string, hash: string | null) {
  for (const form of passwordForms(password)) if (await passwords.verify(form, hash)) return form
  return undefined
}

/** What became of a change that a password guards; `ended`: the caller's session has, or the account went. */
export type Guarded<T> = { outcome: 'done'; value: T } | { outcome: 'wrong password' } | { outcome: 'ended' }

/** What is undefined stays. A new password ends every session but the caller's. */
export async function changeAccount(
  deps: Deps,
  passwords: PasswordHasher,
  caller: Caller,
  change: { currentPassword: string; password: string | undefined; email: string | null | undefined },
): Promise<Guarded<User>> {
  const user = await queries.findCaller(deps.db, caller)
  if (!user) return { outcome: 'ended' }
  const { currentPassword, password, email } = change
  if (password !== undefined && isSameName(password, user.username))
    throw invalidInput([{ pointer: '/password', detail: isName }])
  const from = user.password_hash
  if ((await formOf(passwords, currentPassword, from)) === undefined) return { outcome: 'wrong password' }
  const to = password === undefined ? from : await passwords.hash(password)
  const changed = await deps.db.transaction(async (tx) => {
    const row = await queries.updateUser(tx, caller, { from, to, email })
    if (row && to !== from) await queries.endOtherSessions(tx, caller)
    return row
  })
  if (!changed) return changedMeanwhile(deps, caller)
  if (to !== from) await tellEnded(deps, [caller.userId])
  return { outcome: 'done', value: changed }
}

/** Each of the account's tasks costs a few index entries: with hundreds of thousands of them this takes seconds. */
const deletionTimeoutMs = 60_000

export async function deleteAccount(
  deps: Deps,
  passwords: PasswordHasher,
  caller: Caller,
  password: string,
): Promise<Guarded<null>> {
  const user = await queries.findCaller(deps.db, caller)
  if (!user) return { outcome: 'ended' }
  if ((await formOf(passwords, password, user.password_hash)) === undefined)
    return { outcome: 'wrong password' }
  const touched = await deps.db.transaction(
    async (tx) =>
      (await queries.lockUser(tx, caller, user.password_hash))
        ? queries.deleteUser(tx, caller.userId, deletionTimeoutMs)
        : null,
    { timeoutMs: deletionTimeoutMs },
  )
  if (!touched) return changedMeanwhile(deps, caller)
  await tellEnded(deps, [caller.userId, ...touched])
  return { outcome: 'done', value: null }
}

/** Between the check of the password and the write somebody else changed it, or ended the session. */
async function changedMeanwhile({ db }: Deps, caller: Caller) {
  const user = await queries.findCaller(db, caller)
  return { outcome: user ? 'wrong password' : 'ended' } as const
}
