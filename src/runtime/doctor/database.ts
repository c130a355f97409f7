/** The database: whether it is there, fit for this program, and reached in a way one would want. It only reads. */
import { join } from 'node:path'
import type { Sql } from 'postgres'
import { describeFailure } from '../../core/failure.ts'
import { schemaVersion } from '../../ports/schema-version.ts'
import { findNative } from '../embedded-postgres/native.ts'
import { findEmbeddedPostgres } from '../embedded-postgres/start.ts'
import { readMigrations } from '../postgres/migration-files.ts'
import { migrationStatus } from '../postgres/migrations.ts'
import { connectAsOperator } from '../postgres/operator-database.ts'
import { findSettingFaults } from '../postgres/server-settings.ts'
import { describeTls, examineWay } from './database-way.ts'
import { type Finding, failed, ok, type Patient, warning } from './finding.ts'

/** Major versions. */
const supported = { oldest: 15, newest: 18 }
/** Times are the database's here and the API's there. In ms. */
const skew = { warning: 2000, failed: 60_000 }
/** In ms: every request waits for one round trip. */
const slow = 50

export async function checkDatabase(patient: Patient): Promise<Finding[]> {
  const { config, dataDirectory, packageRoot } = patient
  if (!config.databaseUrl && !(await findEmbeddedPostgres({ dataDirectory, packageRoot }))) {
    const { version } = await findNative(packageRoot)
    return [ok('database', `its own, Postgres ${version}; npm start starts it`)]
  }
  const { databaseUrl, databaseCa } = config
  const sql = await connectAsOperator({ databaseUrl, databaseCa, dataDirectory, packageRoot })
  try {
    const findings = await examine(sql, patient)
    return databaseUrl ? [...findings, ...(await examineWay(databaseUrl, patient))] : findings
  } catch (error) {
    return [
      failed(
        'database',
        `cannot be used: ${describeFailure(error)}`,
        'start it, or mend DATABASE_URL: host, port, user, password, database and sslmode',
      ),
    ]
  } finally {
    await sql.end({ timeout: 2 })
  }
}

type Server = {
  version: number
  name: string
  role: string
  superuser: boolean
  bypasses: boolean
  standby: boolean
  read_only: boolean
  encoding: string
  has_collation: boolean
  tls: string | null
  max_connections: number
  may_write: boolean
  may_create: boolean
}

async function examine(sql: Sql, patient: Patient): Promise<Finding[]> {
  // The first one makes the connection.
  await sql`select 1`
  const latencyMs = await measure(sql)
  const [server] = await sql<[Server]>`
    select
      current_setting('server_version_num')::int / 10000 version,
      current_setting('server_version') as name,
      current_user as role,
      r.rolsuper superuser,
      r.rolbypassrls bypasses,
      pg_is_in_recovery() standby,
      current_setting('transaction_read_only') = 'on' read_only,
      current_setting('server_encoding') as encoding,
      exists (select from pg_collation where collname = 'und-x-icu') has_collation,
      (select version || ' ' || cipher from pg_stat_ssl where pid = pg_backend_pid() and ssl) tls,
      current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int max_connections,
      coalesce((
        select bool_and(has_table_privilege(c.oid, needed))
        from pg_class c cross join unnest('{select,insert,update,delete}'::text[]) needed where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r'
          and c.relname <> 'schema_migrations'
      ), true) may_write,
      has_schema_privilege(current_schema(), 'create') may_create
    from pg_roles r where r.rolname = current_user`
  return [
    describeLatency(latencyMs, server),
    describeVersion(server),
    await checkSchema(sql, patient),
    ...describeRole(server),
    ...describeReach(server, patient),
    describeClock(await clockSkew(sql)),
    ...describeText(server),
    ...(await checkSettings(sql, patient)),
  ]
}

function describeLatency(ms: number, { standby, read_only }: Server): Finding {
  if (standby || read_only)
    return failed(
      'database',
      'takes no writes: it is a standby, or read-only',
      'give the address of the writer',
    )
  const detail = `answers in ${ms.toFixed(1)} ms`
  return ms > slow
    ? warning('database', detail, 'every request waits for it: keep it in the same region and network')
    : ok('database', detail)
}

function describeVersion({ version, name }: Server): Finding {
  const detail = `Postgres ${name}`
  if (version < supported.oldest)
    return failed('database version', detail, `run ${supported.oldest} or newer`)
  return version > supported.newest
    ? warning(
        'database version',
        `${detail}, which was not tried`,
        `prefer ${supported.oldest} to ${supported.newest}`,
      )
    : ok('database version', detail)
}

/** That it takes no writes has a finding of its own. */
async function checkSettings(sql: Sql, { config }: Patient): Promise<Finding[]> {
  const name = 'database settings'
  const faults = await findSettingFaults(sql, { statementMs: config.databaseTimeoutMs })
  const found = faults.filter(({ weight }) => weight !== 'read only')
  if (found.length === 0) return [ok(name, 'change nothing here')]
  return found.map(({ name: setting, detail, weight }) =>
    (weight === 'refused' ? failed : warning)(
      name,
      detail,
      `reset it: alter role … reset ${setting}, alter database … reset ${setting}, or in postgresql.conf`,
    ),
  )
}

async function checkSchema(sql: Sql, { packageRoot, config }: Patient): Promise<Finding> {
  const { migrations, problems } = await migrationStatus(sql, await readMigrations(join(packageRoot, 'sql')))
  if (problems.length > 0) return failed('schema', problems.join('; '), 'see npm run migrate -- status')
  const pending = migrations.filter(({ applied_at }) => applied_at === null)
  if (migrations.length > schemaVersion)
    return warning(
      'schema',
      `at ${migrations.at(-1)?.name}, newer than this program's`,
      'start the newer program here as well',
    )
  if (pending.length === 0) return ok('schema', `version ${schemaVersion}, as this program has it`)
  const advice = config.databaseUrl ? 'npm run migrate' : 'npm start once more, which applies them'
  return failed('schema', `lacks ${pending.map(({ name }) => name).join(', ')}`, advice)
}

function describeRole({ role, superuser, bypasses, may_write, may_create }: Server): Finding[] {
  const findings = []
  if (superuser || bypasses)
    findings.push(
      warning(
        'role',
        `${role} ${superuser ? 'is a superuser' : 'bypasses row security'}: whoever gets at it gets at everything`,
        'connect as a role that owns this database and nothing more',
      ),
    )
  if (!may_write)
    findings.push(
      failed(
        'role',
        `${role} may not read and write all tables`,
        `grant select, insert, update, delete on all tables to ${role}`,
      ),
    )
  else if (!may_create)
    findings.push(
      warning(
        'role',
        `${role} may not create tables, which migrations do`,
        'run npm run migrate as their owner',
      ),
    )
  return findings.length > 0 ? findings : [ok('role', role)]
}

function describeReach({ tls, max_connections: most }: Server, { config }: Patient): Finding[] {
  const { databaseUrl, databaseCa, databasePool, webConcurrency } = config
  const wanted = databasePool * webConcurrency
  const pool =
    wanted > most
      ? warning(
          'connections',
          `up to ${wanted} from here, the server takes ${most} in all`,
          'give a smaller DATABASE_POOL, or put a pooler in front',
        )
      : ok('connections', `up to ${wanted} from here of ${most}`)
  if (!databaseUrl) return [pool]
  return [describeTls(tls, { databaseUrl, databaseCa }), pool]
}

function describeClock(ms: number): Finding {
  const detail = `the database's is ${Math.abs(ms) < 100 ? 'the same' : `${(ms / 1000).toFixed(1)} s off`}`
  const advice = 'let both machines take their time from NTP'
  if (Math.abs(ms) > skew.failed) return failed('clock', detail, advice)
  return Math.abs(ms) > skew.warning ? warning('clock', detail, advice) : ok('clock', detail)
}

function describeText({ encoding, has_collation }: Server): Finding[] {
  return [
    encoding === 'UTF8'
      ? ok('encoding', encoding)
      : failed('encoding', `${encoding} cannot hold every text`, "create the database with encoding 'UTF8'"),
    has_collation
      ? ok('collation', 'und-x-icu, which search folds case by')
      : failed(
          'collation',
          'und-x-icu is missing: search fails',
          'run a Postgres that is built with ICU, as packages and services are',
        ),
  ]
}

async function measure(sql: Sql): Promise<number> {
  const times = []
  for (let i = 0; i < 5; i++) {
    const begun = performance.now()
    await sql`select 1`
    times.push(performance.now() - begun)
  }
  return Math.min(...times)
}

/** How far ahead the server's clock is, in ms, give or take half of the round trip. */
async function clockSkew(sql: Sql): Promise<number> {
  const before = Date.now()
  const [row] = await sql<[{ ms: number }]>`
    select (extract(epoch from clock_timestamp()) * 1000)::bigint ms`
  return row.ms - (before + Date.now()) / 2
}
