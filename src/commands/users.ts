/** Entry of `npm run users`: creates, disables and repairs accounts. */
import type * as z from 'zod'
import * as administration from '../accounts/administration.ts'
import { Registration } from '../accounts/schemas.ts'
import { createUser } from '../accounts/users.ts'
import type { Config } from '../config/api.ts'
import { createLogger } from '../core/log.ts'
import { StartError } from '../core/start-error.ts'
import type { Database } from '../ports/database.ts'
import { createNodeHasher } from '../runtime/passwords/password-hasher.ts'
import { withDatabase } from '../runtime/postgres/operator-database.ts'
import { formatTable, runCommand, UsageError } from '../runtime/process/command.ts'
import { readPassword } from '../runtime/process/password-prompt.ts'
import { invalidateCachedFor } from '../runtime/store/invalidation-notices.ts'

const help = `Manages accounts, also where REGISTRATION is closed.

  npm run users -- create NAME [--email ADDRESS]   create one; asks for the password, or reads it from standard input
  npm run users -- list [PREFIX]                   list by name, with the number of sessions
  npm run users -- disable NAME                    refuse log-ins and end all sessions
  npm run users -- enable NAME                     allow log-ins again
  npm run users -- reset-password NAME             set another password, read likewise, and end all sessions
  npm run users -- logout-all NAME | --everybody   end all sessions of one user, or of everybody
  npm run users -- --help                          this text

  --json    print JSON

The database is DATABASE_URL, or without it the one that a running npm start keeps under DATA_DIR (./data). BCRYPT_COST applies.
Set REDIS_URL or UPSTASH_REDIS_REST_URL as for the service, so that its cache is invalidated when sessions end.
`

type Values = { email?: string; everybody?: boolean; json?: boolean }
type Command = {
  /** Beside `--json`. */
  option?: 'email' | 'everybody'
  name: 'required' | 'optional'
  /** Resolves with the output: an object for --json, or text. */
  run(context: { db: Database; config: Config; name: string; values: Values }): Promise<Answer>
}
type Answer = { json: object; text: string }

const commands: Record<string, Command> = {
  create: {
    option: 'email',
    name: 'required',
    async run({ db, config, name, values: { email } }) {
      const read = checkInput(Registration, { username: name, password: await readPassword(), email })
      const user = await createUser({ db, passwords: await openHasher(config) }, read)
      return { json: user, text: `created ${user.username}, id ${user.id}` }
    },
  },
  list: {
    name: 'optional',
    async run({ db, name }) {
      const users = await administration.listAccounts(db, name, Date.now())
      const rows = users.map((user) => [
        String(user.id),
        user.username,
        user.disabled_at ? `disabled ${user.disabled_at}` : 'enabled',
        String(user.live_sessions),
        user.last_used_at ?? '-',
        user.email ?? '-',
      ])
      const head = ['id', 'username', 'state', 'sessions', 'last used', 'email']
      return { json: users, text: formatTable([head, ...rows]) }
    },
  },
  disable: {
    name: 'required',
    async run({ db, config, name }) {
      const user = found(await administration.setDisabled(db, name, true), name)
      await invalidateCache(db, config, [user.id])
      return { json: user, text: `disabled ${user.username}; all sessions have ended` }
    },
  },
  enable: {
    name: 'required',
    async run({ db, name }) {
      const user = found(await administration.setDisabled(db, name, false), name)
      return { json: user, text: `enabled ${user.username}` }
    },
  },
  'reset-password': {
    name: 'required',
    async run({ db, config, name }) {
      const { username } = found(await administration.findAccount(db, name), name)
      const { password } = checkInput(Registration, { username, password: await readPassword() })
      const passwordHash = await (await openHasher(config)).hash(password)
      const { disabled, ...user } = found(await administration.replacePassword(db, name, passwordHash), name)
      await invalidateCache(db, config, [user.id])
      const still = disabled ? '; the account is still disabled' : ''
      return { json: user, text: `changed the password of ${user.username}; all sessions have ended${still}` }
    },
  },
  'logout-all': {
    option: 'everybody',
    name: 'optional',
    async run({ db, config, name, values: { everybody = false } }) {
      if (everybody === (name !== '')) throw new UsageError('give either a name or --everybody')
      const user = everybody ? null : found(await administration.findAccount(db, name), name)
      const { count, users } = await administration.endSessionsOf(db, user?.id ?? null)
      await invalidateCache(db, config, users)
      return {
        json: { ended_sessions: count, users },
        text: `ended ${count} sessions${everybody ? ` of ${users.length} users` : ''}`,
      }
    },
  },
}

async function run(values: Values, [verb = '', name = '']: string[], env: NodeJS.ProcessEnv) {
  const command = Object.hasOwn(commands, verb) ? commands[verb] : undefined
  if (!command)
    throw new UsageError(verb ? `unknown argument "${verb}"` : 'give create, list, disable or another')
  if (command.name === 'required' && name === '') throw new UsageError(`${verb}: give a name`)
  const unused = (['email', 'everybody'] as const).find(
    (option) => values[option] !== undefined && option !== command.option,
  )
  if (unused) throw new UsageError(`${verb} takes no --${unused}`)
  await withDatabase(env, async (db, config) => {
    const { json, text } = await command.run({ db, config, name, values })
    console.log(values.json ? JSON.stringify(json, null, 2) : text)
  })
}

/** @throws StartError with a line for each fault, in the words of the API */
function checkInput<S extends z.ZodType>(schema: S, input: unknown): z.output<S> {
  const result = schema.safeParse(input)
  if (result.success) return result.data
  throw new StartError(
    result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('\n'),
  )
}

function found<T>(user: T | undefined, name: string): T {
  if (user === undefined) throw new StartError(`there is no user "${name}"`)
  return user
}

async function openHasher({ bcryptCost: cost }: Config) {
  const queue = await createNodeHasher({ cost, log: createLogger('silent') })
  return queue.for({ address: 'the operator' })
}

/** Prints the consequence when the cache cannot be invalidated. The sessions have ended all the same. */
async function invalidateCache(db: Database, config: Config, userIds: number[]) {
  const problem = await invalidateCachedFor(db, config, userIds).catch((error: Error) => error.message)
  if (problem !== undefined) console.error(problem)
}

runCommand({
  name: 'users',
  help,
  options: { email: { type: 'string' }, everybody: { type: 'boolean' }, json: { type: 'boolean' } },
  positionals: 2,
  run,
})
