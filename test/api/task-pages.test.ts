/** Pages of a list, and their cursors. Random walks have a file of their own. */
import { describe, expect, inject, test } from 'vitest'
import { type Answer, createClient, newName, type Task, taskPath, type User } from '../support/client.ts'
import { words } from '../support/words.ts'

const client = createClient(inject('wide'))
const { request, register, logIn, createTask } = client

const get = async (url: string, { token }: Pick<User, 'token'>) => {
  const answer = await request('GET', url, { token })
  expect(answer.status, `${url} ${JSON.stringify(answer.body)}`).toBe(200)
  return answer
}
const idsOf = ({ body }: Answer): number[] => body.results.map(({ id }: Task) => id)
const remove = ({ token }: User, id: number) => request('DELETE', taskPath({ id }), { token })

/** The URL with other parameters; undefined removes one. */
function changed(url: string, parameters: Record<string, string | undefined>): string {
  const { pathname, searchParams } = new URL(url, 'http://somewhere')
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined) searchParams.delete(name)
    else searchParams.set(name, value)
  }
  return `${pathname}?${searchParams}`
}
const cursorOf = (url: string) => new URL(url, 'http://somewhere').searchParams.get('cursor') ?? ''

/** A new user with tasks of one title, which tie when they are ordered by it. */
async function userWithTasks(number: number, title = 'Same') {
  const user = await register()
  const ids: number[] = []
  while (ids.length < number) {
    const batch = Array.from({ length: Math.min(8, number - ids.length) }, () =>
      createTask(user.token, { title }),
    )
    ids.push(...(await Promise.all(batch)).map(({ id }) => id))
  }
  return { user, ids: ids.sort((a, b) => a - b) }
}

/** Follows `next` or `previous` to the end. */
async function walk(user: Pick<User, 'token'>, url: string, direction: 'next' | 'previous' = 'next') {
  const pages: Answer[] = []
  for (let to: string | null = url; to !== null; to = pages.at(-1)?.body[direction]) {
    pages.push(await get(to, user))
    if (pages.length > 200) throw new Error(`no end of ${direction}`)
  }
  return pages
}

async function expectBadCursor(user: Pick<User, 'token'>, url: string) {
  const { status, headers, body } = await request('GET', url, { token: user.token })
  expect([url, status]).toEqual([url, 400])
  expect(headers.get('Content-Type')).toMatch(/^application\/problem\+json\b/)
  expect(body.errors).toEqual([{ parameter: 'cursor', detail: expect.any(String) }])
}

describe('next and previous', () => {
  test('are absolute paths in body and Link, for any forwarded host', async () => {
    const { user } = await userWithTasks(3)
    const headers = {
      'X-Forwarded-Host': 'evil.example.com',
      'X-Forwarded-Proto': 'https',
      Forwarded: 'host=evil.example.com;proto=https',
    }
    const links = ({ headers }: Answer) =>
      [...(headers.get('Link') ?? '').matchAll(/<([^>]*)>\s*;\s*rel="?(\w+)"?/g)].map(([, url, rel]) => [
        rel,
        url,
      ])
    const first = await request('GET', '/api/tasks/?limit=1', { token: user.token, headers })
    expect(first.body.previous).toBeNull()
    expect(first.body.next).toMatch(/^\/api\/tasks\/\?/)
    expect(links(first)).toEqual([['next', first.body.next]])
    const second = await get(first.body.next, user)
    expect(second.body.previous).toMatch(/^\/api\/tasks\/\?/)
    expect(links(second).sort()).toEqual([
      ['next', second.body.next],
      ['prev', second.body.previous],
    ])
    const third = await get(second.body.next, user)
    expect(third.body.next).toBeNull()
    expect(links(third)).toEqual([['prev', third.body.previous]])
  })

  test.each([1, 2, 3, 5, 9, 10, 11, 20])(
    'lead through 10 tasks and back with %d on a page',
    async (limit) => {
      const { user, ids } = await userWithTasks(10)
      const pages = await walk(user, `/api/tasks/?limit=${limit}`)
      expect(pages).toHaveLength(Math.ceil(ids.length / limit))
      for (const page of pages.slice(0, -1)) expect(idsOf(page)).toHaveLength(limit)
      const found = pages.flatMap(idsOf)
      expect(found.toSorted((a, b) => a - b)).toEqual(ids)
      const back = await walk(user, pages.at(-1)?.body.previous ?? '/api/tasks/?limit=20', 'previous')
      const others = pages.length > 1 ? found.slice(0, -idsOf(pages.at(-1) as Answer).length) : found
      expect(back.toReversed().flatMap(idsOf)).toEqual(others)
      // And forward again from the end of the way back.
      const again = await walk(user, back.at(-1)?.body.next ?? '/api/tasks/?limit=20')
      expect([...idsOf(back.at(-1) as Answer), ...again.flatMap(idsOf)].slice(0, found.length)).toEqual(found)
    },
  )

  test('have pages of exactly 100 for a limit of 100', async () => {
    const { user, ids } = await userWithTasks(205)
    const pages = await walk(user, '/api/tasks/?limit=100&ordering=created_at&count=true')
    expect(pages.map((page) => [idsOf(page).length, page.body.count])).toEqual([
      [100, 205],
      [100, 205],
      [5, 205],
    ])
    expect(pages.flatMap(idsOf).sort((a, b) => a - b)).toEqual(ids)
  })

  test.each(['title', '-title'])('visit ties once each, by %s', async (ordering) => {
    const { user, ids } = await userWithTasks(17)
    for (const limit of [1, 4]) {
      const pages = await walk(user, `/api/tasks/?ordering=${ordering}&limit=${limit}`)
      expect(pages.flatMap(idsOf).sort((a, b) => a - b)).toEqual(ids)
    }
  })

  test('keep filters with any characters', async () => {
    const { user } = await userWithTasks(3, 'a & b=c #d %25 + é "🐎" \\')
    await createTask(user.token, { title: 'another' })
    const query = new URLSearchParams({
      search: 'A & B=C #D %25 + É "🐎" \\',
      created_after: '2020-01-01T00:00:00+02:00',
      status: 'pending',
      created_by: 'me',
      assigned_to: 'none',
      ordering: '-title',
      count: 'true',
      limit: '1',
    })
    const pages = await walk(user, `/api/tasks/?${query}`)
    expect(pages.map((page) => [idsOf(page).length, page.body.count])).toEqual(Array(3).fill([1, 3]))
    expect(await walk(user, pages[2]?.body.previous, 'previous')).toHaveLength(2)
  })

  test.each(['search=', 'cursor=', 'search=&cursor='])(
    'can be followed from a list with an empty %s',
    async (query) => {
      const { user, ids } = await userWithTasks(3)
      const pages = await walk(user, `/api/tasks/?${query}&limit=1`)
      expect(pages.flatMap(idsOf).sort((a, b) => a - b)).toEqual(ids)
    },
  )

  test('answer the same page every time', async () => {
    const { user } = await userWithTasks(4)
    const first = await get('/api/tasks/?limit=2', user)
    const next = await get(first.body.next, user)
    for (let i = 0; i < 2; i++) expect((await get(first.body.next, user)).body).toEqual(next.body)
    const back = await get(next.body.previous, user)
    expect(back.body.results).toEqual(first.body.results)
    expect(back.body.previous).toBeNull()
    expect(idsOf(await get(back.body.next, user))).toEqual(idsOf(next))
  })
})

/** Size of the headers without the status line. */
const headerBytes = ({ headers }: Answer) =>
  [...headers].reduce((bytes, [name, value]) => bytes + Buffer.byteLength(`${name}: ${value}\r\n`), 0)

describe('long titles and parameters', () => {
  const emoji = (count: number) =>
    Array.from({ length: count }, (_, i) => String.fromCodePoint(0x1f300 + ((i * 37) % 0x150))).join('')
  const titled = async (titles: string[]) => {
    const user = await register()
    const ids: number[] = []
    for (const title of titles) ids.push((await createTask(user.token, { title })).id)
    return { user, ids }
  }

  test.each(['title', '-title'])('lead to short headers and URLs, by %s', async (ordering) => {
    const { user, ids } = await titled(Array(3).fill(emoji(255)))
    const longest = new URLSearchParams({
      search: emoji(100),
      created_after: `2020-01-01T00:00:00.${'0'.repeat(2000)}1+00:00`,
      created_before: `2999-01-01T00:00:00.${'9'.repeat(2000)}+00:00`,
      updated_after: '2020-01-01T00:00:00.123456+00:00',
      updated_before: '2999-01-01T00:00:00.123456+00:00',
      status: 'pending',
      created_by: String(user.id),
      assigned_to: 'none',
    })
    for (const query of [longest, new URLSearchParams()]) {
      const pages = await walk(user, `/api/tasks/?ordering=${ordering}&count=true&limit=1&${query}`)
      expect(pages.flatMap(idsOf).toSorted((a, b) => a - b)).toEqual(ids)
      for (const page of pages) {
        expect(headerBytes(page)).toBeLessThan(4096)
        const { next, previous } = page.body
        for (const url of [next, previous]) expect(url?.length ?? 0).toBeLessThan(4096)
        const link = page.headers.get('Link')
        if (link) expect(link.length).toBeLessThan(2048)
        else expect(`${next}${previous}`.length).toBeGreaterThan(1900)
      }
    }
  })

  test('leave out the Link header only if it would be long', async () => {
    const { user } = await titled(Array(3).fill(emoji(255)))
    const first = await get('/api/tasks/?ordering=title&limit=1', user)
    expect(first.headers.get('Link')).toContain(first.body.next)
    const long = await get(`/api/tasks/?${new URLSearchParams({ search: emoji(100), limit: '1' })}`, user)
    const middle = await get(long.body.next, user)
    expect(long.headers.get('Link')).toContain(long.body.next)
    expect([middle.body.next, middle.body.previous]).toEqual([expect.any(String), expect.any(String)])
    expect(middle.headers.get('Link')).toBeNull()
  })

  // The tasks differ in the last character, and the task of each cursor is deleted or renamed.
  test.each(['title', '-title'])(
    'are visited once each while they are deleted and renamed, by %s',
    async (ordering) => {
      const { user, ids } = await titled(['a', 'b', 'b', 'c', 'd', 'e'].map((end) => emoji(254) + end))
      const seen: number[] = []
      let url: string | null = `/api/tasks/?ordering=${ordering}&limit=1`
      for (let turn = 0; url; turn++) {
        const page: Answer = await get(url, user)
        const [id] = idsOf(page)
        if (id) seen.push(id)
        if (id && turn % 2) await remove(user, id)
        else if (id) {
          // Moves it to where the walk has already been.
          const title = ordering === 'title' ? '!' : '\u{10ffff}'
          await request('PATCH', taskPath({ id }), { token: user.token, json: { title } })
        }
        url = page.body.next
      }
      expect(seen.toSorted((a, b) => a - b)).toEqual(ids)
    },
  )
})

describe('a page of very long tasks', () => {
  const titles = (pages: Answer[]) =>
    pages.flatMap(({ body }) => body.results.map(({ title }: Task) => title))

  test.each(['title', '-title', 'created_at'])(
    'ends early and the rest follows, forward and back, by %s',
    async (ordering) => {
      const user = await register()
      // About 60,000 bytes each as JSON, which Lambda escapes again; half of them tie.
      const ids: number[] = []
      for (let i = 0; i < 60; i++) {
        const title = i % 2 ? 'same' : `task ${i}`
        const description = (i % 4 < 2 ? '\u0001' : '漢').repeat(10_000)
        ids.push((await createTask(user.token, { title, description })).id)
      }
      const pages = await walk(user, `/api/tasks/?ordering=${ordering}&limit=100&count=true`)
      expect(pages.flatMap(idsOf).toSorted((a, b) => a - b)).toEqual(ids)
      expect(pages.length).toBeGreaterThan(1)
      for (const page of pages) {
        expect(idsOf(page).length).toBeGreaterThan(0)
        expect(page.body.count).toBe(60)
        expect(Buffer.byteLength(JSON.stringify(page.body.results))).toBeLessThanOrEqual(1024 * 1024 + 200)
      }
      if (ordering !== 'created_at') expect(titles(pages)).toEqual(titles(pages).toSorted(byTitle(ordering)))
      const before = pages.slice(0, -1).flatMap(idsOf)
      const back = await walk(user, pages.at(-1)?.body.previous, 'previous')
      expect(back.toReversed().flatMap(idsOf)).toEqual(before)
      expect(back.length).toBeGreaterThan(1)
      // And forward again from the end of the way back.
      const again = await walk(user, back.at(-1)?.body.next)
      expect([...idsOf(back.at(-1) as Answer), ...again.flatMap(idsOf)]).toEqual(pages.flatMap(idsOf))
    },
  )

  const byTitle = (ordering: string) => (a: string, b: string) =>
    (ordering === 'title' ? 1 : -1) * (a < b ? -1 : a > b ? 1 : 0)
})

describe('during a walk', () => {
  test('an inserted task neither hides another nor repeats one', async () => {
    const { user, ids } = await userWithTasks(6)
    const first = await get('/api/tasks/?limit=2', user)
    await createTask(user.token, { title: 'newest: before the first page' })
    const rest = await walk(user, first.body.next)
    expect([first, ...rest].flatMap(idsOf).sort((a, b) => a - b)).toEqual(ids)
  })

  test('a deleted task, even that of the cursor, hides no other', async () => {
    for (const ordering of ['created_at', '-updated_at', 'title']) {
      const { user, ids } = await userWithTasks(7)
      const first = await get(`/api/tasks/?limit=3&ordering=${ordering}`, user)
      const seen = idsOf(first)
      for (const id of seen) await remove(user, id)
      const rest = (await walk(user, first.body.next)).flatMap(idsOf)
      expect([...seen, ...rest].sort((a, b) => a - b)).toEqual(ids)
    }
  })

  test('an emptied page links to the pages before and after', async () => {
    const { user } = await userWithTasks(6)
    const pages = await walk(user, '/api/tasks/?limit=2')
    const [first, second, third] = pages.map(idsOf)
    for (const id of third ?? []) await remove(user, id)
    const emptied = await get(pages[1]?.body.next, user)
    expect(emptied.body).toMatchObject({ results: [], next: null })
    expect(idsOf(await get(emptied.body.previous, user))).toEqual(second)
    // The other end: no task is left before the second page.
    for (const id of first ?? []) await remove(user, id)
    const emptiedToo = await get(pages[1]?.body.previous, user)
    expect(emptiedToo.body).toMatchObject({ results: [], previous: null })
    expect(idsOf(await get(emptiedToo.body.next, user))).toEqual(second)
  })

  test('a walk can go on from its end once there are more tasks', async () => {
    const { user } = await userWithTasks(4)
    const pages = await walk(user, '/api/tasks/?limit=2&ordering=created_at')
    expect(pages).toHaveLength(2)
    const { id } = await createTask(user.token)
    const last = await get(pages[0]?.body.next, user)
    expect(idsOf(last)).toEqual(idsOf(pages[1] as Answer))
    expect(idsOf(await get(last.body.next, user))).toEqual([id])
  })
})

describe('a cursor', () => {
  test('allows another limit and count', async () => {
    const { user } = await userWithTasks(9)
    const all = idsOf(await get('/api/tasks/', user))
    const first = await get('/api/tasks/?limit=2', user)
    const second = await get(changed(first.body.next, { limit: '3', count: 'true' }), user)
    expect([idsOf(second), second.body.count]).toEqual([all.slice(2, 5), 9])
    const third = await get(changed(second.body.next, { limit: undefined, count: undefined }), user)
    expect([idsOf(third), third.body.count]).toEqual([all.slice(5), undefined])
    expect(idsOf(await get(changed(third.body.previous, { limit: '1' }), user))).toEqual(all.slice(4, 5))
  })

  test('is valid in every session of its user, and for no other user', async () => {
    const { user } = await userWithTasks(3)
    const { user: other } = await userWithTasks(3)
    const first = await get('/api/tasks/?limit=1', user)
    const { token } = await logIn(user.username, user.password)
    expect(idsOf(await get(first.body.next, { token }))).toEqual(idsOf(await get(first.body.next, user)))
    await expectBadCursor(other, first.body.next)
  })

  test('is bound to its ordering and filters', async () => {
    const title = newName('task')
    const { user } = await userWithTasks(4, title)
    const filters = {
      status: 'pending',
      assigned_to: 'none',
      created_by: 'me',
      search: 'task',
      created_after: '2020-01-01',
      created_before: '2999-01-01',
      updated_after: '2020-01-01',
      updated_before: '2999-01-01',
    }
    const full = (await get(`/api/tasks/?${new URLSearchParams(filters)}&ordering=title&limit=1`, user)).body
      .next
    await get(full, user)
    for (const name of [...Object.keys(filters), 'ordering']) {
      await expectBadCursor(user, changed(full, { [name]: undefined }))
    }
    await expectBadCursor(user, changed(full, { ordering: '-title' }))
    await expectBadCursor(user, changed(full, { ordering: 'created_at' }))
    await expectBadCursor(user, changed(full, { status: 'completed' }))
    await expectBadCursor(user, changed(full, { search: title }))
    await expectBadCursor(user, changed(full, { created_after: '2020-01-02' }))
    const bare = (await get('/api/tasks/?limit=1', user)).body.next
    for (const [name, value] of Object.entries(filters)) {
      await expectBadCursor(user, changed(bare, { [name]: value }))
    }
    await expectBadCursor(user, changed(bare, { ordering: 'updated_at' }))
    await get(changed(bare, { ordering: '-created_at' }), user)
    // An explicit default is the same list.
    await get(changed(full, { count: 'false' }), user)
  })

  test('is refused after any change', async () => {
    const { user } = await userWithTasks(3)
    const { next } = (await get('/api/tasks/?limit=1', user)).body
    const cursor = cursorOf(next)
    const step = Math.ceil(cursor.length / 40)
    const places = new Set([cursor.length - 1])
    for (let i = 0; i < cursor.length; i += step) places.add(i)
    for (const i of places) {
      const other = cursor[i] === 'A' ? 'B' : 'A'
      await expectBadCursor(user, changed(next, { cursor: cursor.slice(0, i) + other + cursor.slice(i + 1) }))
    }
    for (const bad of [
      cursor.slice(1),
      cursor.slice(0, -2),
      `${cursor}.${cursor}`,
      cursor + cursor,
      `A${cursor}`,
    ]) {
      await expectBadCursor(user, changed(next, { cursor: bad }))
    }
  })

  test.each([
    ...words('1 . .. null ==== é🐎'),
    '\0',
    '%',
    Buffer.from('["2026-11-22T07:04:05.123Z",1,"after",false]').toString('base64url'),
    Buffer.from('cD0yMDI2LTExLTIy').toString('base64'),
    'x'.repeat(3000),
    'x'.repeat(10_000),
  ])('is refused when it is invented: %j', async (cursor) => {
    await expectBadCursor(await register(), `/api/tasks/?${new URLSearchParams({ cursor })}`)
  })
})
