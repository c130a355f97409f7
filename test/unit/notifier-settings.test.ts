import { expect, test } from 'vitest'
import { StartError } from '../../src/start-error.ts'
import { readNotifierSettings } from '../../workers/notifier/settings.ts'

const keys = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'secret' }

function complaint(environment: Record<string, string>) {
  try {
    readNotifierSettings(environment)
  } catch (error) {
    expect(error).toBeInstanceOf(StartError)
    return error instanceof Error ? error.message : ''
  }
  throw new Error('accepted')
}

test('the keys are all it needs', () => {
  expect(readNotifierSettings({ ...keys, NOTIFY_WEBHOOK_URL: '' })).toMatchObject({
    NOTIFIER_HOST: '127.0.0.1',
    NOTIFIER_PORT: 3001,
    NOTIFIER_FUNCTION: 'task-notifier',
    AWS_REGION: 'us-east-1',
  })
})

test('a missing key is named', () => {
  expect(complaint({})).toMatch(/^AWS_ACCESS_KEY_ID: missing; .+\nAWS_SECRET_ACCESS_KEY: missing; .+$/)
})

test.each([
  ['NOTIFIER_PORT', 'x'],
  ['NOTIFIER_PORT', '65536'],
  ['NOTIFIER_FUNCTION', 'my function'],
  ['AWS_REGION', 'Frankfurt!'],
  ['AWS_ACCESS_KEY_ID', 'a/b'],
  ['LOG_LEVEL', 'loud'],
])('%s=%s is refused in one line that says so', (name, value) => {
  const message = complaint({ ...keys, [name]: value })
  expect(message).toContain(`${name}: "${value}" is not usable; give `)
  expect(message).not.toContain('\n')
})

test('secrets are not shown', () => {
  const message = complaint({
    ...keys,
    AWS_SECRET_ACCESS_KEY: 'se cret',
    NOTIFY_WEBHOOK_URL: 'hooks/se cret',
  })
  expect(message).toMatch(/AWS_SECRET_ACCESS_KEY: its value .*\nNOTIFY_WEBHOOK_URL: its value /)
  expect(message).not.toContain('se cret')
})

test.each(['hooks.example.com', 'ftp://hooks.example.com', 'https://ann:pw@hooks.example.com'])(
  'a webhook URL that cannot work is refused, and not shown: %s',
  (NOTIFY_WEBHOOK_URL) => {
    const read = () => readNotifierSettings({ ...keys, NOTIFY_WEBHOOK_URL })
    expect(read).toThrow(/^NOTIFY_WEBHOOK_URL: its value is not usable; give a URL such as/)
  },
)
