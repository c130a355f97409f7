/** The Workers as bundled for the edge: what they need of the platform, and what the cron trigger does. */
import { build } from 'esbuild'
import type postgres from 'postgres'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createClient, newName, taskPath } from '../support/client.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { migrateDatabase } from '../support/processes.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'
import { type Bundles, bundleWorkers, startWorkers } from '../support/workerd-targets.ts'

const patience = { timeout: 60_000, interval: 100 }

let bundles: Bundles
let server: TestPostgres
let sql: postgres.Sql
let webhook: Awaited<ReturnType<typeof startWebhookReceiver>>
let workers: Awaited<ReturnType<typeof startWorkers>>

beforeAll(async () => {
  ;[bundles, server, webhook] = await Promise.all([
    bundleWorkers(),
    startTestPostgres(),
    startWebhookReceiver(),
  ])
  await migrateDatabase(server.url())
  sql = server.sql()
  workers = await startWorkers(bundles, server.url(), {
    JWT_SECRET: 'x'.repeat(32),
    BCRYPT_COST: '4',
    NOTIFY_WEBHOOK_URL: webhook.url,
    LOG_LEVEL: 'silent',
  })
})
afterAll(async () => {
  await workers?.stop()
  await webhook?.close()
  await server?.stop()
})

/** Everything that a bundle asks its platform for, by whichever kind of import. */
async function importsOf(bundle: string): Promise<string[]> {
  const { metafile } = await build({
    stdin: { contents: bundle, loader: 'js' },
    bundle: true,
    format: 'esm',
    write: false,
    metafile: true,
    plugins: [
      {
        name: 'leave-out',
        setup({ onResolve }) {
          onResolve({ filter: /.*/ }, ({ path, kind }) =>
            kind === 'entry-point' ? undefined : { path, external: true },
          )
        },
      },
    ],
  })
  const imports = Object.values(metafile.outputs).flatMap(({ imports }) => imports.map(({ path }) => path))
  return [...new Set(imports.map((path) => path.replace(/^node:/, '')))].sort()
}

test('the bundles import no more of Node than nodejs_compat gives', async () => {
  // For postgres.js, but for `crypto` and `zlib`, which cursors are made with.
  const ofApi = ['buffer', 'cloudflare:sockets', 'crypto', 'events', 'stream', 'zlib']
  expect(await importsOf(bundles.api)).toEqual(ofApi)
  // The handler's own prints are told apart by the invocation, and shown as Node shows them.
  expect(await importsOf(bundles.notifier)).toEqual(['async_hooks', 'util'])
})

test('nothing of ours for Node alone is in the bundles', () => {
  const ofNode = /child_process|worker_threads|node-rs|startEmbeddedPostgres|nodemailer/g
  for (const bundle of Object.values(bundles)) expect(bundle.match(ofNode) ?? []).toEqual([])
})

type ScheduledWorker = { scheduled(event: { cron: string }): Promise<{ outcome: string }> }

/** What the cron trigger calls; answers how the platform would count it. */
const fireCron = async () => {
  const api: unknown = await workers.miniflare.getWorker('api')
  return (await (api as ScheduledWorker).scheduled({ cron: '* * * * *' })).outcome
}

test('an event that the notifier fails stays, and a later cron trigger delivers it', async () => {
  const client = createClient({ baseUrl: workers.url, addressHeader: 'X-Test-Address' })
  const { token } = await client.register()
  webhook.answerWith((response) => void response.writeHead(500).end())
  const task = await client.createTask(token)
  const { status } = await client.request('PATCH', taskPath(task), { token, json: { status: 'completed' } })
  expect(status).toBe(200)

  const waiting = () => sql<{ attempts: number }[]>`select attempts from outbox`
  const attempts = async () => (await waiting()).map((event) => event.attempts)
  await vi.waitFor(async () => expect((await attempts())[0]).toBeGreaterThan(0), patience)
  const [first = 0] = await attempts()
  // When its pause is over the cron tries once more, and in vain.
  await vi.waitFor(async () => {
    expect(await fireCron()).toBe('ok')
    expect((await attempts())[0]).toBeGreaterThan(first)
  }, patience)

  webhook.answerWith((response) => void response.writeHead(200).end())
  await vi.waitFor(async () => {
    expect(await fireCron()).toBe('ok')
    expect(await attempts()).toEqual([])
  }, patience)
  const last = webhook.received.at(-1)
  expect(JSON.parse(last?.body ?? '{}').event.detail.task.id).toBe(task.id)
})

test('the cron trigger removes what nobody asks for any more, and nothing else', async () => {
  const username = newName()
  const client = createClient({ baseUrl: workers.url, addressHeader: 'X-Test-Address' })
  const user = await client.register(username)
  const other = await client.logIn(username, user.password)
  const keyed = { headers: { 'Idempotency-Key': 'old' }, token: user.token, json: { title: 'One' } }
  await client.request('POST', '/api/tasks/', keyed)
  await client.request('POST', '/api/tasks/', { ...keyed, headers: { 'Idempotency-Key': 'new' } })
  await client.logOut(other.refreshToken)
  await sql`
    update sessions set ended_at = now() - interval '25 hours' where user_id = ${user.id} and ended_at is not null`
  await sql`
    update idempotency_keys set created_at = now() - interval '25 hours' where user_id = ${user.id} and key = 'old'`
  expect(await fireCron()).toBe('ok')
  expect(await sql`select ended_at from sessions where user_id = ${user.id}`).toEqual([{ ended_at: null }])
  expect(await sql`select key from idempotency_keys where user_id = ${user.id}`).toEqual([{ key: 'new' }])
})
