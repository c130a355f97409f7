/** Searching titles and descriptions, and ordering by title: text in any script, compared without anybody's locale. */
import { describe, expect, inject, test } from 'vitest'
import { createClient, newName, type Task } from '../support/client.ts'

const client = createClient(inject('wide'))
const { request, register, createTask } = client

async function titles(token: string, query: Record<string, string>): Promise<string[]> {
  const parameters = new URLSearchParams({ limit: '100', count: 'true', ...query })
  const { status, body } = await request('GET', `/api/tasks/?${parameters}`, { token })
  expect(status, JSON.stringify(body)).toBe(200)
  expect(body.count).toBe(body.results.length)
  return body.results.map(({ title }: Task) => title)
}

/** A new user's tasks with these titles, and what a search finds among them, sorted. */
async function among(all: string[]) {
  const { token } = await register()
  for (const title of all) await createTask(token, { title })
  return async (search: string) => (await titles(token, { search })).sort()
}

describe('search', () => {
  test('looks into title and description, anywhere in them', async () => {
    const { token } = await register()
    await createTask(token, { title: 'buy milk', description: null })
    await createTask(token, { title: 'shopping', description: 'two bottles of milk, please' })
    await createTask(token, { title: 'call Milka', description: '' })
    await createTask(token, { title: 'something else', description: 'mil k' })
    const find = async (search: string) => (await titles(token, { search })).sort()
    expect(await find('milk')).toEqual(['buy milk', 'call Milka', 'shopping'])
    expect(await find('ilk')).toEqual(['buy milk', 'call Milka', 'shopping'])
    expect(await find('bottles of')).toEqual(['shopping'])
    expect(await find('milk please')).toEqual([])
    // The end of a title and the beginning of a description make no phrase.
    expect(await find('shopping two')).toEqual([])
    expect(await find('shoppingtwo')).toEqual([])
  })

  test.each([
    ['É', 'é', 'CAFÉ NOIR', 'café'],
    ['Cyrillic', 'жёлтый', 'ЖЁЛТЫЙ ДОМ', 'Жёлтый'],
    ['Greek', 'ΑΘΉΝΑ', 'στην αθήνα', 'ΑΘήΝΑ'],
    ['ASCII', 'mIlK', 'MILK', 'milk'],
    ['i', 'istanbul', 'ISTANBUL', 'Istanbul'],
    ['capital sharp s', 'straße', 'STRAẞE', 'Straße'],
    ['Deseret, outside the basic plane', '𐐔𐐯', '𐐼𐐯', '𐐔𐐇'],
    ['Turkish letters', 'ğüşö', 'ĞÜŞÖ', 'Ğüşö'],
  ])('ignores case: %s', async (_, search, ...matching) => {
    const find = await among([...matching, 'another'])
    for (const variant of [search, search.toLowerCase(), ...matching.slice(1)]) {
      expect([variant, await find(variant)]).toEqual([variant, matching.toSorted()])
    }
  })

  test.each([
    ['ß is not ss', 'strasse', ['STRASSE', 'strasse'], ['straße', 'STRAẞE']],
    ['ss is not ß', 'straße', ['straße'], ['STRASSE', 'strasse']],
    ['e is not é', 'cafe', ['Cafeteria'], ['CAFÉ', 'café']],
    ['é is not e with an accent after it', 'caf\u00e9', ['CAF\u00c9'], ['cafe\u0301', 'cafe']],
    ['i is not ı', 'iki', ['IKI', 'iki'], ['ıkı']],
    ['ﬁ is not fi', 'fine', ['fine'], ['ﬁne']],
  ])('folds nothing but case: %s', async (_, search, matching, others) => {
    const find = await among([...matching, ...others])
    expect(await find(search)).toEqual(matching.toSorted())
  })

  test.each([
    ['100%', ['100% sure', '=100%='], ['100 sure', '1000%', '100x']],
    ['a_b', ['a_b', 'A_B_C'], ['axb', 'a%b', 'ab']],
    ['c:\\temp', ['C:\\TEMP\\x'], ['c:temp', 'c:\\\\temp', 'c:/temp']],
    ['\\', ['a\\b'], ['ab', '/']],
    ['\\%', ['\\%'], ['%', '\\', 'x%']],
    ['%', ['50%'], ['50', '5_0']],
    ['_', ['a_b'], ['a-b', '%']],
    ['.*', ['a.*b'], ['ab', 'a.b', '*.']],
    ['[ab]', ['x [ab] y'], ['a', 'b']],
    ["o'neil", ["O'Neil"], ['oneil', "o''neil"]],
    ['"milk"', ['say "milk"'], ['say milk']],
    ['-milk', ['oat-milk'], ['milk', 'oat']],
    ['a+b', ['a+b'], ['a b', 'ab', 'aab']],
    ['a&b=c#d', ['a&b=c#d'], ['a', 'a&b']],
    ['milk or bread', ['Milk or bread'], ['milk', 'bread']],
    ['🐎', ['🐎', 'a 🐎.'], ['🐴', '\ue000']],
  ])('takes %j for itself', async (search, matching, others) => {
    const find = await among([...matching, ...others])
    expect(await find(search)).toEqual(matching.toSorted())
  })

  test('takes several words for one phrase, spaces and all', async () => {
    const find = await among(['a red car', 'car red', 'red  car', 'infrared cart', 'red', 'a\tred\tcar'])
    expect(await find('red car')).toEqual(['a red car', 'infrared cart'])
    expect(await find('red  car')).toEqual(['red  car'])
    expect(await find(' red car')).toEqual(['a red car'])
    expect(await find('red ')).toEqual(['a red car', 'infrared cart', 'red  car'])
  })

  test.each(['ΟΔΟΣ', 'ΟΔΟΣ ', 'İstanbul', 'ǅ', 'Straße', 'e\u0301', '﷽', '\u0130\u0307'])(
    'finds %j, copied out of a longer title',
    async (part) => {
      const find = await among([`x${part}Α`, 'another'])
      expect(await find(part)).toEqual([`x${part}Α`])
    },
  )

  test('never shows what the caller may not see', async () => {
    const [me, other] = [await register(), await register()]
    const title = newName('secret')
    await createTask(other.token, { title })
    expect(await titles(me.token, { search: title })).toEqual([])
    await createTask(other.token, { title: `${title} shared`, assigned_to: me.id })
    expect(await titles(me.token, { search: title })).toEqual([`${title} shared`])
    expect(await titles(other.token, { search: title })).toHaveLength(2)
  })

  test('may be as long as a title, in any script', async () => {
    const long = '🐎'.repeat(255)
    const find = await among([long, '🐎'.repeat(254)])
    expect(await find(long)).toEqual([long])
  })

  test('with U+0000 in it is refused', async () => {
    const { token } = await register()
    const { status, body } = await request('GET', '/api/tasks/?search=a%00b', { token })
    expect(status).toBe(400)
    expect(body.errors).toEqual([{ parameter: 'search', detail: expect.any(String) }])
  })

  test('with bytes that are no UTF-8 is no fault of the server', async () => {
    const { token } = await register()
    await createTask(token, { title: 'a task' })
    for (const search of ['%ED%A0%80', '%FF', '%C3', 'caf%E9', '%', '%zz']) {
      const { status, body } = await request('GET', `/api/tasks/?search=${search}`, { token })
      expect([200, 400]).toContain(status)
      if (status === 200) expect(body.results).toEqual([])
    }
  })
})

test('ordering=title is by code point, whatever the case, the script and the length', async () => {
  const { token } = await register()
  const inOrder = [
    '!',
    '10',
    '2',
    'A b',
    'A-b',
    'AB',
    'Ab',
    'B',
    '_',
    'a',
    'a b',
    'ab',
    'b',
    'Ä',
    'ß',
    'é',
    'Ω',
    'я',
    '日本',
    // By UTF-16 these would come last, since surrogates are below U+E000.
    '\ue000 private use',
    '\ufb01',
    '\uffee',
    '\u{1f40e}',
    '\u{1f40e}\u{1f40e}',
    '\u{10fffd}',
  ]
  // Created in neither direction of the order.
  for (let i = 0; i < inOrder.length; i++) {
    await createTask(token, { title: inOrder[(i * 7) % inOrder.length] as string })
  }
  expect(await titles(token, { ordering: 'title' })).toEqual(inOrder)
  expect(await titles(token, { ordering: '-title' })).toEqual(inOrder.toReversed())
  expect(await titles(token, { ordering: 'title', search: 'b' })).toEqual(
    inOrder.filter((title) => title.toLowerCase().includes('b')),
  )
})
