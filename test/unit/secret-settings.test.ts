/** The value of a secret setting never appears in an error. */
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import * as mini from 'zod/mini'
import { readConfig } from '../../src/config/api.ts'
import { Settings, settingNames } from '../../src/config/api-settings.ts'
import { readSettings, secret, text } from '../../src/config/settings.ts'

const password = 'hunter2'

function refusal(read: () => unknown): string {
  try {
    read()
  } catch (error) {
    return String(error)
  }
  throw new Error('the value was accepted')
}

const accepts = (name: string, value: string) =>
  Settings.shape[name as keyof typeof Settings.shape].safeParse(value).success
const schemes = ['postgres', 'redis', 'rediss', 'smtp', 'smtps', 'http', 'https']
const takesCredentials = (name: string) =>
  !accepts(name, 'no-URL') && schemes.some((scheme) => accepts(name, `${scheme}://user:pass@example.com`))

const named = settingNames.filter((name) => /^(?!RATE_LIMIT).*(SECRET|TOKEN|PASSWORD)$/.test(name))
const urls = settingNames.filter(takesCredentials)

test('the settings have secrets and URLs with credentials', () => {
  expect(named.length).toBeGreaterThan(2)
  expect(urls.length).toBeGreaterThan(2)
})

test.each([...named, ...urls])('%s is hidden', (name) => {
  const message = refusal(() => readConfig({ [name]: `${password}\n` }))
  expect(message).toContain(`${name}: its value is not usable; `)
  expect(message).not.toContain(password)
})

test.each(settingNames.filter((name) => !accepts(name, 'ftp://user:pass@example.com')))(
  '%s: a password in a URL is hidden',
  (name) => {
    expect(refusal(() => readConfig({ [name]: `ftp://user:${password}@example.com` }))).not.toContain(
      password,
    )
  },
)

describe('a secret schema stays secret', () => {
  const marked = secret(text(() => false, 'give another'))
  test.each<[string, z.core.$ZodType]>([
    ['as it is', marked],
    ['optional', mini.optional(marked)],
    ['with a default', z.prefault(marked, 'x')],
    ['as part of a pipe', z.pipe(marked, z.transform(String))],
    ['wrapped twice', mini.optional(mini.optional(marked))],
  ])('%s', (_, schema) => {
    const message = refusal(() => readSettings(z.object({ NAME: schema as z.ZodType }), { NAME: password }))
    expect(message).toBe('StartError: NAME: its value is not usable; give another')
  })
})
