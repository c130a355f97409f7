/**
 * The database has the members that src/tasks/task.ts declares, and records an event for what was written; lists
 * page over any ordering, nulls included.
 */
import { randomInt } from 'node:crypto'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { isLive, queryAs } from '../../src/auth/caller.ts'
import type { Database } from '../../src/ports/database.ts'
import { listStatement } from '../../src/resource/list.ts'
import { type Ordering, type Position, pageOf } from '../../src/resource/page.ts'
import { createDatabase, valueOptions } from '../../src/runtime/postgres/postgres.ts'
import { members } from '../../src/tasks/task.ts'
import { startTestPostgres } from '../support/postgres.ts'
import { migrateDatabase } from '../support/processes.ts'

let db: Database & { close(): Promise<void> }
let stop: () => Promise<void>
const caller = { userId: 1, sessionId: 1 }

beforeAll(async () => {
  const server = await startTestPostgres()
  stop = server.stop
  await migrateDatabase(server.url())
  const connect = (own: object) => postgres(server.url(), { ...valueOptions, ...own })
  db = createDatabase(connect, { poolSize: 2, timeoutMs: 60_000 })
  await db.query("insert into users (username, password_hash) values ('ann', '')")
  await db.query("insert into sessions (user_id, salt, expires_at) values (1, '', 'infinity')")
})
afterAll(async () => {
  await db?.close()
  await stop?.()
})

/** Columns that follow from others, or that no answer shows. */
const bookkeeping = ['revision', 'search_text', 'version']

test('the columns of tasks are the declared members and the bookkeeping', async () => {
  const rows = await db.query<{ column_name: string }>(
    "select column_name from information_schema.columns where table_name = 'tasks'",
  )
  const columns = rows.map(({ column_name }) => column_name)
  expect(columns.sort()).toEqual([...Object.keys(members), ...bookkeeping].sort())
})

test('a completion that an insert or an upsert writes is recorded once, and none for one that writes nothing', async () => {
  const events = async (id: number) =>
    (await db.query(`select from outbox where payload -> 'detail' -> 'task' ->> 'id' = $1`, [String(id)]))
      .length
  const insert = (id: number, status: string, otherwise: string) =>
    db.query(
      `insert into tasks (id, title, status, created_by) values ($1, 'By hand', $2, 1)
      on conflict (id) do ${otherwise}`,
      [id, status],
    )
  const [one, other] = [1_000_001, 1_000_002]
  await insert(one, 'pending', 'nothing')
  await insert(one, 'completed', 'nothing')
  expect(await events(one)).toBe(0)
  await insert(one, 'completed', 'update set status = excluded.status')
  await insert(other, 'completed', 'nothing')
  await insert(other, 'completed', 'update set status = excluded.status')
  expect([await events(one), await events(other)]).toEqual([1, 1])
  await db.query('delete from tasks where id in ($1, $2)', [one, other])
})

test('task_json has the declared members', async () => {
  const [row] = await db.query<{ names: string[] }>(
    'select json_agg(name) names from jsonb_object_keys(task_json(null::tasks)) name',
  )
  expect(row?.names.sort()).toEqual(Object.keys(members).sort())
})

test('a change of any column raises the version, one that no program knows included', async () => {
  await db.query("insert into tasks (title, created_by) values ('Buy milk', 1)")
  await db.query('alter table tasks add column unknown_yet text')
  const versionAfter = async (change: string) => {
    const [row] = await db.query<{ version: number }>(`update tasks set ${change} returning version`)
    return row?.version
  }
  expect(await versionAfter("unknown_yet = 'x'")).toBe(2)
  expect(await versionAfter("unknown_yet = 'x', search_text = null")).toBe(2)
  expect(await versionAfter("status = 'completed'")).toBe(3)
  await db.query('alter table tasks drop column unknown_yet')
})

type Row = { id: number | null } & Record<string, string | number | null>

const orderings = {
  due: { key: 't.due', type: 'timestamptz', nullable: true },
  rank: { key: 't.rank', type: 'bigint', nullable: true },
  double: { key: 't.rank * 2', type: 'bigint', nullable: true },
} satisfies Record<string, Ordering>

const things = {
  table: 'things',
  names: ['id', 'owner', 'other', 'due', 'rank'],
  columns: 't.id, t.owner, t.other, extract(epoch from t.due) due, t.rank',
  filters: {},
  orderings,
  sources: [(userId: string) => `t.owner = ${userId}`, (userId: string) => `t.other = ${userId}`],
  live: isLive,
}

async function readPage(ordering: string, limit: number, from: Position | null) {
  const { text, values, key } = listStatement(things, { ordering, limit, count: false }, from)
  const rows = await queryAs<Row>(db, caller, text, values)
  const found = rows.flatMap(({ id, ...row }) => (id === null ? [] : [{ id, value: row[key] ?? null }]))
  return pageOf(found, {
    size: limit,
    from,
    keyOf: ({ value }) => (value === null ? null : String(value)),
  })
}

/** Visits every page, and then goes back to the first. */
async function walk(ordering: string, limit: number) {
  const [forwards, backwards]: number[][] = [[], []]
  let page = await readPage(ordering, limit, null)
  forwards?.push(...page.rows.map(({ id }) => id))
  while (page.next) {
    page = await readPage(ordering, limit, page.next)
    forwards?.push(...page.rows.map(({ id }) => id))
  }
  while (page.previous) {
    page = await readPage(ordering, limit, page.previous)
    backwards?.unshift(...page.rows.map(({ id }) => id))
  }
  return { forwards, backwards }
}

test.each(['due', '-due', 'rank', '-rank', 'double', '-double'])(
  'pages by %s visit each row once, those without a value last',
  async (ordering) => {
    await db.query('drop table if exists things')
    await db.query(
      'create table things (id bigint primary key, owner bigint, other bigint, due timestamptz, rank bigint)',
    )
    const rows = Array.from({ length: 40 }, (_, index) => ({
      id: index + 1,
      owner: randomInt(1, 3),
      other: randomInt(1, 3),
      due: randomInt(3) === 0 ? null : `2026-11-2${randomInt(5)}T00:00:00.000Z`,
      rank: randomInt(3) === 0 ? null : randomInt(4),
    }))
    for (const { id, owner, other, due, rank } of rows)
      await db.query('insert into things values ($1, $2, $3, $4, $5)', [id, owner, other, due, rank])
    // Twice the rank has the order of the rank.
    const member = ordering.endsWith('due') ? 'due' : 'rank'
    const sign = ordering.startsWith('-') ? -1 : 1
    const expected = rows
      .filter(({ owner, other }) => owner === 1 || other === 1)
      .sort((a, b) => {
        const [one, two] = [a[member], b[member]]
        if ((one === null) !== (two === null)) return one === null ? 1 : -1
        if (one !== null && two !== null && one !== two) return one < two ? -sign : sign
        return sign * (a.id - b.id)
      })
      .map(({ id }) => id)
    for (const limit of [1, 3, 7, 100]) {
      const { forwards, backwards } = await walk(ordering, limit)
      expect(forwards).toEqual(expected)
      // The way back begins before the last page.
      expect(backwards).toEqual(expected.slice(0, backwards?.length))
      if (limit < 7) expect(backwards?.length).toBeGreaterThan(0)
    }
  },
)
