/**
 * Explains the task statements on a large database: `npm run explain -- [tasks]`. Starts a Postgres, fills it
 * with a million tasks, and runs each statement for three users: heavy has half of the tasks, skewed 300,000
 * completed ones and 5 pending, light twenty. Each is planned for the values at hand and by the generic plan,
 * which a connection keeps for all values. Prints a table in Markdown. Fails if a statement reads all tasks,
 * sorts more than a page of them, or reads more blocks than a page needs.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { createLogger } from '../src/core/log.ts'
import type { Database } from '../src/ports/database.ts'
import type { Position } from '../src/resource/page.ts'
import { startEmbeddedPostgres } from '../src/runtime/embedded-postgres/start.ts'
import { readMigrations } from '../src/runtime/postgres/migration-files.ts'
import { migrate } from '../src/runtime/postgres/migrations.ts'
import { createDatabase, valueOptions } from '../src/runtime/postgres/postgres.ts'
import * as queries from '../src/tasks/queries.ts'
import { listTasks } from '../src/tasks/queries.ts'
import { TaskListQuery } from '../src/tasks/schemas.ts'
import { root } from '../test/support/directories.ts'

const total = Number(process.argv[2] ?? 1_000_000)
const runs = 5
/** A row is at most two blocks away from its index entry; four ranges give 101 rows each. */
const mostBlocks = 800
const modes = ['custom', 'generic'] as const

type Plan = {
  'Node Type': string
  'Relation Name'?: string
  'Actual Rows': number
  'Actual Loops': number
  'Index Name'?: string
  Plans?: Plan[]
  'Shared Hit Blocks': number
  'Shared Read Blocks': number
}

async function main() {
  const directory = await mkdtemp(join(tmpdir(), 'task-api-explain-'))
  const log = createLogger('warn')
  const server = await startEmbeddedPostgres({ dataDirectory: directory, packageRoot: root, log })
  const seen: Seen[] = []
  const sql = postgres({
    ...server.connection,
    ...valueOptions,
    max: 1,
    debug: (_, text, parameters) => seen.push({ text, parameters }),
  })
  try {
    await migrate(sql as unknown as postgres.Sql, await readMigrations(join(root, 'sql')), log)
    await fill(sql as unknown as postgres.Sql)
    await explainAll(
      sql as unknown as postgres.Sql,
      createDatabase(() => sql, { poolSize: 1, timeoutMs: 60_000 }),
      seen,
    )
  } finally {
    await sql.end({ timeout: 5 })
    await server.stop()
    await rm(directory, { recursive: true, force: true })
  }
}

/**
 * User 1 creates half of all tasks and is assigned a tenth of all; user 2 has twenty; user 1003 creates three
 * tenths, of which 5 are pending; a thousand share the rest.
 */
async function fill(sql: postgres.Sql) {
  await sql`
    insert into users (username, password_hash) select 'user-' || n, 'none' from generate_series(1, 1003) n`
  await sql`insert into sessions (user_id, salt, expires_at) select id, 'salt', now() + interval '1 day' from users`
  await sql`
    insert into tasks (title, description, status, assigned_to, created_by, created_at, updated_at)
    select
      'Task ' || md5(n::text), case when n % 3 = 0 then repeat(md5(n::text) || ' ', 5) end,
      case when n % 100 = 0 or n % (${total}::int / 5) = 23 then 'pending' else 'completed' end,
      case when n % 10 = 0 then 1 + n % 2 * 2 when n % 10 = 1 then 1 when n <= 20 then 2 end,
      case when n <= 20 then 2 when n % 2 = 0 then 1 when n % 10 < 6 then 1003 else 3 + n % 1000 end,
      now() - (${total} - n) * interval '10 seconds', now() - (n % 100000) * interval '7 seconds'
    from generate_series(1, ${total}::int) n`
  await sql`truncate outbox`
  await sql`vacuum analyze`
}

const none = { match: null, noneMatch: null }
const query = (more: Record<string, string> = {}) => TaskListQuery.parse(more)

async function explainAll(sql: postgres.Sql, db: Database, seen: Seen[]) {
  const middle = new Date(Date.now() - total * 5000).toISOString()
  const place: Position = { value: middle, id: total / 2, direction: 'after', inclusive: false }
  const titled: Position = { ...place, value: 'task 8' }
  const rows: string[] = []
  let failed = false
  for (const [name, userId] of [
    ['heavy', 1],
    ['skewed', 1003],
    ['light', 2],
  ] as const) {
    const caller = { userId, sessionId: userId }
    const id = { heavy: total - (total % 2), skewed: total - (total % 10) - 5, light: 7 }[name]
    const list =
      (more: Record<string, string>, position: Position | null = null) =>
      () =>
        listTasks(db, caller, query(more), position)
    const cases: [string, () => Promise<unknown>, { whole?: boolean }?][] = [
      ['list', list({})],
      ['list, from the middle', list({}, place)],
      ['list, backwards from the middle', list({}, { ...place, direction: 'before' })],
      ['list by created_at', list({ ordering: 'created_at' })],
      ['list by -updated_at', list({ ordering: '-updated_at' })],
      ['list by title', list({ ordering: 'title' })],
      ['list by title, from the middle', list({ ordering: 'title' }, titled)],
      ['list, limit=100', list({ limit: '100' })],
      ['list, status=pending', list({ status: 'pending' })],
      ['list, status=pending, from the middle', list({ status: 'pending' }, place)],
      ['list by -updated_at, status=pending', list({ ordering: '-updated_at', status: 'pending' })],
      ['list by title, status=pending', list({ ordering: 'title', status: 'pending' })],
      ['list, status=completed', list({ status: 'completed' })],
      ['list, assigned_to=me', list({ assigned_to: 'me' })],
      // No index serves it: reads past the assigned ones.
      ['list, assigned_to=none', list({ assigned_to: 'none' }), { whole: true }],
      ['list, created_by=me', list({ created_by: 'me' })],
      [
        'list, created in one day',
        list({
          created_after: middle,
          created_before: new Date(Date.parse(middle) + 86_400_000).toISOString(),
        }),
      ],
      ['list, search with many hits', list({ search: 'task a' })],
      ['list, search without a hit', list({ search: 'nowhere' }), { whole: true }],
      ['list, search without a hit, two words', list({ search: 'task nowhere' }), { whole: true }],
      ['list, count=true', list({ count: 'true' }), { whole: true }],
      ['read', () => queries.findTask(db, caller, id)],
      ['create', () => queries.insertTask(db, caller, { title: 'New' })],
      [
        'create, Idempotency-Key',
        () => queries.insertTaskOnce(db, caller, { title: 'New' }, { key: 'k', hash: 'h' }),
      ],
      ['update', () => queries.updateTask(db, caller, id, { title: 'Changed' }, none)],
      ['complete', () => queries.updateTask(db, caller, id, { status: 'completed' }, none)],
      ['delete', () => queries.deleteTask(db, caller, id, none)],
    ]
    for (const [label, run, { whole = false } = {}] of cases) {
      seen.length = 0
      await sql`begin`
      await run()
      await sql`rollback`
      const statement = seen.find(({ text }) => text.includes('sessions'))
      if (!statement) throw new Error(`${label}: no statement was seen`)
      const cells: string[] = []
      const indexes = new Set<string>()
      for (const mode of modes) {
        const { milliseconds, plan } = await explain(sql, statement, mode)
        const nodes = flatten(plan)
        const scans = nodes.filter(
          (node) => node['Node Type'] === 'Seq Scan' && node['Relation Name'] === 'tasks',
        )
        const sorted = Math.max(0, ...nodes.filter((node) => node['Node Type'].includes('Sort')).map(rowsOf))
        const blocks = plan['Shared Hit Blocks'] + plan['Shared Read Blocks']
        const tooMuch = !whole && (sorted > 404 || blocks > mostBlocks)
        const wrong = tooMuch || scans.some((scan) => rowsOf(scan) > 0)
        failed ||= wrong
        cells.push(milliseconds.toFixed(2), `${blocks}${wrong ? ' **too much**' : ''}`)
        for (const { 'Index Name': index } of nodes) if (index?.startsWith('tasks')) indexes.add(index)
      }
      rows.push(`| ${name} | ${label} | ${cells.join(' | ')} | ${[...indexes].join(', ')} |`)
    }
  }
  const [{ version }] = await sql<[{ version: string }]>`select split_part(version(), ' on ', 1) as version`
  console.log(`${version}, ${total.toLocaleString('en')} tasks, median of ${runs} runs.\n`)
  console.log('| user | statement | ms | blocks | ms, generic | blocks, generic | indexes on tasks |')
  console.log('| --- | --- | ---: | ---: | ---: | ---: | --- |')
  console.log(rows.join('\n'))
  if (failed) process.exitCode = 1
}

type Value = string | number | boolean | null
type Seen = { text: string; parameters: unknown[] }

const literal = (value: Value) =>
  typeof value === 'string' ? `'${value.replaceAll("'", "''")}'` : String(value)

/** Returns the median of several runs, each rolled back. `explain` alone would plan for the values at hand. */
async function explain(sql: postgres.Sql, { text, parameters }: Seen, mode: (typeof modes)[number]) {
  const results: { milliseconds: number; plan: Plan }[] = []
  const values = parameters.map((value) => literal(value as Value)).join(', ')
  await sql.unsafe(`set plan_cache_mode = force_${mode}_plan`)
  await sql.unsafe(`prepare explained as ${text}`)
  for (let run = 0; run < runs; run++) {
    await sql`begin`
    const [row] = await sql.unsafe(`explain (analyze, buffers, format json) execute explained (${values})`)
    await sql`rollback`
    const [result] = (row?.['QUERY PLAN'] ?? []) as { Plan: Plan; 'Execution Time': number }[]
    if (!result) throw new Error('no plan')
    results.push({ milliseconds: result['Execution Time'], plan: result.Plan })
  }
  await sql.unsafe('deallocate explained')
  const [median] = results.sort((a, b) => a.milliseconds - b.milliseconds).slice(Math.floor(runs / 2))
  if (!median) throw new Error('no run')
  return median
}

const flatten = (plan: Plan): Plan[] => [plan, ...(plan.Plans ?? []).flatMap(flatten)]
const rowsOf = (plan: Plan) => plan['Actual Rows'] * plan['Actual Loops']

await main()
