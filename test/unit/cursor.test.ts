import { expect, test } from 'vitest'
import { createKeyring } from '../../src/auth/keyring.ts'
import { type List, readCursor, writeCursor } from '../../src/http/cursor.ts'
import type { Position } from '../../src/resource/page.ts'

const secrets = ['the first secret, of 32 bytes and more', 'the second secret, of 32 bytes and more']
const keyring = await createKeyring(secrets)
const list: List = { path: '/api/tasks/', userId: 7, query: { limit: 20 } }
const position: Position = { value: '2026-11-22T07:04:05.123Z', id: 12, direction: 'after', inclusive: false }

/** 255 code points without a pattern, each of four bytes in UTF-8. */
const unpredictable = String.fromCodePoint(
  ...Array.from({ length: 255 }, () => 0x10000 + Math.floor(Math.random() * 0x90000)),
)
const values = [null, '', 'a', 'é"\\\n', '\u0001'.repeat(255), '🐎'.repeat(255), unpredictable]

test.each(values)('a cursor contains its exact position: %j', (value) => {
  for (const direction of ['after', 'before'] as const) {
    for (const inclusive of [true, false]) {
      const here = { value, id: Number.MAX_SAFE_INTEGER, direction, inclusive }
      expect(readCursor(keyring, list, writeCursor(keyring, list, here))).toEqual(here)
    }
  }
})

test('a cursor is short for any title', () => {
  const lengthOf = (value: string) => writeCursor(keyring, list, { ...position, value }).length
  expect(lengthOf(position.value ?? '')).toBeLessThan(100)
  expect(lengthOf('🐎'.repeat(255))).toBeLessThan(120)
  expect(lengthOf(unpredictable)).toBeLessThan(1400)
  // Three letters for each syllable.
  const syllables = Array.from({ length: 255 }, () => 0xac01 + Math.floor(Math.random() * 11_000))
  expect(lengthOf(String.fromCodePoint(...syllables).normalize('NFD'))).toBeLessThan(1600)
})

test('a cursor is bound to path, user and query, but not to limit and count', () => {
  const cursor = writeCursor(keyring, list, position)
  const read = (changed: Partial<List>) => readCursor(keyring, { ...list, ...changed }, cursor)
  const { query } = list
  expect(read({ query: { ...query, limit: 1, count: true, cursor } })).toEqual(position)
  expect(read({ path: '/api/sessions/' })).toBeNull()
  expect(read({ userId: 8 })).toBeNull()
  expect(read({ query: Object.assign({ status: 'pending' }, query) })).toBeNull()
})

test('an older secret of the keyring verifies a cursor, a removed secret does not', () => {
  const [first, second] = keyring
  if (!first || !second) throw new Error('there are two secrets')
  const cursor = writeCursor([first], list, position)
  expect(readCursor([second, first], list, cursor)).toEqual(position)
  expect(readCursor([second], list, cursor)).toBeNull()
})

test('a changed, cut or extended cursor is refused', () => {
  for (const value of values) {
    const cursor = writeCursor(keyring, list, { ...position, value })
    const bytes = Buffer.from(cursor, 'base64url')
    for (let bit = 0; bit < bytes.length * 8; bit += 5) {
      const changed = Buffer.from(bytes)
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      expect(readCursor(keyring, list, changed.toString('base64url'))).toBeNull()
    }
    for (let length = 0; length < cursor.length; length += 3) {
      expect(readCursor(keyring, list, cursor.slice(0, length))).toBeNull()
    }
    for (const other of [`${cursor}A`, `${cursor}=`, cursor + cursor]) {
      expect(readCursor(keyring, list, other)).toBeNull()
    }
  }
})
