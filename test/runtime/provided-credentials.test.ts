/** The relay with keys of AWS's provider chain, and a separate notifier that checks signatures. */
import { createServer } from 'node:http'
import { join } from 'node:path'
import { expect, type TestContext, test, vi } from 'vitest'
import { createClient } from '../support/client.ts'
import { startCredentialsEndpoint } from '../support/credentials-endpoint.ts'
import { root } from '../support/directories.ts'
import { findFreePort, listenOnLoopback } from '../support/ports.ts'
import { createService, type Service } from '../support/processes.ts'

const patience = { timeout: 100_000, interval: 50 }
const hour = 3_600_000
const first = { accessKeyId: 'AKFIRST', secretAccessKey: 'the-first-secret' }
const second = { accessKeyId: 'AKSECOND', secretAccessKey: 'the-second-secret' }

/** A notifier that accepts one key pair. */
async function startNotifier(service: Service, port: number, pair: typeof first) {
  const notifier = service.startProgram([process.execPath, join(root, 'dist/notifier.js')], {
    environment: {
      NOTIFIER_PORT: String(port),
      AWS_ACCESS_KEY_ID: pair.accessKeyId,
      AWS_SECRET_ACCESS_KEY: pair.secretAccessKey,
    },
  })
  await notifier.line(({ message }) => message === 'notifier listening')
  return notifier
}

/** Answers as EC2's instance metadata service, version 2. */
async function startInstanceMetadata({ onTestFinished }: TestContext, pair: typeof first) {
  const role = '/latest/meta-data/iam/security-credentials/'
  const credentials = {
    Code: 'Success',
    AccessKeyId: pair.accessKeyId,
    SecretAccessKey: pair.secretAccessKey,
    Token: 'session of the instance',
    Expiration: new Date(Date.now() + 6 * hour).toISOString(),
  }
  const server = createServer((request, response) => {
    if (request.method === 'PUT' && request.url === '/latest/api/token') return void response.end('a token')
    if (request.headers['x-aws-ec2-metadata-token'] !== 'a token') return void response.writeHead(401).end()
    if (request.url === role) return void response.end('task-api-role')
    if (request.url === `${role}task-api-role`) return void response.end(JSON.stringify(credentials))
    response.writeHead(404).end()
  })
  onTestFinished(() => void server.close())
  return `http://127.0.0.1:${await listenOnLoopback(server)}`
}

test('the relay takes new keys when those of the container are revoked', async (context) => {
  const endpoint = await startCredentialsEndpoint({ token: 'a token for the endpoint' })
  context.onTestFinished(async () => void (await endpoint.close()))
  const port = await findFreePort()
  const service = await createService(context, {
    NOTIFIER_ENDPOINT: `http://127.0.0.1:${port}`,
    AWS_CONTAINER_CREDENTIALS_FULL_URI: endpoint.url,
    AWS_CONTAINER_AUTHORIZATION_TOKEN: 'a token for the endpoint',
  })
  endpoint.lend(first, Date.now() + 6 * hour)
  const notifier = await startNotifier(service, port, first)
  const api = await service.start()
  const client = createClient(api)
  const { token } = await client.register()
  const complete = (title: string) => client.createTask(token, { title, status: 'completed' })

  for (const title of ['One', 'Two']) {
    await complete(title)
    await notifier.line(({ message, title: told }) => message === 'task completed' && told === title)
  }
  const asked = endpoint.asked()

  await notifier.stop()
  endpoint.lend(second, Date.now() + 6 * hour)
  const successor = await startNotifier(service, port, second)
  await complete('Three')
  await successor.line(({ message, title }) => message === 'task completed' && title === 'Three')
  const refusal = await api.line(({ error }) => String(error).includes('UnrecognizedClientException'))
  expect(refusal).toMatchObject({ level: 'warn', message: 'event not delivered' })
  // The refused keys would be valid for hours.
  expect(endpoint.asked()).toBe(asked + 1)

  await vi.waitFor(async () => expect(await service.query('select id from outbox')).toEqual([]), patience)
  expect(await api.stop()).toBe(0)
  const printed = JSON.stringify(service.lines())
  for (const secret of [
    first.secretAccessKey,
    second.secretAccessKey,
    'session of',
    'a token for',
    'secret-path',
  ])
    expect(printed).not.toContain(secret)
})

test('on EC2 the relay signs with the role of the instance', async (context) => {
  const port = await findFreePort()
  const service = await createService(context, {
    NOTIFIER_ENDPOINT: `http://127.0.0.1:${port}`,
    AWS_EC2_METADATA_SERVICE_ENDPOINT: await startInstanceMetadata(context, first),
    HOME: '/nowhere',
  })
  const notifier = await startNotifier(service, port, first)
  const client = createClient(await service.start())
  const { token } = await client.register()
  await client.createTask(token, { title: 'One', status: 'completed' })
  await notifier.line(({ message, title }) => message === 'task completed' && title === 'One')
  expect(JSON.stringify(service.lines())).not.toContain(first.secretAccessKey)
})
