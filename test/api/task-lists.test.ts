/** Lists of tasks by every filter, and their count. Search and cursors have files of their own. */
import { beforeAll, describe, expect, inject, test } from 'vitest'
import { createClient, type Task, taskPath, type User } from '../support/client.ts'
import { registerBeforeAll } from '../support/users.ts'

const client = createClient(inject('wide'))
const { request, register, createTask } = client

type Query = Record<string, string | number>

const list = (as: User, query: Query | string = {}) => {
  const text = typeof query === 'string' ? query : new URLSearchParams(query as Record<string, string>)
  return request('GET', `/api/tasks/?${text}`, { token: as.token })
}
async function listed(as: User, query: Query = {}): Promise<Task[]> {
  const { status, body } = await list(as, { limit: 100, ...query })
  expect(status, JSON.stringify(body)).toBe(200)
  return body.results
}
const byId = (tasks: Task[]) => tasks.toSorted((a, b) => a.id - b.id)

const [ann, bob, cyd] = [registerBeforeAll(client), registerBeforeAll(client), registerBeforeAll(client)]
/** All tasks of these three users as they are now. */
let tasks: Task[]
const visibleTo = ({ id }: User) =>
  tasks.filter(({ created_by, assigned_to }) => created_by === id || assigned_to === id)

beforeAll(async () => {
  tasks = []
  const people: [User, User | null][] = [
    [ann, null],
    [ann, ann],
    [ann, bob],
    [ann, cyd],
    [bob, null],
    [bob, ann],
    [bob, bob],
    [bob, cyd],
    [cyd, ann],
    [cyd, bob],
  ]
  for (const [by, to] of people) {
    for (const status of ['pending', 'completed'] as const) {
      tasks.push(await createTask(by.token, { status, assigned_to: to?.id ?? null }))
    }
  }
  // So that the order of changes is another than that of creation.
  for (const index of [12, 3, 0]) {
    const task = tasks[index] as Task
    const creator = [ann, bob, cyd].find(({ id }) => id === task.created_by) as User
    const json = { description: 'edited' }
    tasks[index] = (await request('PATCH', taskPath(task), { token: creator.token, json })).body
  }
})

describe('a list', () => {
  test('is empty for a new user', async () => {
    const { status, headers, body } = await list(await register())
    expect(status).toBe(200)
    expect(body).toEqual({ next: null, previous: null, results: [] })
    expect(headers.get('Link')).toBeNull()
    expect(headers.get('Content-Type')).toMatch(/^application\/json\b/)
    expect(
      headers
        .get('Cache-Control')
        ?.split(/\s*,\s*/)
        .sort(),
    ).toEqual(['no-cache', 'private'])
  })

  test('has each task that the caller created or is assigned to, once', async () => {
    for (const user of [ann, bob, cyd]) expect(byId(await listed(user))).toEqual(byId(visibleTo(user)))
  })

  test('has the newest 20 by default', async () => {
    const user = await register()
    const all: Task[] = []
    for (let i = 0; i < 23; i++) all.push(await createTask(user.token))
    const { body } = await list(user)
    expect(body.results).toHaveLength(20)
    const times = body.results.map(({ created_at }: Task) => created_at)
    expect(times).toEqual(
      all
        .map(({ created_at }) => created_at)
        .sort()
        .reverse()
        .slice(0, 20),
    )
    for (const query of [{ limit: 20 }, { ordering: '-created_at' }, { count: 'false' }]) {
      expect((await list(user, query)).body.results).toEqual(body.results)
    }
  })

  test('shows every write at once', async () => {
    const user = await register()
    for (let round = 0; round < 10; round++) {
      const task = await createTask(user.token)
      expect(await listed(user)).toContainEqual(task)
      const { body } = await request('PATCH', taskPath(task), {
        token: user.token,
        json: { title: 'Changed' },
      })
      expect(await listed(user, { search: 'Changed' })).toEqual([body])
      await request('DELETE', taskPath(task), { token: user.token })
      expect(await listed(user)).toEqual([])
    }
  })
})

describe('ordering', () => {
  test.each(['created_at', 'updated_at', 'title'] as const)(
    'by %s, ascending and descending',
    async (column) => {
      for (const sign of ['', '-']) {
        const found = await listed(ann, { ordering: sign + column })
        const values = found.map((task) => task[column])
        // These titles are ASCII: comparing them by UTF-16 is comparing by code point.
        expect(values).toEqual(sign ? values.toSorted().reverse() : values.toSorted())
        expect(byId(found)).toEqual(byId(visibleTo(ann)))
      }
    },
  )

  test.each(['id', 'status', 'CREATED_AT', '--title', '+title', 'title,created_at', 'created_at desc', '-'])(
    'refuses %s',
    async (ordering) => {
      const { status, body } = await list(ann, { ordering })
      expect([status, body.errors]).toEqual([400, [{ parameter: 'ordering', detail: expect.any(String) }]])
    },
  )
})

describe('filters', () => {
  const userFilters = (me: User): [Query, (task: Task) => boolean][] => [
    [{}, () => true],
    [{ status: 'pending' }, ({ status }) => status === 'pending'],
    [{ status: 'completed' }, ({ status }) => status === 'completed'],
    [{ assigned_to: 'none' }, ({ assigned_to }) => assigned_to === null],
    [{ assigned_to: 'me' }, ({ assigned_to }) => assigned_to === me.id],
    [{ created_by: 'me' }, ({ created_by }) => created_by === me.id],
    ...[ann, bob, cyd].flatMap(({ id }): [Query, (task: Task) => boolean][] => [
      [{ assigned_to: id }, ({ assigned_to }) => assigned_to === id],
      [{ created_by: id }, ({ created_by }) => created_by === id],
    ]),
  ]

  test.each([
    ['ann', ann],
    ['bob', bob],
    ['cyd', cyd],
  ])('alone and in pairs find exactly the matching tasks that %s may see', async (_, user) => {
    const filters = userFilters(user)
    for (const [first, firstMatches] of filters) {
      for (const [second, secondMatches] of filters) {
        if (Object.keys(first).some((name) => name in second)) continue
        const expected = visibleTo(user).filter((task) => firstMatches(task) && secondMatches(task))
        const { body } = await list(user, { ...first, ...second, count: 'true', limit: 100 })
        expect([first, second, byId(body.results)]).toEqual([first, second, byId(expected)])
        expect([first, second, body.count]).toEqual([first, second, expected.length])
      }
    }
  })

  test('by absent users find nothing', async () => {
    for (const query of [{ assigned_to: 2 ** 40 }, { created_by: 2 ** 40 }]) {
      expect(await listed(ann, query)).toEqual([])
    }
  })

  test('can be combined with search, dates and orderings', async () => {
    const expected = visibleTo(ann).filter(
      ({ status, description, created_by }) =>
        status === 'completed' && description === 'edited' && created_by === ann.id,
    )
    expect(expected).toHaveLength(1)
    const query = {
      status: 'completed',
      created_by: 'me',
      search: 'EDITED',
      created_after: '2020-01-01',
      updated_before: '2999-01-01T00:00:00Z',
      ordering: 'title',
    }
    expect(await listed(ann, query)).toEqual(expected)
  })

  test.each([
    ['status', ['done', 'PENDING', 'none', 'pending,completed', 'pending ']],
    [
      'assigned_to',
      ['nobody', 'ME', '-1', '1.5', '0', '1e3', '0x1', 'null', ' 1', '1,2', '99999999999999999999'],
    ],
    ['created_by', ['none', 'Me', '-1', '1.5', '0', 'ann', '99999999999999999999']],
    ['count', ['1', 'yes', 'TRUE', 'exact', 'null']],
  ])('%s refuses unknown values', async (parameter, values) => {
    for (const value of values) {
      const { status, body } = await list(ann, { [parameter]: value })
      expect([value, status]).toEqual([value, 400])
      expect(body.errors).toEqual([{ parameter, detail: expect.any(String) }])
    }
  })
})

describe('count', () => {
  test('is that of all matching tasks for any limit, and absent unless requested', async () => {
    for (const limit of [1, 7, 100]) {
      const { body } = await list(ann, { count: 'true', limit })
      expect(body.count).toBe(visibleTo(ann).length)
      expect(body.results).toHaveLength(Math.min(limit, visibleTo(ann).length))
    }
    for (const query of [{}, { count: 'false' }])
      expect((await list(ann, query)).body).not.toHaveProperty('count')
  })
})
