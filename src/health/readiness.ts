/** Whether this process can serve, for /readyz: names of components only. */

import { errorFields } from '../core/log.ts'
import type { Deps } from '../http/deps.ts'
import { type Database, DatabaseUnavailableError } from '../ports/database.ts'
import { schemaVersion } from '../ports/schema-version.ts'

export type Readiness = {
  status: 'ready' | 'degraded' | 'unavailable'
  unavailable?: string[]
  degraded?: string[]
}

const rememberedMs = 1000
const timeoutMs = 2000

/** Remembers an answer for a second, so that frequent probes cost the database little. */
export function createReadinessCheck() {
  // The answer, not its promise: on Workers a request cannot wait for another request's statement.
  let last: { at: number; answer: Readiness } | undefined
  let wasFull = false

  async function ask({ db, isStoreThere }: Checked): Promise<Outcome> {
    try {
      const answer = await askDatabase(db, isStoreThere)
      if (wasFull && answer.status !== 'unavailable') await writeTemporaryFile(db)
      wasFull = false
      return { answer }
    } catch (error) {
      const isUnmigrated = error instanceof DatabaseUnavailableError && error.reason === 'unmigrated'
      return { answer: lacking(isUnmigrated ? 'migrations' : 'database'), error }
    }
  }

  return {
    async check(deps: Checked): Promise<Readiness> {
      if (deps.isStopping()) return lacking('shutdown')
      if (last && deps.now() - last.at < rememberedMs) return last.answer
      const { answer, error } = await ask(deps)
      const [was, is] = [last?.answer, answer].map((one) => one?.unavailable?.join())
      if (is && is !== was) deps.log.warn(`not ready: ${is}`, error === undefined ? {} : errorFields(error))
      if (was && !is) deps.log.info('ready again')
      last = { at: deps.now(), answer }
      return answer
    },
    /** Takes note of a request's error: a server with a full disk still answers every read. */
    note(error: unknown) {
      if (error instanceof DatabaseUnavailableError && error.reason === 'full') wasFull = true
    },
  }
}

export type ReadinessCheck = ReturnType<typeof createReadinessCheck>

type Checked = Pick<Deps, 'db' | 'now' | 'isStoreThere' | 'isStopping' | 'log'>
type Outcome = { answer: Readiness; error?: unknown }

const lacking = (component: string): Readiness => ({ status: 'unavailable', unavailable: [component] })

async function askDatabase(db: Database, isStoreThere: Deps['isStoreThere']): Promise<Readiness> {
  const storeThere = isStoreThere()
  const [row] = await db.run(
    (sql) => sql<[{ version: number | null; undelivered: boolean; unfit: string | null }]>`
      select (select max(version) from schema_migrations) version,
        exists (select from outbox where dead_at is null and last_error is not null) undelivered,
        case
          when current_setting('transaction_read_only') = 'on' then 'it is read-only'
          when current_setting('session_replication_role') = 'replica'
            then 'session_replication_role is replica'
        end unfit`,
    { timeoutMs, read: true },
  )
  if ((row.version ?? 0) < schemaVersion) return lacking('migrations')
  if (row.unfit) throw Object.assign(new Error(row.unfit), { isExpected: true })
  const degraded = [...((await storeThere) ? [] : ['cache']), ...(row.undelivered ? ['notifier'] : [])]
  return degraded.length > 0 ? { status: 'degraded', degraded } : { status: 'ready' }
}

/** Sorts some 2 MB with 64 kB of memory, in a temporary file that needs disk space as new rows do. */
async function writeTemporaryFile(db: Database) {
  await db.transaction(
    async (tx) => {
      await tx.run((sql) => sql`select set_config('work_mem', '64kB', true)`)
      await tx.run(
        (sql) => sql`
          select count(*) from (
            select repeat(n::text, 20) from generate_series(1, 20000) n order by 1 offset 0
          ) sorted`,
      )
    },
    { timeoutMs },
  )
}
