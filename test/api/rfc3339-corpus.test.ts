/** Moments of RFC 3339 are read exactly, and similar texts are refused. */
import { beforeAll, expect, inject, test } from 'vitest'
import { createClient, problemFaults } from '../support/client.ts'
import { words } from '../support/words.ts'

const { request, register, createTask } = createClient(inject('wide'))
let token: string
/** When the only task was created. */
let created: number
beforeAll(async () => {
  token = (await register()).token
  created = Date.parse((await createTask(token)).created_at)
})

const list = (query: Record<string, string>) =>
  request('GET', `/api/tasks/?${new URLSearchParams(query)}`, { token })
const isListed = async (query: Record<string, string>) => {
  const { status, body } = await list(query)
  expect([query, status]).toEqual([query, 200])
  return body.results.length === 1
}

/** A moment in ms since the epoch, with this offset. */
function shownAt(moment: number, offset: string, fraction = 3): string {
  const [, sign, hours, minutes] = /^([+-])(\d\d):(\d\d)$/.exec(offset) ?? ['', '+', '0', '0']
  const shift = (sign === '-' ? -1 : 1) * (Number(hours) * 60 + Number(minutes)) * 60_000
  const [whole = '', ms = ''] = new Date(moment + shift).toISOString().slice(0, -1).split('.')
  const digits = ms.padEnd(fraction, '0').slice(0, fraction)
  return `${whole}${fraction > 0 ? `.${digits}` : ''}${offset}`
}

const offsets = words('Z +00:00 -00:00 +05:30 -08:00 +12:45 -02:30 +14:00 +00:01 -00:01 +23:59 -23:59')

test.each(offsets)('a moment with the offset %s is read to the millisecond', async (offset) => {
  const [before, exact, after] = [-1, 0, 1].map((ms) => shownAt(created + ms, offset)) as [
    string,
    string,
    string,
  ]
  // After is inclusive, before exclusive.
  expect(await isListed({ created_after: exact, created_before: after })).toBe(true)
  expect(await isListed({ created_after: after })).toBe(false)
  expect(await isListed({ created_after: before, created_before: exact })).toBe(false)
})

test.each([3, 4, 6, 7, 9, 12, 20, 100])('a fraction may have %d digits', async (digits) => {
  const exact = shownAt(created, 'Z', digits)
  expect(await isListed({ created_after: exact })).toBe(true)
  expect(await isListed({ created_before: exact })).toBe(false)
  // Any additional digit makes it later.
  const later = exact.replace('Z', '1Z')
  expect(await isListed({ created_after: later })).toBe(false)
  expect(await isListed({ created_before: later })).toBe(true)
})

test('a fraction may have one digit or none, and t and z may be lower case', async () => {
  const second = Math.floor(created / 1000) * 1000
  for (const spelled of [shownAt(second, 'Z', 0), shownAt(second, 'Z', 1), shownAt(second, '+01:00', 0)]) {
    for (const text of [spelled, spelled.toLowerCase(), spelled.replace('T', 't')]) {
      expect(await isListed({ created_after: text })).toBe(true)
      expect(await isListed({ created_before: text })).toBe(second > created)
    }
  }
})

async function expectMoment(text: string) {
  const isPast = !text.startsWith('9999')
  for (const column of ['created', 'updated']) {
    expect(await isListed({ [`${column}_after`]: text })).toBe(isPast)
    expect(await isListed({ [`${column}_before`]: text })).toBe(!isPast)
  }
}

// The examples of section 5.8, and what else the grammar of section 5.6 allows.
test.each([
  ...words(`
    1985-04-12T23:20:50.52Z 1996-12-19T16:39:57-08:00 1990-12-31T23:59:60Z 1990-12-31T15:59:60-08:00
    1937-01-01T12:00:27.87+00:20 1990-12-31T23:59:60.5Z 1990-12-31T23:59:60.999999999Z
    2026-10-22t07:04:05z 2026-10-22T07:04:05+23:59 0001-01-01T00:00:00+23:59
  `),
  `2026-10-22T07:04:05.${'9'.repeat(300)}Z`,
])('%s is a moment', expectMoment)

/** Pairs of texts for one moment. */
test.each([
  ['a leap second is the next minute', '2016-12-31T23:59:60Z', '2017-01-01T00:00:00Z'],
  ['with an offset', '2016-12-31T15:59:60.25-08:00', '2017-01-01T00:00:00.25Z'],
  ['29 February of a leap year', '2024-02-29T00:00:00Z', '2024-02-29T01:00:00+01:00'],
  ['and of 2000', '2000-02-29T23:59:59.999Z', '2000-03-01T00:59:59.999+01:00'],
  ['the first year', '0001-01-01T00:00:00Z', '0001-01-01'],
  ['before it, by the offset', '0001-01-01T00:00:00+23:59', '0001-01-01'],
  ['the last year', '9999-12-31T23:59:59.999Z', '9999-12-31T22:59:59.999-01:00'],
  ['after it, by the offset', '9999-12-31T23:59:59-23:59', '9999-12-31T23:59:59.999Z'],
  ['a date alone', '2026-11-22', '2026-11-22T00:00:00Z'],
])('%s: %s and %s are the same moment', async (_, one, other) => {
  for (const text of [one, other]) await expectMoment(text)
})

const refused = [
  // Days that do not exist.
  ...words(`
    2025-02-29 2026-02-29 2026-02-30 2100-02-29 1900-02-29T00:00:00Z 2026-04-31 2026-06-31T12:00:00Z
    2026-01-32 2026-1-2 -2026-11-22 2026-11-22Z
  `),
  ...words(`
    2026-00-01 2026-13-01 2026-01-00 2026-1-01 2026-01-1 26-01-01 02026-01-01 +2026-01-01
    -0001-01-01
  `),
  ...words(`
    0000-01-01 0000-01-01T00:00:00Z 0000-12-31T23:59:59Z 10000-01-01 +010000-01-01T00:00:00Z
    9999-13-31
  `),
  // Times that do not exist.
  ...words(`
    24:00:00Z 24:00:01Z 25:00:00Z 12:60:00Z 12:00:61Z 23:59:61Z -1:00:00Z 1:00:00Z 12:0:00Z
  `).map((time) => `2026-11-22T${time}`),
  ...['', ...words('12 12Z 12:00 12:00Z 12:00:00 12:00:00. 12:00:00.Z 12:00:00,5Z 12:00:00:00Z 120000Z')].map(
    (time) => `2026-11-22T${time}`,
  ),
  // Offsets that RFC 3339 does not allow.
  ...[
    ...words('+24:00 -24:00 +99:99 +12:60 +1:00 +01 +0100 +01:0 +01:00:00'),
    '\u221201:00',
    ...'ZZ|Z+01:00|+|-'.split('|'),
  ].map((offset) => `2026-11-22T12:00:00${offset}`),
  ...[
    ...' +01:00|z | Z|UTC|GMT|A| CET|[Europe/Berlin]|Z[UTC]|Z[u-ca=hebrew]'.split('|'),
    '+01:00[Europe/Berlin]',
  ].map((offset) => `2026-11-22T12:00:00${offset}`),
  // Other formats, ISO 8601 among them.
  ...[
    '2026-11-22 12:00:00Z',
    ...words(`
      2026-11-22_12:00:00Z 20261122T120000Z 20261122 2026-326 2026-W47-7 2026-11 2026 --11-22 T12:00:00Z
    `),
  ],
  ...[
    ...words(`
      2026-11-22T12:00:00Z/2026-11-23T12:00:00Z P1D R/2026-11-22 2026/11/22 22.11.2026 11/22/2026
    `),
    '22 Nov 2026',
  ],
  ...[
    'Sun, 22 Nov 2026 12:00:00 GMT',
    ...words('1795331045 1795331045123 0 -1 1e9 now yesterday today tomorrow infinity -infinity epoch'),
  ],
  // Characters outside ASCII, white space, trailing text.
  ...words(`
    ２０２６-１１-２２ ٢٠٢٦-١١-٢٢ 2026‐11‐22 2026–11–22T12:00:00Z 2026-11-22T12:00:00Ｚ
    2026-11-22Т12:00:00Z 2026-11-22T12：00：00Z
  `),
  ...[
    ' 2026-11-22',
    '2026-11-22 ',
    '2026-11-22\n',
    '\ufeff2026-11-22',
    '2026-11-22\0',
    '2026-11-22T12:00:00Z\u200b',
    '2026-11-22T12:00:00Z; drop',
  ],
  `2026-11-22T12:00:00.${'9'.repeat(2000)}`,
  '9'.repeat(2000),
]

test.each(refused)('%j is refused', async (text) => {
  const names = ['created_after', 'created_before', 'updated_after', 'updated_before']
  const answer = await list(Object.fromEntries(names.map((name) => [name, text])))
  expect([answer.status, problemFaults(answer)]).toEqual([400, []])
  expect(answer.body.errors.map(({ parameter }: { parameter: string }) => parameter).sort()).toEqual(names)
})
