/** Sends mails to a real SMTP server, which fails in several ways. */
import { afterEach, expect, test } from 'vitest'
import type { LambdaContext } from '../../workers/lambda/lambda-function.ts'
import { emailChannels } from '../../workers/notifier/email.ts'
import { createHandler } from '../../workers/notifier/handler.ts'
import { webhookChannel } from '../../workers/notifier/webhook.ts'
import { makeCompletionEvent, messageOf } from '../support/completion-event.ts'
import { findFreePort } from '../support/ports.ts'
import { type Mail, startSmtpServer } from '../support/smtp-server.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

async function startServer(options?: Parameters<typeof startSmtpServer>[0]) {
  const server = await startSmtpServer(options)
  cleanups.push(server.close)
  return server
}

const to = ['ops@example.com']
const tell = (options: Parameters<typeof emailChannels>[0], event = makeCompletionEvent(), ms = 60_000) =>
  Promise.all(emailChannels(options).map((channel) => channel.send(messageOf(event, ms))))

const context = { awsRequestId: 'request-1', getRemainingTimeInMillis: () => 60_000 } as LambdaContext

/** Returns headers as a mail program shows them: unfolded, with decoded words (RFC 2047). */
function read({ message }: Pick<Mail, 'message'>) {
  const end = message.indexOf('\r\n\r\n')
  const lines = message
    .slice(0, end)
    .replace(/\r\n[ \t]+/g, ' ')
    .split('\r\n')
  const headers = lines.map((line) => {
    const [, name = '', value = ''] = /^([\w-]+): (.*)$/.exec(line) ?? []
    return [name.toLowerCase(), decodeWords(value)] as const
  })
  return {
    names: headers.map(([name]) => name),
    headers: Object.fromEntries(headers),
    text: message.slice(end + 4),
  }
}

function decodeWords(value: string) {
  return value
    .replace(/\?= =\?/g, '?==?')
    .replace(/=\?utf-8\?([bq])\?([^?]*)\?=/gi, (_, encoding: string, text: string) =>
      encoding.toLowerCase() === 'b'
        ? Buffer.from(text, 'base64').toString('latin1')
        : text
            .replaceAll('_', ' ')
            .replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16))),
    )
    .replace(/[\x80-\xff]+/g, (bytes) => Buffer.from(bytes, 'latin1').toString())
}

test.each([
  ['an encoded word', '=?utf-8?B?UGF5IG5vdw==?= and =?iso-8859-1?q?=41?='],
  ['one among other letters', 'Ünïcode =?utf-8?Q?=48?= 🎉'],
  ['a long one', `=?utf-8?q?a?= ${'日本語 '.repeat(60)}`.trim()],
])('the subject is what was typed, not what it would decode to: %s', async (_, title) => {
  const server = await startServer()
  await tell({ SMTP_URL: server.url, NOTIFY_EMAIL_TO: to }, makeCompletionEvent({ title }))
  const [mail] = server.mails
  if (!mail) throw new Error('no mail came')
  // Each line, folded ones too, is short enough for an encoded word.
  const lines = /^subject: .*(\r\n .*)*/im.exec(mail.message)?.[0].split('\r\n') ?? []
  expect(lines.filter((line) => line.length > 86)).toEqual([])
  expect(lines.join('')).not.toContain('UGF5IG5vdw')
  expect(read(mail).headers.subject).toBe(`Task 7 completed: ${title}`)
})

test('sends one plain mail to each address of the operator', async () => {
  const server = await startServer()
  const event = makeCompletionEvent({ title: 'Fix the roof', description: 'https://evil.example.com' })
  await tell({ SMTP_URL: server.url, NOTIFY_EMAIL_TO: ['ops@example.com', 'team@example.org'] }, event)
  expect(server.mails.map((mail) => [mail.from, mail.to])).toEqual([
    ['task-api@example.com', ['ops@example.com']],
    ['task-api@example.com', ['team@example.org']],
  ])
  for (const mail of server.mails) {
    const { headers, text } = read(mail)
    expect(headers).toMatchObject({
      from: 'Task API <task-api@example.com>',
      to: mail.to[0],
      subject: 'Task 7 completed: Fix the roof',
      'message-id': `<${event.id}@example.com>`,
      'auto-submitted': 'auto-generated',
      'content-type': 'text/plain; charset=utf-8',
    })
    expect(text.trimEnd()).toBe('Fix the roof\r\n\r\nTask 7 was completed by ann at 2026-11-22 07:04:05 UTC.')
  }
})

test('user input neither ends a header nor adds one', async () => {
  const server = await startServer()
  const title =
    'a\r\nBcc: all@example.com\r\n\r\n<script> \u202egpj 🎉 Überraschung =?utf-8?q?x?= \u0000'.padEnd(
      255,
      ' long',
    )
  const event = makeCompletionEvent({ title }, { id: 1, username: 'ann\r\n.\r\nMAIL FROM:<x@example.com>' })
  await tell({ SMTP_URL: server.url, NOTIFY_EMAIL_TO: to }, event)
  const [mail] = server.mails
  if (!mail || server.mails.length > 1) throw new Error(`${server.mails.length} mails`)
  const { names, headers } = read(mail)
  expect(mail.to).toEqual(to)
  expect(names).not.toContain('bcc')
  expect(headers.subject).toMatch(
    /^Task 7 completed: a Bcc: all@example\.com <script> {2}gpj 🎉 Überraschung/,
  )
  expect(headers.subject).toMatch(/ long l?o?n?g?$/)
  for (const line of mail.message.split('\r\n')) expect(Buffer.byteLength(line)).toBeLessThanOrEqual(998)
  expect(server.commands.filter((command) => command.startsWith('MAIL'))).toHaveLength(1)
})

test.each([
  [
    'the user of SMTP_URL, if it is an address',
    'smtp://bot%40example.net:pw@127.0.0.1',
    undefined,
    'bot@example.net',
  ],
  ['the setting', 'smtp://bot%40example.net:pw@127.0.0.1', 'tasks@example.org', 'tasks@example.org'],
  ['the first recipient’s domain', 'smtp://bot:pw@127.0.0.1', undefined, 'task-api@example.com'],
])('the sender is %s', async (_, url, from, sender) => {
  const server = await startServer({ password: 'pw' })
  const event = makeCompletionEvent()
  await tell(
    { SMTP_URL: `${url}:${server.port}`, NOTIFY_EMAIL_TO: to, ...(from && { NOTIFY_EMAIL_FROM: from }) },
    event,
  )
  expect(server.mails).toMatchObject([{ from: sender, login: { password: 'pw' } }])
  expect(read(server.mails[0] ?? { message: '' }).headers['message-id']).toBe(
    `<${event.id}@${sender.split('@')[1]}>`,
  )
})

test('decodes the password; the error for a wrong one does not contain it', async () => {
  const server = await startServer({ password: 'p@ss%/: word' })
  const at = `127.0.0.1:${server.port}`
  await tell({ SMTP_URL: `smtp://bot:${encodeURIComponent('p@ss%/: word')}@${at}`, NOTIFY_EMAIL_TO: to })
  expect(server.mails).toMatchObject([{ login: { user: 'bot', password: 'p@ss%/: word' } }])
  const failed = await tell({ SMTP_URL: `smtp://bot:hunter2@${at}`, NOTIFY_EMAIL_TO: to }).catch(
    (error: unknown) => error,
  )
  expect(String(failed)).toMatch(/^Error: Invalid login: 535 Authentication credentials invalid$/)
  expect(String(failed)).not.toMatch(/hunter2|aHVudGVyMg/)
})

test('sends no mail and no password to a server with an untrusted certificate', async () => {
  for (const options of [{ tls: true }, { startTls: true }]) {
    const server = await startServer({ ...options, password: 'pw' })
    const [protocol] = server.url.split(':')
    const sent = tell({ SMTP_URL: `${protocol}://bot:pw@127.0.0.1:${server.port}`, NOTIFY_EMAIL_TO: to })
    await expect(sent).rejects.toThrow(/self.signed certificate/)
    expect(server.mails).toEqual([])
    expect(server.commands.filter((command) => command.startsWith('AUTH'))).toEqual([])
  }
})

test('sends no password unencrypted to another machine', async () => {
  const server = await startServer({ password: 'pw' })
  // 0.0.0.0 reaches this machine, but is not a loopback address.
  const sent = tell({ SMTP_URL: `smtp://bot:pw@0.0.0.0:${server.port}`, NOTIFY_EMAIL_TO: to })
  await expect(sent).rejects.toThrow('Error upgrading connection with STARTTLS')
  expect(server.mails).toEqual([])
  expect(server.commands.filter((command) => command.startsWith('AUTH'))).toEqual([])
})

const instead = (of: RegExp, answer: string) => (command: string) => (of.test(command) ? answer : undefined)

test.each([
  ['refuses the connection', instead(/^GREETING/, '554 No'), /554 No/],
  ['refuses the recipient', instead(/^RCPT/, '550 5.1.1 No such user'), /550 5\.1\.1 No such user/],
  ['refuses the mail', instead(/^MESSAGE/, '451 4.3.0 Try\r\nlater'), /451 4\.3\.0 Try/],
  ['closes the connection at once', instead(/^GREETING/, 'hang up'), /connection was closed/],
  ['closes it in the middle', instead(/^DATA/, 'hang up'), /closed/],
  ['closes it instead of answering', instead(/^MESSAGE/, 'hang up'), /closed/],
  ['says nothing', instead(/^GREETING/, 'be silent'), /^not sent within 300 ms$/, 300],
  ['stops answering', instead(/^MESSAGE/, 'be silent'), /^not sent within 300 ms$/, 300],
])(
  'a server that %s causes an error in one line, and no connection stays open',
  async (_, misbehaviour, message, ms = 60_000) => {
    const server = await startServer()
    server.misbehave(misbehaviour)
    const failed = await tell({ SMTP_URL: server.url, NOTIFY_EMAIL_TO: to }, undefined, ms).catch(
      (error: unknown) => error,
    )
    expect(failed).toBeInstanceOf(Error)
    expect(failed instanceof Error && failed.message).toMatch(message)
    expect(String(failed)).not.toContain('\n')
    await expect.poll(server.open, { timeout: 60_000 }).toBe(0)
  },
)

test('no server listens', async () => {
  await expect(
    tell({ SMTP_URL: `smtp://127.0.0.1:${await findFreePort()}`, NOTIFY_EMAIL_TO: to }),
  ).rejects.toThrow('ECONNREFUSED')
})

test('a burst uses few connections, which are closed soon after', async () => {
  const server = await startServer()
  const [channel] = emailChannels({ SMTP_URL: server.url, NOTIFY_EMAIL_TO: to })
  if (!channel) throw new Error('no channel')
  const events = Array.from({ length: 40 }, () => makeCompletionEvent())
  await Promise.all(events.map((event) => channel.send(messageOf(event, 60_000))))
  expect(server.mails).toHaveLength(40)
  expect(server.connections()).toBeLessThanOrEqual(3)
  await expect.poll(server.open, { timeout: 60_000 }).toBe(0)
})

async function startBoth() {
  const smtp = await startServer()
  const receiver = await startWebhookReceiver()
  cleanups.push(receiver.close)
  const lines: string[] = []
  const handle = createHandler({
    channels: [
      webhookChannel({ NOTIFY_WEBHOOK_URL: receiver.url }),
      ...emailChannels({ SMTP_URL: smtp.url, NOTIFY_EMAIL_TO: ['ann@example.com', 'bob@example.com'] }),
    ],
    log: (line) => lines.push(line),
  })
  const recipients = () => smtp.mails.flatMap((mail) => mail.to).sort()
  return { smtp, receiver, lines, handle, recipients }
}

test('retries of a failing webhook send no mail and no log line again', async () => {
  const { receiver, lines, handle, recipients } = await startBoth()
  const event = makeCompletionEvent()
  receiver.answerWith((response) => void response.writeHead(500).end())
  for (const _ of 'abc') {
    const failed = await handle(event, context).catch((error: unknown) => error)
    expect(String(failed)).toBe(
      'NotificationError: Webhook failed: it answered 500; told: e-mail to ann@example.com, e-mail to bob@example.com',
    )
  }
  expect(receiver.received).toHaveLength(3)
  expect(recipients()).toEqual(['ann@example.com', 'bob@example.com'])
  expect(lines).toHaveLength(1)

  receiver.answerWith((response) => void response.writeHead(200).end())
  expect(await handle(event, context)).toEqual({ handled: event.id, duplicate: false })
  expect(await handle(event, context)).toEqual({ handled: event.id, duplicate: true })
  expect(receiver.received).toHaveLength(4)
  expect(recipients()).toHaveLength(2)
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    expect.objectContaining({
      message: 'task completed',
      event_id: event.id,
      told: ['e-mail to ann@example.com', 'e-mail to bob@example.com'],
    }),
  ])
})

test('retries for a refused address send nothing to the others', async () => {
  const { smtp, receiver, lines, handle, recipients } = await startBoth()
  smtp.misbehave((command) => (/^RCPT.*bob@/.test(command) ? '452 4.2.2 Mailbox full' : undefined))
  const event = makeCompletionEvent()
  for (const _ of 'ab') {
    await expect(handle(event, context)).rejects.toThrow(
      /^E-mail to bob@example\.com failed: .*452 4\.2\.2 Mailbox full; told: (webhook, e-mail to ann|e-mail to ann.*, webhook)/,
    )
  }
  smtp.misbehave(() => undefined)
  await handle(event, context)
  expect(recipients()).toEqual(['ann@example.com', 'bob@example.com'])
  expect(receiver.received).toHaveLength(1)
  expect(lines).toHaveLength(1)
})

test('a mail without an answer is sent again with the same Message-ID', async () => {
  const { smtp, handle } = await startBoth()
  let hangUps = 0
  smtp.misbehave((command) => (command === 'MESSAGE' && hangUps++ < 2 ? 'hang up' : undefined))
  const event = makeCompletionEvent()
  await expect(handle(event, context)).rejects.toThrow('closed')
  await handle(event, context)
  expect(smtp.mails).toHaveLength(4)
  const ids = new Set(smtp.mails.map((mail) => read(mail).headers['message-id']))
  expect([...ids]).toEqual([`<${event.id}@example.com>`])
})
