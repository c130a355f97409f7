import { expect, test } from 'vitest'
import { StartError } from '../../src/core/start-error.ts'
import { openChannels } from '../../workers/notifier/channels.ts'
import { readProcessSettings } from '../../workers/notifier/process-settings.ts'

const keys = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'secret' }

function complaint(environment: Record<string, string>) {
  try {
    readProcessSettings(environment)
  } catch (error) {
    expect(error).toBeInstanceOf(StartError)
    return error instanceof Error ? error.message : ''
  }
  throw new Error('accepted')
}

test('only the keys are required', () => {
  expect(readProcessSettings({ ...keys, NOTIFY_WEBHOOK_URL: '' })).toMatchObject({
    NOTIFIER_HOST: '127.0.0.1',
    NOTIFIER_PORT: 3001,
    NOTIFIER_FUNCTION: 'task-notifier',
    AWS_REGION: 'us-east-1',
  })
})

test('names a missing key', () => {
  expect(complaint({})).toMatch(/^AWS_ACCESS_KEY_ID: missing; .+\nAWS_SECRET_ACCESS_KEY: missing; .+$/)
})

test.each([
  ['NOTIFIER_PORT', 'x'],
  ['NOTIFIER_PORT', '65536'],
  ['NOTIFIER_FUNCTION', 'my function'],
  ['AWS_REGION', 'Frankfurt!'],
  ['AWS_ACCESS_KEY_ID', 'a/b'],
  ['LOG_LEVEL', 'loud'],
])('refuses %s=%s in one line with the name and the value', (name, value) => {
  const message = complaint({ ...keys, [name]: value })
  expect(message).toContain(`${name}: "${value}" is not usable; give `)
  expect(message).not.toContain('\n')
})

test('does not show secrets', () => {
  const message = complaint({
    ...keys,
    AWS_SECRET_ACCESS_KEY: 'se cret',
    NOTIFY_WEBHOOK_URL: 'hooks/se cret',
    NOTIFY_WEBHOOK_SECRET: 'whsec_se cret',
    SMTP_URL: 'mail.example.com/se cret',
  })
  for (const name of ['AWS_SECRET_ACCESS_KEY', 'NOTIFY_WEBHOOK_URL', 'NOTIFY_WEBHOOK_SECRET', 'SMTP_URL'])
    expect(message).toMatch(new RegExp(`^${name}: its value is not usable; `, 'm'))
  expect(message).not.toContain('se cret')
})

const refused = (name: string, values: string[]) => values.map((value): [string, string] => [name, value])

test.each([
  ...refused('NOTIFY_WEBHOOK_SECRET', [
    'MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLw==',
    'whsec_c2hvcnQ=',
    'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLw!!',
    `whsec_${btoa('x'.repeat(65))}`,
    `whsec_${btoa('x'.repeat(32))},`,
  ]),
  ...refused('NOTIFY_EMAIL_TO', [
    'ops',
    'Ops <ops@example.com>',
    'a@example.com;b@example.com',
    'a@b.c,',
    'a@b\n.c',
  ]),
  ...refused('NOTIFY_EMAIL_FROM', [
    'a@example.com,b@example.com',
    '@example.com',
    'a@example.com\r\nBcc: b@example.com',
  ]),
  ...refused('SMTP_URL', [
    'mail.example.com:25',
    'https://mail.example.com',
    'smtp://',
    'smtp://user@mail.example.com',
    'smtp://:secret@mail.example.com',
    'smtp://user:50%@mail.example.com',
    'smtp://user:a%0d%0aRSET@mail.example.com',
    'smtp://mail.example.com/inbox',
    'smtp://mail.example.com?secure=false',
    'smtp://mail.exa%6dple.com',
  ]),
])('refuses %s=%s in one line', (name, value) => {
  const message = complaint({ ...keys, [name]: value })
  expect(message).toMatch(new RegExp(`^${name}: .* is not usable; give [^\n]+$`))
})

test.each([
  'smtp://localhost',
  'smtps://user:p%40ss@mail.example.com:465',
  'smtp://[::1]:2525/',
  'smtp://10.0.0.1:25',
])('accepts SMTP_URL=%s', (SMTP_URL) => {
  const { notifications } = readProcessSettings({
    ...keys,
    SMTP_URL,
    NOTIFY_EMAIL_TO: "o'neil+x@example.com, b@localhost",
  })
  expect(notifications).toEqual({
    email: { SMTP_URL, NOTIFY_EMAIL_TO: ["o'neil+x@example.com", 'b@localhost'] },
  })
})

test('refuses the mail settings on a runtime that cannot send mail', () => {
  const { notifications } = readProcessSettings({
    ...keys,
    SMTP_URL: 'smtp://user:secret@mail.example.com',
    NOTIFY_EMAIL_TO: 'ops@example.com',
  })
  expect(() => openChannels(notifications)).toThrow(StartError)
  expect(() => openChannels(notifications)).toThrow(
    /^SMTP_URL: mail is sent by the notifier on Node only; [^\n]+$/,
  )
})

test.each(['hooks.example.com', 'ftp://hooks.example.com', 'https://ann:pw@hooks.example.com'])(
  'refuses a webhook URL that cannot work, without showing it: %s',
  (NOTIFY_WEBHOOK_URL) => {
    const read = () => readProcessSettings({ ...keys, NOTIFY_WEBHOOK_URL })
    expect(read).toThrow(/^NOTIFY_WEBHOOK_URL: its value is not usable; give a URL such as/)
  },
)
