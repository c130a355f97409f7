/** Checks of an existing server at the start, for faults that waiting does not mend. */
import postgres, { type Sql } from 'postgres'
import { errorFields, type Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import { withTimeout } from '../../core/timeout.ts'
import { schemaVersion } from '../../ports/schema-version.ts'
import { toUnavailable, unavailableReason } from './failure.ts'
import { findSettingFaults, oldestPostgres } from './server-settings.ts'

/** For each probe of a pooler. */
const probeMs = 2000

type Open = (own: { max: 1; debug?: () => void }) => Sql

/**
 * Warns about faults that can be mended without a restart, which /readyz reports: an older schema, a server
 * that is away or read-only.
 * @throws StartError for a schema that needs a newer program, an old server, a refused log-in, a certificate
 * that does not hold, and settings under which no answer would be right
 */
export async function inspectServer(
  open: Open,
  { prepare, statementMs, log }: { prepare: boolean; statementMs: number; log: Logger },
) {
  await using(open, async (sql) => {
    try {
      await checkServer(sql)
      await checkSettings(sql, { statementMs, log })
      if (prepare) await checkPreparedStatements(sql, open)
      await checkSchema(sql, log)
    } catch (error) {
      if (error instanceof StartError) throw error
      const refusal = refusalOf(error)
      if (refusal) throw new StartError(`DATABASE_URL: ${refusal}`, { cause: error })
      log.warn('the database is not ready yet', errorFields(toUnavailable(error)))
    }
  })
}

async function checkServer(sql: Sql) {
  const [row] = await sql.unsafe<[{ version: number; name: string }]>(
    `select current_setting('server_version_num')::int as version, current_setting('server_version') as name`,
  )
  if (row.version < oldestPostgres * 10_000)
    throw new StartError(
      `DATABASE_URL: the server is Postgres ${row.name}; give one of version ${oldestPostgres} or newer`,
    )
}

async function checkSettings(sql: Sql, { statementMs, log }: { statementMs: number; log: Logger }) {
  const faults = await findSettingFaults(sql, { statementMs })
  const refused = faults.find(({ weight }) => weight === 'refused')
  if (refused)
    throw new StartError(`DATABASE_URL: ${refused.detail}; reset it for the role, the database or the server`)
  for (const { detail } of faults) log.warn(`the database's ${detail}`)
}

async function checkSchema(sql: Sql, log: Logger) {
  const { version, oldestProgram } = await schemaOf(sql)
  if (oldestProgram > schemaVersion)
    throw new StartError(
      `DATABASE_URL: its schema needs a program that knows migration ${oldestProgram}, this one knows migrations up to ${schemaVersion}; start a newer program`,
    )
  const versions = { schema: version, program: schemaVersion }
  if (version > schemaVersion)
    log.warn('the schema is newer than the program, as in a rolling upgrade', versions)
  if (version < schemaVersion) log.warn('the schema is older than the program: run npm run migrate')
}

/** Zeros before the first `npm run migrate`, and for a schema beside which every program can run. */
async function schemaOf(sql: Sql): Promise<{ version: number; oldestProgram: number }> {
  try {
    // Through jsonb, since the column may not exist yet.
    const [row] = await sql.unsafe<[{ version: number; oldestProgram: number }]>(
      `select coalesce(max(version), 0) as version,
        coalesce(max((to_jsonb(applied) ->> 'oldest_program')::int), 0) as "oldestProgram"
      from schema_migrations applied`,
    )
    return row
  } catch (error) {
    if (unavailableReason(error) === 'unmigrated') return { version: 0, oldestProgram: 0 }
    throw error
  }
}

/**
 * A pooler in transaction mode runs a client's statements on changing server connections. One that does not
 * support prepared statements (PgBouncer before 1.21) then fails or hangs. This provokes it, by occupying the
 * connection on which a statement was prepared.
 */
async function checkPreparedStatements(sql: Sql, open: Open) {
  let sent = 0
  await using(
    (own) => open({ ...own, debug: () => sent++ }),
    async (other) => {
      const ask = async () => {
        const [row] = await withTimeout(probeMs, other`select pg_backend_pid() pid, ${1}::int one`)
        return row?.pid
      }
      const first = await ask()
      await sql.begin(async (tx) => {
        await tx`select 1`
        // Without a second connection behind the pooler there is nothing to provoke.
        const pid = other.unsafe('select pg_backend_pid() pid')
        const elsewhere = await withTimeout(probeMs, pid).catch(() => undefined)
        if (!elsewhere || elsewhere[0]?.pid === first) return
        sent = 0
        const again = await ask().catch(() => undefined)
        // postgres.js prepares a statement again that the server does not know.
        if (again === undefined || sent > 1)
          throw new StartError(
            'DATABASE_PREPARE: there is a pooler before the database that keeps no prepared statements, such as PgBouncer before 1.21; give off',
          )
      })
    },
  )
}

/** The reason why waiting does not help, or undefined. The server's messages name no password. */
function refusalOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  const code = String(error.code)
  // A refused log-in, or insufficient_privilege.
  if (error instanceof postgres.PostgresError)
    return unavailableReason(error) === 'refused' || code === '42501'
      ? `the server refuses it: ${error.message} (${code})`
      : undefined
  if (/CERT|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|^HOSTNAME_MISMATCH$|^INVALID_CA$/.test(code))
    return `the server's certificate is not accepted: ${error.message.replace(/\s+/g, ' ')}; give its CA as DATABASE_CA and the host that it names`
  // The server answered the request for TLS, and then went on without, or not at all.
  if (/^(ERR_SSL_|EPROTO)/.test(code) || /before secure TLS connection/.test(error.message))
    return 'the server takes no TLS; turn it on there, or give another sslmode'
  return undefined
}

async function using(open: Open, work: (sql: Sql) => Promise<unknown>) {
  const sql = open({ max: 1 })
  try {
    await work(sql)
  } finally {
    await sql.end({ timeout: 1 })
  }
}
