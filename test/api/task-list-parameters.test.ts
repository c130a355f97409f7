/** Parameters of the list: dates, the limit, and values that are refused. */
import { beforeAll, describe, expect, inject, test } from 'vitest'
import { createClient, type Task, taskPath } from '../support/client.ts'
import { words } from '../support/words.ts'

const client = createClient(inject('wide'))
const { request, register, createTask } = client

type Query = Record<string, string | number>

let token: string
/** The user's tasks as they are now. */
let tasks: Task[]

const list = (query: Query | string = {}, as = token) => {
  const text = typeof query === 'string' ? query : new URLSearchParams(query as Record<string, string>)
  return request('GET', `/api/tasks/?${text}`, { token: as })
}
async function listed(query: Query, as = token): Promise<Task[]> {
  const { status, body } = await list(query, as)
  expect(status, JSON.stringify(body)).toBe(200)
  return body.results
}
const byId = (some: Task[]) => some.toSorted((a, b) => a.id - b.id)

beforeAll(async () => {
  token = (await register()).token
  tasks = []
  for (let i = 0; i < 9; i++) tasks.push(await createTask(token))
  // So that the order of changes is another than that of creation.
  for (const index of [5, 2, 0]) {
    const task = tasks[index] as Task
    const json = { description: 'edited' }
    tasks[index] = (await request('PATCH', taskPath(task), { token, json })).body
  }
})

describe('dates', () => {
  const columns = ['created_at', 'updated_at'] as const

  /** The same moment with another offset. */
  const shifted = (time: string, minutes: number, offset: string) =>
    new Date(Date.parse(time) + minutes * 60_000).toISOString().replace('Z', offset)

  test.each(columns)('limit %s: after is inclusive, before is exclusive', async (column) => {
    const prefix = column.replace('_at', '')
    for (const { [column]: moment } of tasks) {
      const forms = [
        moment,
        moment.replace('Z', '000000Z'),
        moment.replace('T', 't').replace('Z', 'z'),
        shifted(moment, 0, '+00:00'),
        shifted(moment, 0, '-00:00'),
        shifted(moment, 330, '+05:30'),
        shifted(moment, -480, '-08:00'),
      ]
      const after = tasks.filter((task) => task[column] >= moment)
      const before = tasks.filter((task) => task[column] < moment)
      for (const form of forms) {
        expect([form, byId(await listed({ [`${prefix}_after`]: form }))]).toEqual([form, byId(after)])
        expect([form, byId(await listed({ [`${prefix}_before`]: form }))]).toEqual([form, byId(before)])
      }
      for (const next of [moment.replace('Z', '001Z'), moment.replace('Z', '0000001Z')]) {
        const window = { [`${prefix}_after`]: moment, [`${prefix}_before`]: next }
        const exact = tasks.filter((task) => task[column] === moment)
        expect(byId(await listed(window))).toEqual(byId(exact))
        const later = await listed({ [`${prefix}_after`]: next })
        expect(byId(later)).toEqual(byId(tasks.filter((task) => task[column] > moment)))
      }
    }
  })

  test('without a time mean midnight UTC', async () => {
    const user = await register()
    const task = await createTask(user.token)
    const dayOf = (time: number) => new Date(time).toISOString().slice(0, 10)
    const day = task.created_at.slice(0, 10)
    const next = dayOf(Date.parse(task.created_at) + 86_400_000)
    for (const prefix of ['created', 'updated']) {
      const find = (after: string, before: string) =>
        listed({ [`${prefix}_after`]: after, [`${prefix}_before`]: before }, user.token)
      expect(await find(day, next)).toEqual([task])
      expect(await find(next, '9999-12-31')).toEqual([])
      expect(await find('0001-01-01', day)).toEqual([])
    }
  })

  test('with an unencoded + are refused', async () => {
    const { status, body } = await list('created_after=2026-11-22T07:04:05+02:00')
    expect([status, body.errors[0].parameter]).toEqual([400, 'created_after'])
  })
})

describe('limit', () => {
  test.each([1, 2, 19, 99, 100])('%d is the largest number of results', async (limit) => {
    const { status, body } = await list({ limit })
    expect(status).toBe(200)
    expect(body.results).toHaveLength(Math.min(limit, tasks.length))
  })

  test.each([
    ...words('0 101 1000 -1 1e2 1.5 10.0 0x10 +5'),
    ...' 5|5 |abc|١٠|18446744073709551617'.split('|'),
  ])('refuses %j', async (limit) => {
    const { status, body } = await list({ limit })
    expect(status).toBe(400)
    expect(body.errors).toEqual([{ parameter: 'limit', detail: expect.any(String) }])
  })

  test('with leading zeros is that number or is refused, but not the default', async () => {
    const { status, body } = await list({ limit: '007' })
    expect([200, 400]).toContain(status)
    if (status === 200) expect(body.results).toHaveLength(7)
  })
})

describe('parameters', () => {
  const names = ['status', 'assigned_to', 'created_by', 'ordering', 'count', 'limit'].concat(
    ['created', 'updated'].flatMap((name) => [`${name}_after`, `${name}_before`]),
  )

  test.each(names)('an empty %s is refused', async (name) => {
    for (const query of [`${name}=`, name]) {
      const { status, body } = await list(query)
      expect(status).toBe(400)
      expect(body.errors).toEqual([{ parameter: name, detail: expect.any(String) }])
    }
  })

  test('an empty search or cursor is ignored', async () => {
    const expected = (await list({ limit: 3 })).body.results
    for (const query of ['search=', 'cursor=', 'search=&cursor=', 'search', 'cursor']) {
      const { status, body } = await list(`${query}&limit=3`)
      expect([query, status, body.results]).toEqual([query, 200, expected])
      expect(body.previous).toBeNull()
    }
  })

  test.each(
    words(`
    limit=5&limit=5 limit=5&limit=6 status=pending&status=pending assigned_to=me&assigned_to=none
    created_by=me&created_by=me search=a&search=b search=&search= ordering=title&ordering=-title
    count=true&count=true created_after=2026-01-01&created_after=2026-01-01 cursor=&cursor=
    limit=5&li%6Dit=6
  `),
  )('are refused when repeated: %s', async (query) => {
    const { status, body } = await list(query)
    expect(status).toBe(400)
    expect(body.errors).toEqual([{ parameter: query.split('=')[0], detail: expect.any(String) }])
  })

  test('are all reported at once when they are invalid', async () => {
    const query = {
      status: 'x',
      limit: 0,
      ordering: 'x',
      count: 'x',
      assigned_to: 'x',
      created_after: 'x',
      x: 1,
      y: '',
    }
    const { status, body } = await list(query)
    expect(status).toBe(400)
    expect(body.errors.map(({ parameter }: { parameter: string }) => parameter).sort()).toEqual(
      Object.keys(query).sort(),
    )
  })
})
