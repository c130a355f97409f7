/** `npm run build:lambda`: complete zips, and the notifier in one of them. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { unzipSync } from 'fflate'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeCompletionEvent } from '../support/completion-event.ts'
import { root } from '../support/directories.ts'
import { type Lambda, startLambda } from '../support/lambda.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'

const names = ['api', 'migrate', 'notifier']
const read = (name: string, folder = join(root, 'dist/lambda')) => readFileSync(join(folder, `${name}.zip`))
const unzip = (name: string) => unzipSync(read(name))

test('the zips have the same bytes at another time, in another time zone', async ({ onTestFinished }) => {
  const folder = await mkdtemp(join(tmpdir(), 'task-api-zips-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  execFileSync(process.execPath, [join(root, 'scripts/build-lambda.mjs'), folder], {
    env: { ...process.env, TZ: 'Asia/Tokyo' },
  })
  for (const name of names) expect(read(name, folder).equals(read(name)), name).toBe(true)
})

test.each(names)('%s.zip imports only Node modules, and has no path of this machine', (name) => {
  const { 'index.mjs': code, 'index.mjs.map': map } = unzip(name)
  const text = Buffer.from(code ?? []).toString()
  const imported = [...text.matchAll(/(?:^|;)import\b[^;"']*?from\s?["']([^"']+)["']/gm)].map(
    ([, from = '']) => from,
  )
  expect(imported.length).toBeGreaterThan(0)
  expect(imported.filter((from) => !isBuiltin(from))).toEqual([])
  expect(text).toMatch(/export ?\{[^}]*\bhandler\b/)
  expect(text + Buffer.from(map ?? [])).not.toContain(root)
})

test('the zips have the files beside the code', () => {
  expect(Object.keys(unzip('api'))).toEqual(
    expect.arrayContaining([
      'redis-client.mjs',
      'upstash.mjs',
      'public/docs.html',
      'public/docs/reference.js',
      'public/docs/swagger-ui.css',
    ]),
  )
  expect(Object.keys(unzip('migrate'))).toContain('sql/0001_accounts.sql')
  expect(Object.keys(unzip('notifier'))).toEqual(['index.mjs', 'index.mjs.map'])
})

describe("the notifier's zip behind the Runtime API", () => {
  let webhook: Awaited<ReturnType<typeof startWebhookReceiver>>
  let notifier: Lambda
  beforeAll(async () => {
    webhook = await startWebhookReceiver()
    notifier = await startLambda('notifier', { NOTIFY_WEBHOOK_URL: webhook.url })
  })
  afterAll(async () => {
    await Promise.all([notifier?.stop(), webhook?.close()])
  })

  test('handles an event once, and reports a duplicate', async () => {
    const event = makeCompletionEvent()
    expect(await notifier.invoke(event)).toEqual({ payload: { handled: event.id, duplicate: false } })
    expect(await notifier.invoke(event)).toEqual({ payload: { handled: event.id, duplicate: true } })
    expect(webhook.received.map(({ body }) => JSON.parse(body).event.id)).toEqual([event.id])
    const line = await notifier.line(({ message }) => message === 'task completed')
    expect(line).toMatchObject({ event_id: event.id, title: 'Fix the roof', request_id: expect.any(String) })
  })

  test('an unknown event and a refusing webhook are errors of the function', async () => {
    expect(await notifier.invoke({ hello: 'there' })).toMatchObject({
      error: { errorType: expect.any(String) },
    })
    webhook.answerWith((response) => void response.writeHead(500).end())
    const { error } = await notifier.invoke(makeCompletionEvent())
    expect(error).toMatchObject({ errorMessage: expect.stringContaining('500'), trace: expect.any(Array) })
    webhook.answerWith((response) => void response.writeHead(200).end())
    expect(await notifier.invoke(makeCompletionEvent())).toMatchObject({ payload: { duplicate: false } })
  })
})
