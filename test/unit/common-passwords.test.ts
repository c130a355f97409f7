import { expect, test } from 'vitest'
import { commonPasswords } from '../../src/accounts/common-passwords/list.ts'

test('the list has a thousand passwords, in the form in which they are looked up', () => {
  expect(commonPasswords.size).toBe(1000)
  for (const password of commonPasswords) {
    expect([...password].length).toBeGreaterThanOrEqual(8)
    expect(password.normalize('NFKC').toLowerCase().trim()).toBe(password)
  }
})
