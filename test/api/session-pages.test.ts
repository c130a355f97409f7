/** The list of sessions, page by page. */
import { expect, inject, test } from 'vitest'
import { createClient, inTurn } from '../support/client.ts'
import { words } from '../support/words.ts'

const client = createClient(inject('wide'))
const { request, register, logIn } = client

type Session = { id: number; created_at: string; current: boolean }
type Page = { next: string | null; previous: string | null; next_cursor: string | null; results: Session[] }

async function get(token: string, path = '/api/sessions/'): Promise<Page & { link: string | null }> {
  const { status, headers, body } = await request('GET', path, { token })
  expect(status, JSON.stringify(body)).toBe(200)
  return { ...body, link: headers.get('Link') }
}
const ids = ({ results }: { results: Session[] }) => results.map(({ id }) => id)
const needed = (url: string | null) => {
  if (url === null) throw new Error('there is no such page')
  return url
}

async function userWithSessions(count: number) {
  const user = await register()
  const others = await inTurn(count - 1, () => logIn(user.username, user.password))
  return { ...user, others }
}

/** Ids in the order of the pages. */
async function walk(token: string, path: string, follow: 'next' | 'previous' = 'next'): Promise<number[]> {
  const page = await get(token, path)
  const rest = page[follow] === null ? [] : await walk(token, page[follow], follow)
  return follow === 'next' ? [...ids(page), ...rest] : [...rest, ...ids(page)]
}

test('the list has pages of 20 sessions, newest first', async () => {
  const { token, others } = await userWithSessions(25)
  const first = await get(token)
  expect(Object.keys(first).sort()).toEqual(['link', 'next', 'next_cursor', 'previous', 'results'])
  expect(first.results).toHaveLength(20)
  expect(first.previous).toBeNull()
  const second = await get(token, needed(first.next))
  expect(second).toMatchObject({ next: null, next_cursor: null })
  expect(second.results).toHaveLength(5)
  expect(second.results.at(-1)).toMatchObject({ current: true })
  const all = [...first.results, ...second.results]
  expect(new Set(all.map(({ id }) => id)).size).toBe(25)
  const places = all.map(({ created_at, id }) => [Date.parse(created_at), id] as const)
  expect(places).toEqual([...places].sort((a, b) => b[0] - a[0] || b[1] - a[1]))
  // A refreshed session keeps its position.
  const json = { refresh_token: others[0]?.refreshToken }
  expect((await request('POST', '/api/token/refresh/', { json })).status).toBe(200)
  expect(ids(await get(token))).toEqual(ids(first))
})

test('the list can be walked to the end and back by URLs, cursor and Link header', async () => {
  const { token } = await userWithSessions(7)
  const all = ids(await get(token))
  for (const limit of [1, 2, 3, 6, 7, 100])
    expect(await walk(token, `/api/sessions/?limit=${limit}`)).toEqual(all)
  const first = await get(token, '/api/sessions/?limit=3')
  const second = await get(token, needed(first.next))
  const third = await get(token, needed(second.next))
  expect(await walk(token, needed(third.previous), 'previous')).toEqual(all.slice(0, 6))
  expect(new URLSearchParams(needed(first.next).split('?')[1]).get('cursor')).toBe(first.next_cursor)
  const byCursor = await get(token, `/api/sessions/?limit=5&cursor=${first.next_cursor}`)
  expect(ids(byCursor)).toEqual(all.slice(3))
  expect(second.link).toBe(`<${second.next}>; rel="next", <${second.previous}>; rel="prev"`)
  expect((await get(token, '/api/sessions/?limit=7')).link).toBeNull()
  expect(ids(await get(token, '/api/sessions/?cursor='))).toEqual(all)
})

test('a walk has every live session once, while others begin and end', async () => {
  const { username, password, token } = await userWithSessions(6)
  const all = ids(await get(token))
  const first = await get(token, '/api/sessions/?limit=2')
  await logIn(username, password)
  // The session of the cursor, and a later one.
  for (const id of [all[1], all[3]])
    expect((await request('DELETE', `/api/sessions/${id}/`, { token })).status).toBe(204)
  expect(await walk(token, needed(first.next))).toEqual([all[2], all[4], all[5]])
})

test.each(
  words(`
  limit=0 limit=101 limit=-1 limit=1.5 limit=x limit= limit=1&limit=2 cursor=x cursor=a.b page=2
`),
)('%s is refused', async (query) => {
  const { token } = await client.anyUser()
  const { status, body } = await request('GET', `/api/sessions/?${query}`, { token })
  expect(status).toBe(400)
  expect(body.errors).toMatchObject([{ parameter: query.split('=')[0] }])
})

test('a changed cursor, and one of another list or user, is refused', async () => {
  const [ann, bob] = [await userWithSessions(2), await userWithSessions(2)]
  await client.createTask(ann.token)
  await client.createTask(ann.token)
  const cursorOf = async (token: string, path: string) =>
    new URLSearchParams((await request('GET', `${path}?limit=1`, { token })).body.next.split('?')[1]).get(
      'cursor',
    )
  const own = await cursorOf(ann.token, '/api/sessions/')
  const foreign = [
    await cursorOf(bob.token, '/api/sessions/'),
    await cursorOf(ann.token, '/api/tasks/'),
    `${own}A`,
  ]
  for (const cursor of foreign) {
    const { status, body } = await request('GET', `/api/sessions/?cursor=${cursor}`, { token: ann.token })
    expect([status, body.errors?.[0]?.parameter]).toEqual([400, 'cursor'])
  }
  const swapped = await request('GET', `/api/tasks/?cursor=${own}`, { token: ann.token })
  expect(swapped).toMatchObject({ status: 400, body: { errors: [{ parameter: 'cursor' }] } })
  expect((await get(ann.token, `/api/sessions/?cursor=${own}`)).results).toHaveLength(1)
})

test('a page is refused once the session has ended', async () => {
  const { token, refreshToken } = await userWithSessions(3)
  const all = ids(await get(token))
  const { next } = await get(token, '/api/sessions/?limit=2')
  const fresh = await get(token, needed(next))
  expect(ids(fresh)).toEqual(all.slice(2))
  expect(
    (await request('POST', '/api/token/revoke/', { json: { refresh_token: refreshToken } })).status,
  ).toBe(200)
  expect((await request('GET', needed(next), { token })).status).toBe(401)
})
