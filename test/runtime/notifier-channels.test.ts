/** Webhook and mail, configured by the settings of `npm start`: TLS, failures and kills. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Webhook } from 'standardwebhooks'
import { expect, type TestContext, test, vi } from 'vitest'
import { cert } from '../support/certificate.ts'
import { createClient } from '../support/client.ts'
import { createService, endProcess } from '../support/processes.ts'
import { startSmtpServer } from '../support/smtp-server.ts'

const patience = { timeout: 100_000, interval: 50 }
const password = 'hunter2 & co'
const secret = `whsec_${Buffer.from('a secret of the webhook: 32 bytes').toString('base64')}`

/** A service with a failing webhook, and a mail server that requires a password. */
async function start(context: TestContext, options: Parameters<typeof startSmtpServer>[0]) {
  const smtp = await startSmtpServer({ ...options, password })
  context.onTestFinished(() => smtp.close())
  const [protocol] = smtp.url.split(':')
  const service = await createService(context, {
    SMTP_URL: `${protocol}://bot%40example.net:${encodeURIComponent(password)}@127.0.0.1:${smtp.port}`,
    NOTIFY_EMAIL_TO: 'ops@example.com',
    NOTIFY_WEBHOOK_SECRET: secret,
    LOG_LEVEL: 'debug',
  })
  const ca = join(service.dataDirectory, 'ca.pem')
  await writeFile(ca, cert)
  Object.assign(service.settings, { NODE_EXTRA_CA_CERTS: ca })
  service.webhook.answerWith((response) => void response.writeHead(503).end())
  const api = await service.start()
  const client = createClient(api)
  const { token } = await client.register()
  const task = await client.createTask(token, { title: 'Fix the roof', status: 'completed' })
  const done = () =>
    vi.waitFor(async () => expect(await service.query('select id from outbox')).toEqual([]), patience)
  return { ...service, api, smtp, task, done }
}

const messageId = (message: string) => /^Message-ID: (\S+)/im.exec(message)?.[1]

test.for([
  ['TLS from the start', { tls: true }],
  ['STARTTLS', { startTls: true }],
] as const)(
  'retries a failing webhook until it works, and sends the mail once, by %s',
  async ([, options], context) => {
    const { api, smtp, webhook, lines, task, done } = await start(context, options)
    const failed = await api.line(({ message }) => message === 'event not delivered')
    expect(failed.error).toBe(
      'function failed: NotificationError: Webhook failed: it answered 503; told: e-mail to ops@example.com',
    )
    await vi.waitFor(() => expect(webhook.received.length).toBeGreaterThan(1), patience)
    webhook.answerWith((response) => void response.writeHead(200).end())
    await done()

    expect(smtp.mails).toMatchObject([
      { from: 'bot@example.net', to: ['ops@example.com'], login: { password }, encrypted: true },
    ])
    const { body, headers } = webhook.received.at(-1) ?? { body: '', headers: {} as Record<string, string> }
    expect(new Webhook(secret).verify(body, headers as Record<string, string>)).toMatchObject({
      event: { detail: { task: { id: task.id } } },
    })
    expect(messageId(smtp.mails[0]?.message ?? '')).toBe(`<${headers['webhook-id']}@example.net>`)
    expect(await api.stop()).toBe(0)
    expect(lines().filter(({ message }) => message === 'task completed')).toMatchObject([
      { task_id: task.id, told: ['e-mail to ops@example.com'] },
    ])
    const printed = JSON.stringify(lines())
    for (const hidden of [password, encodeURIComponent(password), 'hunter2', secret])
      expect(printed).not.toContain(hidden)
  },
)

test('a killed notifier mails again, with the same Message-ID', async (context) => {
  const { api, smtp, webhook, done } = await start(context, { tls: true })
  await vi.waitFor(() => expect(smtp.mails).toHaveLength(1), patience)
  const spawned = await api.line(({ message }) => message === 'notifier spawned')
  endProcess(Number(spawned.pid))
  await vi.waitFor(() => expect(smtp.mails.length).toBeGreaterThan(1), patience)
  webhook.answerWith((response) => void response.writeHead(200).end())
  await done()
  expect(new Set(smtp.mails.map(({ message }) => messageId(message))).size).toBe(1)
  expect(new Set(webhook.received.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
  expect(smtp.mails).toHaveLength(2)
})
