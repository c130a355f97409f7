/** Search and the ordering by title, for text in any script, folded independently of locales. */
import fc from 'fast-check'
import { describe, expect, inject, test } from 'vitest'
import { createClient, newName, type Task } from '../support/client.ts'
import { numRuns, seed } from '../support/property-runs.ts'
import { compareCodePoints, folded, hasYoungLetters, isFoundBy } from '../support/search-model.ts'
import { words } from '../support/words.ts'

const client = createClient(inject('wide'))
const { request, register, createTask } = client

async function titles(token: string, query: Record<string, string>): Promise<string[]> {
  const parameters = new URLSearchParams({ limit: '100', count: 'true', ...query })
  const { status, body } = await request('GET', `/api/tasks/?${parameters}`, { token })
  expect(status, JSON.stringify(body)).toBe(200)
  expect(body.count).toBe(body.results.length)
  return body.results.map(({ title }: Task) => title)
}

/** Creates tasks with these titles; the result finds them by a search, sorted. */
async function among(all: string[]) {
  const { token } = await register()
  for (const title of all) await createTask(token, { title })
  return async (search: string) => (await titles(token, { search })).sort()
}

describe('search', () => {
  test('finds tasks with every word in title or description', async () => {
    const { token } = await register()
    await createTask(token, { title: 'buy milk', description: null })
    await createTask(token, { title: 'shopping', description: 'two bottles of milk, please' })
    await createTask(token, { title: 'call Milka', description: '' })
    await createTask(token, { title: 'something else', description: 'mil k' })
    const find = async (search: string) => (await titles(token, { search })).sort()
    expect(await find('milk')).toEqual(['buy milk', 'call Milka', 'shopping'])
    expect(await find('ilk')).toEqual(['buy milk', 'call Milka', 'shopping'])
    expect(await find('bottles of')).toEqual(['shopping'])
    expect(await find('please milk')).toEqual(['shopping'])
    // One word in the title, the other in the description.
    expect(await find('bottles shop')).toEqual(['shopping'])
    expect(await find('milk milk  milk')).toEqual(['buy milk', 'call Milka', 'shopping'])
    expect(await find('milk nowhere')).toEqual([])
    // No word is found across the end of the title.
    expect(await find('shoppingtwo')).toEqual([])
    expect(await find('milkb')).toEqual([])
  })

  test.each([
    ['accents', 'cafe', 'CAFÉ NOIR', 'café', 'Cafe\u0301', 'Cafeteria'],
    ['accents of the search', 'Çàfê', 'CAFÉ NOIR', 'cafe'],
    ['two accents on a letter', 'Việt', 'VIET NAM', 'Vie\u0323\u0302t', 'Vi\u1ec7t'],
    ['composed and decomposed', 'caf\u00e9', 'CAF\u00c9', 'cafe\u0301'],
    ['Cyrillic', 'желтый', 'ЖЁЛТЫЙ ДОМ', 'Жёлтый', 'жёлтыи'],
    ['Greek', 'αθηνα', 'στην αθήνα', 'ΑΘΉΝΑ'],
    ['the final sigma', 'οδος', 'ΟΔΟΣ', 'Οδός', 'οδοσήμα'],
    ['Armenian', 'երեվան', 'ԵՐԵՎԱՆ', 'Երեվան'],
    ['Georgian capitals', 'თბილისი', '\u1c97\u1c91\u1c98\u1c9a\u1c98\u1ca1\u1c98', 'თბილისი'],
    ['Deseret, outside the basic plane', '𐐼𐐯', '𐐔𐐯', '𐐼𐐇'],
    ['Adlam, outside the basic plane', '𞤢𞤣', '𞤀𞤁', '𞤢𞤣𞤤'],
    ['ASCII', 'mIlK', 'MILK', 'milk'],
    ['i with a dot', 'istanbul', 'İSTANBUL', 'Istanbul', 'i\u0307stanbul'],
    ['capital sharp s', 'straße', 'STRAẞE', 'Straße'],
    ['Turkish letters', 'gusoc', 'ĞÜŞÖÇ', 'ğüşöç'],
    ['Arabic vowel signs', 'محمد', 'مُحَمَّد', 'محمد'],
    ['Hebrew points', 'שלום', 'שָׁלוֹם', 'שלום'],
    ['kana with voiced marks', 'か\u3099', 'が', 'か'],
    ['Hangul', '한글', '\u1112\u1161\u11ab\u1100\u1173\u11af', '한글'],
    ['ligatures', 'fine', 'ﬁne', 'FINE'],
    ['full-width and other forms', 'abc 123', 'ＡＢＣ １２３', 'ⓐⓑⓒ ①②③', '𝐚𝐛𝐜 ¹²³', 'ℬ: abc 123'],
    ['the Kelvin sign', '10 k', '10 \u212a', '10 K'],
    ['Ohm and Ångström', 'ω å', '\u2126 \u212b', 'ώ Å'],
    ['the long s', 'wachstum', 'Wach\u017ftum'],
    ['variation selectors', '❤\ufe0f', '❤', 'I ❤\ufe0f tea'],
  ])('ignores %s', async (_, search, ...matching) => {
    const find = await among([...matching, 'another'])
    for (const variant of [search, search.toUpperCase(), search.normalize('NFD'), search.normalize('NFC')]) {
      // Capitals of ß are SS, which is another text.
      if (/ß/.test(search) && variant === search.toUpperCase()) continue
      expect([variant, await find(variant)]).toEqual([variant, matching.toSorted()])
    }
  })

  test.each([
    ['ß is not ss', 'strasse', ['STRASSE', 'strasse'], ['straße', 'STRAẞE']],
    ['ss is not ß', 'straße', ['straße'], ['STRASSE', 'strasse']],
    ['i is not ı', 'iki', ['IKI', 'iki'], ['ıkı']],
    ['æ is not ae', 'ae', ['AE'], ['æ', 'Æ']],
    ['ø is not o', 'o', ['ö'], ['ø', 'Ø']],
    ['đ is not d', 'd', ['ď'], ['đ', 'Đ']],
    ['a Latin A is no Cyrillic one', 'a', ['Ä'], ['А', 'а']],
  ])('does not fold letters to other letters: %s', async (_, search, matching, others) => {
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
    ['or', ['Milk or bread'], ['milk', 'bread']],
    ['***=a', ['x***=a'], ['a']],
    ['(a+)+$', ['x(a+)+$'], ['aaaaaaaaaaaaaaaaaaaaaaaa!']],
    ['[[:alpha:]]', ['[[:alpha:]]'], ['alpha']],
    ['x{2,3}y\\1', ['x{2,3}y\\1'], ['xxy', 'xxxy1']],
    ['🐎', ['🐎', 'a 🐎.'], ['🐴', '\ue000']],
  ])('takes %j literally', async (search, matching, others) => {
    const find = await among([...matching, ...others])
    expect(await find(search)).toEqual(matching.toSorted())
  })

  test.each([
    [' ', 'a blank'],
    ['\t', 'a tab'],
    ['\n', 'a line feed'],
    ['\r\n', 'a line break'],
    ['\u0085', 'NEL'],
    ['\u00a0', 'a no-break space'],
    ['\u1680', 'an Ogham space'],
    ['\u2003', 'an em space'],
    ['\u2028', 'a line separator'],
    ['\u3000', 'an ideographic space'],
    ['  \t ', 'several'],
  ])('splits words at %j: %s', async (space) => {
    const find = await among(['a red car', 'car-red', `red${space}car`, 'infrared cart', 'red'])
    const found = ['a red car', 'car-red', 'infrared cart', `red${space}car`].sort()
    expect(await find(`red${space}car`)).toEqual(found)
    expect(await find(`${space}car${space}red${space}`)).toEqual(found)
  })

  test.each([
    '',
    ' ',
    ' \t\n\u3000',
    '\u0301',
    ' \u0301\u0308 \ufe0f',
    // The acute accent alone is a blank and a mark under NFKD.
    '\u00b4',
    '\u00a8 \u00af',
  ])('is ignored without a word: %j', async (search) => {
    const find = await among(['a', 'x y', '日本'])
    expect(await find(search)).toEqual(['a', 'x y', '日本'])
    const { token } = await register()
    for (const title of ['1', '2', '3']) await createTask(token, { title })
    const { body } = await request('GET', '/api/tasks/?limit=1', { token })
    const cursor = new URL(body.next, 'http://any').searchParams.get('cursor') ?? ''
    const query = new URLSearchParams({ search, cursor, limit: '2' })
    expect((await request('GET', `/api/tasks/?${query}`, { token })).body.results).toHaveLength(2)
  })

  test('ignores an accent that stands alone', async () => {
    const find = await among(['a', 'b'])
    expect(await find('\u0301 a')).toEqual(['a'])
    expect(await find('´ a \u00a8')).toEqual(['a'])
  })

  test.each(['ΟΔΟΣ', 'ΟΔΟΣ ', 'İstanbul', 'ǅ', 'Straße', 'e\u0301', '﷽', '\u0130\u0307', '½', '㌖', '각'])(
    'finds %j as part of a longer title',
    async (part) => {
      const find = await among([`x${part}Α`, '#'])
      expect(await find(part)).toEqual([`x${part}Α`])
    },
  )

  test('finds the same as the model in random text', async () => {
    const letters = fc.constantFrom(
      ...'aAéÉe\u0301\u0308ßſıİiΣσςжЖёйﬁｆＦ½´¨각가\u1100\u1161が\u3099ञिं\ufe0f🐎%_\\*[(.^$ \t\n\u00a0\u3000\u2028'.split(
        '',
      ),
      '🐎',
      '𐐔',
    )
    const piece = fc.string({ unit: letters, maxLength: 12 })
    const text = fc.oneof(piece, fc.string({ unit: 'binary', maxLength: 12 }))
    const wellFormed = text.map((some) => some.toWellFormed().replaceAll('\0', ''))
    const task = fc.record({
      title: wellFormed.map((some) => some.trim() || 'untitled'),
      description: fc.option(wellFormed),
    })
    const { token } = await register()
    await fc.assert(
      fc.asyncProperty(
        fc.array(task, { minLength: 1, maxLength: 4 }),
        fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat(6)), { minLength: 1, maxLength: 3 }),
        fc.array(wellFormed, { maxLength: 2 }),
        async (tasks, cuts, words) => {
          fc.pre(!hasYoungLetters(JSON.stringify([tasks, words])))
          const all = tasks.map((each) => [...`${each.title} ${each.description ?? ''}`])
          // Parts of the tasks, so that some searches have hits, and other words.
          const parts = cuts.map(([which, from, length]) => {
            const source = all[which % all.length] ?? []
            return source.slice(from % source.length, (from % source.length) + length).join('')
          })
          const search = [...[...parts, ...words].join(' ')].slice(0, 100).join('')
          const made = await Promise.all(tasks.map((each) => createTask(token, each)))
          const query = new URLSearchParams({ search, limit: '100' })
          const { status, body } = await request('GET', `/api/tasks/?${query}`, { token })
          expect(status, JSON.stringify(body)).toBe(200)
          const ids = new Set(made.map(({ id }) => id))
          const found = body.results.filter(({ id }: Task) => ids.has(id))
          const expected = made.filter((each) => isFoundBy(search, each))
          expect(found.map(({ title }: Task) => title).sort()).toEqual(
            expected.map(({ title }) => title).sort(),
          )
          await Promise.all(made.map(({ id }) => request('DELETE', `/api/tasks/${id}/`, { token })))
        },
      ),
      { seed, numRuns: Math.ceil(numRuns / 5) },
    )
  })

  test('finds changed text at once, and no longer the old one', async () => {
    const { token } = await register()
    const { id } = await createTask(token, { title: 'Ähre', description: 'Über' })
    const find = async (search: string) => (await titles(token, { search })).length
    const change = (json: object) => request('PATCH', `/api/tasks/${id}/`, { token, json })
    expect([await find('ahre'), await find('uber')]).toEqual([1, 1])
    await change({ title: 'Öhre' })
    expect([await find('ahre'), await find('ohre'), await find('uber')]).toEqual([0, 1, 1])
    await change({ description: null })
    expect([await find('ohre'), await find('uber')]).toEqual([1, 0])
  })

  test('finds no task that the caller may not see', async () => {
    const [me, other] = [await register(), await register()]
    const title = newName('secret')
    await createTask(other.token, { title })
    expect(await titles(me.token, { search: title })).toEqual([])
    await createTask(other.token, { title: `${title} shared`, assigned_to: me.id })
    expect(await titles(me.token, { search: title })).toEqual([`${title} shared`])
    expect(await titles(other.token, { search: title })).toHaveLength(2)
  })

  test('has at most 100 characters, in any script', async () => {
    const long = '🐎'.repeat(100)
    const find = await among([long, '🐎'.repeat(99)])
    expect(await find(long)).toEqual([long])
    const { token } = await register()
    for (const search of [`${long}🐎`, 'a'.repeat(101), ' '.repeat(101)]) {
      const { status, body } = await request('GET', `/api/tasks/?${new URLSearchParams({ search })}`, {
        token,
      })
      expect(status).toBe(400)
      expect(body.errors).toEqual([{ parameter: 'search', detail: 'It must have at most 100 characters.' }])
    }
  })

  test.each([
    ['one word that is nearly everywhere', `b${'a'.repeat(99)}`],
    ['one word whose end is nowhere', `${'a'.repeat(99)}b`],
    ['one word whose middle is nowhere', `${'a'.repeat(50)}b${'a'.repeat(49)}`],
    ['words of which only the last is missing', `${'aaaaaaaa '.repeat(11)}b`],
    ['many words', [...'abcdefghijklmnopqrstuvwxyz0123456789-+=?!,.;:'].join(' ')],
  ])('is correct for long texts of one letter: %s', async (_, search) => {
    const { token } = await register()
    const description = 'a'.repeat(10_000)
    await createTask(token, { title: 'without', description })
    await createTask(token, {
      title: 'with',
      description: `${description.slice(0, 9899)}${search}`.slice(0, 10_000),
    })
    expect(await titles(token, { search })).toEqual(['with'])
  })

  test('with invalid UTF-8 finds nothing or is refused', async () => {
    const { token } = await register()
    await createTask(token, { title: 'a task' })
    for (const search of ['%ED%A0%80', '%FF', '%C3', 'caf%E9', '%', '%zz']) {
      const { status, body } = await request('GET', `/api/tasks/?search=${search}`, { token })
      expect([200, 400]).toContain(status)
      if (status === 200) expect(body.results).toEqual([])
    }
  })
})

describe('ordering=title', () => {
  test('is by the code points of the folded title, then by id, for any script and length', async () => {
    const { token } = await register()
    const all = [
      '!',
      '10',
      '2',
      'A b',
      ...words('a-b AB Ab ab B _ a'),
      'a b',
      'b',
      'Ä',
      'a\u0308',
      ...words('ß ẞ é E f ﬁ fj Ω ω Я я 日本 가 각 나'),
      // In UTF-16 these would come last, as surrogates are below U+E000.
      '\ue000 private use',
      '\uffee',
      '\u{1f40e}',
      '\u{1f40e}\u{1f40e}',
      '\u{10fffd}',
      'a'.repeat(255),
      `${'a'.repeat(254)}B`,
    ]
    const made: Task[] = []
    // Created in neither direction of the order.
    for (let i = 0; i < all.length; i++) {
      made.push(await createTask(token, { title: all[(i * 7) % all.length] as string }))
    }
    const inOrder = made.toSorted(
      (a, b) => compareCodePoints(folded(a.title), folded(b.title)) || a.id - b.id,
    )
    const expected = inOrder.map(({ title }) => title)
    expect(await titles(token, { ordering: 'title' })).toEqual(expected)
    expect(await titles(token, { ordering: '-title' })).toEqual(expected.toReversed())
    expect(await titles(token, { ordering: 'title', search: 'b' })).toEqual(
      inOrder.filter((task) => isFoundBy('b', task)).map(({ title }) => title),
    )
  })

  test('walks through titles whose folded form is much longer', async () => {
    const { token } = await register()
    // U+FDFA is 18 characters once folded, a square katakana word up to six, a Hangul syllable three.
    const hangul = (seed: number) =>
      Array.from({ length: 255 }, (_, i) =>
        String.fromCodePoint(0xac00 + ((seed * 7919 + i * i * 31) % 11172)),
      ).join('')
    const all = [
      '\ufdfa'.repeat(255),
      `${'\ufdfa'.repeat(254)}x`,
      '\u3316'.repeat(255),
      hangul(1),
      hangul(2),
      hangul(3),
    ]
    for (const title of all) await createTask(token, { title })
    const seen: string[] = []
    for (let url: string | null = '/api/tasks/?ordering=title&limit=1'; url !== null; ) {
      const { status, body }: Awaited<ReturnType<typeof request>> = await request('GET', url, { token })
      expect(status, JSON.stringify(body)).toBe(200)
      seen.push(...body.results.map(({ title }: Task) => title))
      url = body.next
      expect(seen.length).toBeLessThanOrEqual(all.length)
    }
    expect(seen.toSorted()).toEqual(all.toSorted())
  })
})
