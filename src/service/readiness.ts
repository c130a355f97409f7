/** Whether this process can serve, as /readyz tells it: component names only. */
import postgres from 'postgres'
import type { Database } from '../database.ts'
import type { Deps } from '../deps.ts'
import { schemaVersion } from '../schema-version.ts'

export type Readiness = {
  status: 'ready' | 'degraded' | 'unavailable'
  unavailable?: string[]
  degraded?: string[]
}

const rememberedMs = 1000
const timeoutMs = 2000

/** An answer is remembered for a second, so that probes cost the database next to nothing. */
export function createReadinessCheck() {
  // The answer, not its promise: at the edge a request cannot wait for another request's statement.
  let last: { at: number; answer: Readiness } | undefined
  return async function checkReadiness({
    db,
    now,
    isStoreThere,
    isStopping,
  }: Pick<Deps, 'db' | 'now' | 'isStoreThere' | 'isStopping'>): Promise<Readiness> {
    if (isStopping()) return { status: 'unavailable', unavailable: ['shutdown'] }
    if (last && now() - last.at < rememberedMs) return last.answer
    const answer = await check(db, isStoreThere)
    last = { at: now(), answer }
    return answer
  }
}

async function check(db: Database, isStoreThere: () => Promise<boolean>): Promise<Readiness> {
  try {
    const storeThere = isStoreThere()
    const [row] = await db.run(
      (sql) => sql<[{ version: number | null; undelivered: boolean }]>`
        select (select max(version) from schema_migrations) version,
          exists (select from outbox where dead_at is null and last_error is not null) undelivered`,
      { timeoutMs, read: true },
    )
    if ((row.version ?? 0) < schemaVersion) return { status: 'unavailable', unavailable: ['migrations'] }
    const degraded = [...((await storeThere) ? [] : ['cache']), ...(row.undelivered ? ['notifier'] : [])]
    return degraded.length > 0 ? { status: 'degraded', degraded } : { status: 'ready' }
  } catch (error) {
    // undefined_table, undefined_column: the server is there, the schema is not.
    const migrations = error instanceof postgres.PostgresError && ['42P01', '42703'].includes(error.code)
    return { status: 'unavailable', unavailable: [migrations ? 'migrations' : 'database'] }
  }
}
