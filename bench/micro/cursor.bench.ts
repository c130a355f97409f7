import { bench, describe } from 'vitest'
import { createKeyring } from '../../src/auth/keyring.ts'
import { readCursor, writeCursor } from '../../src/http/cursor.ts'
import type { Position } from '../../src/resource/page.ts'

const keyring = await createKeyring(['a secret of 32 bytes and more, for benchmarks'])
const list = { path: '/api/tasks/', userId: 7, query: { limit: 20, status: 'pending' } }
const position: Position = { value: '2026-11-22T07:04:05.123Z', id: 12, direction: 'after', inclusive: false }
const cursor = writeCursor(keyring, list, position)

describe('cursor', () => {
  bench('write', () => {
    writeCursor(keyring, list, position)
  })
  bench('read', () => {
    readCursor(keyring, list, cursor)
  })
})
