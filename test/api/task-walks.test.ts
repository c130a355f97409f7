/** Random walks through lists, compared with a model in memory. A failure prints how to repeat it. */
import fc from 'fast-check'
import { beforeAll, describe, expect, inject, test } from 'vitest'
import { type Answer, createClient, type Task, taskPath, type User } from '../support/client.ts'
import { numRuns, seed } from '../support/property-runs.ts'
import { compareCodePoints, folded, isFoundBy } from '../support/search-model.ts'
import { registerBeforeAll } from '../support/users.ts'

const client = createClient(inject('wide'))
const { request, register, createTask } = client

const columns = ['created_at', 'updated_at', 'title'] as const
const orderings = columns.flatMap((column) => [column, `-${column}`])
/** Few, so that some tie. Their order by code point differs from that by UTF-16 or by a locale. */
const titles = ['a', 'B', 'b', 'É', 'e\u0301', '\ufb01', '🐎', 'a b', '_', 'ΟΔΟΣ οδος']

const users = { ann: registerBeforeAll(client), bob: registerBeforeAll(client) }
const { ann, bob } = users

async function get(url: string, { token }: User): Promise<Answer> {
  const answer = await request('GET', url, { token })
  expect(answer.status, `${url} ${JSON.stringify(answer.body)}`).toBe(200)
  return answer
}
async function patch(task: Task, { token }: User, json: unknown): Promise<Task> {
  return (await request('PATCH', taskPath(task), { token, json })).body
}
const idsOf = (tasks: Task[]) => tasks.map(({ id }) => id)
const limited = (url: string, limit: number) => {
  const { pathname, searchParams } = new URL(url, 'http://somewhere')
  searchParams.set('limit', String(limit))
  return `${pathname}?${searchParams}`
}

/** By the ordering, then by id. */
function comparator(ordering: string) {
  const column = ordering.replace('-', '') as (typeof columns)[number]
  const sign = ordering.startsWith('-') ? -1 : 1
  const keyOf = (task: Task) => (column === 'title' ? folded(task.title) : task[column])
  return (a: Task, b: Task) => sign * (compareCodePoints(keyOf(a), keyOf(b)) || a.id - b.id)
}

type Filters = {
  status?: Task['status']
  assigned_to?: 'me' | 'none' | 'ann' | 'bob'
  created_by?: 'me' | 'ann' | 'bob'
  search?: string
}

const matches = (filters: Filters) => (task: Task) => {
  const { status, assigned_to, created_by, search } = filters
  const ids = { ann: ann.id, bob: bob.id, me: ann.id, none: null }
  return (
    (task.created_by === ann.id || task.assigned_to === ann.id) &&
    (status === undefined || task.status === status) &&
    (assigned_to === undefined || task.assigned_to === ids[assigned_to]) &&
    (created_by === undefined || task.created_by === ids[created_by]) &&
    (search === undefined || isFoundBy(search, task))
  )
}

function urlOf(ordering: string, { assigned_to, created_by, ...filters }: Filters) {
  const id = (name: string) => String(users[name as 'ann' | 'bob']?.id ?? name)
  const query = new URLSearchParams({
    ordering,
    ...filters,
    ...(assigned_to ? { assigned_to: id(assigned_to) } : {}),
    ...(created_by ? { created_by: id(created_by) } : {}),
  })
  return `/api/tasks/?${query}`
}

const someFilters: fc.Arbitrary<Filters> = fc.record(
  {
    status: fc.constantFrom('pending', 'completed'),
    assigned_to: fc.constantFrom('me', 'none', 'ann', 'bob'),
    created_by: fc.constantFrom('me', 'ann', 'bob'),
    search: fc.constantFrom('A', 'é', ' ', '\u0301', '🐎', 'zzz', 'b  A', 'edit É', 'DIT fi', 'Σ'),
  },
  { requiredKeys: [] },
)

describe('without writes', () => {
  /** All tasks of both users as they are now. */
  let tasks: Task[]

  beforeAll(async () => {
    const plans = titles.flatMap((title, i) => {
      const status = i % 3 === 0 ? ('completed' as const) : ('pending' as const)
      return [
        { by: ann, values: { title, status } },
        { by: ann, values: { title, assigned_to: i % 2 ? ann.id : bob.id } },
        { by: bob, values: { title, status, assigned_to: i % 4 ? ann.id : bob.id } },
      ]
    })
    // At once, so that some fall into the same millisecond.
    tasks = await Promise.all([...plans, ...plans].map(({ by, values }) => createTask(by.token, values)))
    const edited = tasks.filter((_, i) => i % 5 === 0)
    const changed = await Promise.all(
      edited.map((task) => patch(task, task.created_by === ann.id ? ann : bob, { description: 'edited' })),
    )
    tasks = tasks.map((task) => changed.find(({ id }) => id === task.id) ?? task)
  })

  test.each(orderings)(
    'a walk by %s, forward and back with any limits, shows the same as the model',
    async (ordering) => {
      const step = fc.record({
        direction: fc.constantFrom('next', 'next', 'previous'),
        limit: fc.integer({ min: 1, max: 9 }),
      })
      const walk = fc.tuple(someFilters, fc.array(step, { minLength: 1, maxLength: 12 }))
      await fc.assert(
        fc.asyncProperty(walk, async ([filters, steps]) => {
          const url = urlOf(ordering, filters)
          const { body } = await get(limited(`${url}&count=true`, 100), ann)
          const all: Task[] = body.results
          const compare = comparator(ordering)
          for (const [i, task] of all.entries()) {
            if (i > 0) expect(compare(all[i - 1] as Task, task)).toBeLessThanOrEqual(0)
          }
          const expected = tasks.filter(matches(filters))
          const byId = (some: Task[]) => some.toSorted((a, b) => a.id - b.id)
          expect(byId(all)).toEqual(byId(expected))
          expect(body.count).toBe(expected.length)

          // The page shown is all.slice(from, to).
          let [from, to] = [0, 0]
          let next: string | null = url
          let previous: string | null = null
          for (const { direction, limit } of steps) {
            const target: string | null = direction === 'next' ? next : previous
            if (target === null) continue
            ;[from, to] =
              direction === 'next'
                ? [to, Math.min(to + limit, all.length)]
                : [Math.max(from - limit, 0), from]
            const page: Answer = await get(limited(target, limit), ann)
            expect(page.body.results).toEqual(all.slice(from, to))
            ;({ next, previous } = page.body)
            expect([next === null, previous === null]).toEqual([to === all.length, from === 0])
          }
        }),
        { seed, numRuns: Math.ceil(numRuns / 15) },
      )
    },
  )
})

describe('with concurrent writes', () => {
  type Write = { kind: 'insert' | 'delete' | 'delete the last seen' | 'edit' | 'complete'; seed: number }
  const writes: fc.Arbitrary<Write[]> = fc.array(
    fc.record({
      kind: fc.constantFrom('insert', 'delete', 'delete the last seen', 'edit', 'complete'),
      seed: fc.nat(1000),
    }),
    { maxLength: 3 },
  )
  const meanwhile = fc.tuple(
    fc.constantFrom<Filters>({}, { status: 'pending' }, { created_by: 'me' }, { search: 'b' }),
    fc.array(fc.record({ limit: fc.integer({ min: 1, max: 4 }), writes }), { minLength: 4, maxLength: 12 }),
  )

  async function startingTasks(user: User) {
    return Promise.all(
      Array.from({ length: 18 }, (_, i) =>
        createTask(user.token, { title: titles[i % titles.length] as string }),
      ),
    )
  }

  test.each(orderings)('a walk by %s visits unchanged tasks exactly once', async (ordering) => {
    await fc.assert(
      fc.asyncProperty(meanwhile, async ([filters, steps]) => {
        const user = await register()
        const started = await startingTasks(user)
        const alive = new Map(started.map((task) => [task.id, task]))
        /** Tasks that matched throughout and whose ordering value has not changed. */
        const stayed = new Set(
          idsOf(
            started.filter((task) => matches(filters)({ ...task, created_by: ann.id, assigned_to: null })),
          ),
        )
        const seen: number[] = []

        async function write({ kind, seed }: Write) {
          const at = (some: number[]) => alive.get(some[seed % some.length] ?? -1)
          const task = kind === 'delete the last seen' ? alive.get(seen.at(-1) ?? -1) : at([...alive.keys()])
          if (kind === 'insert') {
            const created = await createTask(user.token, { title: titles[seed % titles.length] as string })
            alive.set(created.id, created)
          } else if (task && kind.startsWith('delete')) {
            await request('DELETE', taskPath(task), { token: user.token })
            alive.delete(task.id)
            stayed.delete(task.id)
          } else if (task) {
            const change = kind === 'edit' ? { description: `edited ${seed}` } : { status: 'completed' }
            await patch(task, user, change)
            const matchesNoMore = kind === 'complete' && filters.status === 'pending'
            if (matchesNoMore || ordering.endsWith('updated_at')) stayed.delete(task.id)
          }
        }

        let url: string | null = urlOf(ordering, filters)
        for (let page = 0; url !== null; page++) {
          // After all steps nothing is written any more, so the walk ends.
          const { limit, writes } = steps[page] ?? { limit: 3, writes: [] }
          const { body }: Answer = await get(limited(url, limit), user)
          seen.push(...idsOf(body.results))
          for (const each of writes) await write(each)
          url = body.next
          expect(page).toBeLessThan(100)
        }
        const times = (id: number) => seen.filter((other) => other === id).length
        expect([...stayed].map((id) => [id, times(id)])).toEqual([...stayed].map((id) => [id, 1]))
        const now = await get(limited(urlOf(ordering, filters), 100), user)
        expect(idsOf(now.body.results)).toEqual(expect.arrayContaining([...stayed]))
      }),
      // Every run makes a user and tasks, so shrinking would make hundreds.
      { seed, numRuns: Math.ceil(numRuns / 50), endOnFailure: true },
    )
  })
})
