/** The relay with credentials that a container's endpoint lends, against a notifier that is elsewhere and checks signatures. */
import { createServer } from 'node:http'
import { join } from 'node:path'
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda'
import { getRequestListener } from '@hono/node-server'
import { expect, test, vi } from 'vitest'
import { createLambdaClient } from '../../src/events/lambda-client.ts'
import { openCredentials } from '../../src/runtime/container-credentials.ts'
import { createClient } from '../support/client.ts'
import { makeCompletionEvent } from '../support/completion-event.ts'
import { startCredentialsEndpoint } from '../support/credentials-endpoint.ts'
import { root } from '../support/directories.ts'
import { createTestApi, credentials } from '../support/invoke-api.ts'
import { findFreePort, listenOnLoopback } from '../support/ports.ts'
import { createService } from '../support/processes.ts'

const patience = { timeout: 100_000, interval: 50 }
const hour = 3_600_000

test('when what it was lent is revoked and other is lent, the relay goes on with that', async (context) => {
  const endpoint = await startCredentialsEndpoint({ token: 'a token for the endpoint' })
  context.onTestFinished(async () => void (await endpoint.close()))
  const port = await findFreePort()
  const service = await createService(context, {
    NOTIFIER_ENDPOINT: `http://127.0.0.1:${port}`,
    AWS_CONTAINER_CREDENTIALS_FULL_URI: endpoint.url,
    AWS_CONTAINER_AUTHORIZATION_TOKEN: 'a token for the endpoint',
  })
  /** A notifier that knows one key pair alone. */
  const startNotifier = async (pair: { accessKeyId: string; secretAccessKey: string }) => {
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

  const first = { accessKeyId: 'AKFIRST', secretAccessKey: 'the-first-secret' }
  const second = { accessKeyId: 'AKSECOND', secretAccessKey: 'the-second-secret' }
  endpoint.lend(first, Date.now() + 6 * hour)
  const notifier = await startNotifier(first)
  const api = await service.start()
  const client = createClient(api)
  const { token } = await client.register()
  const complete = (title: string) => client.createTask(token, { title, status: 'completed' })

  for (const title of ['One', 'Two']) {
    await complete(title)
    await notifier.line(({ message, title: told }) => message === 'task completed' && told === title)
  }
  expect(endpoint.asked()).toBe(1)

  await notifier.stop()
  endpoint.lend(second, Date.now() + 6 * hour)
  const successor = await startNotifier(second)
  await complete('Three')
  await successor.line(({ message, title }) => message === 'task completed' && title === 'Three')
  const refusal = await api.line(({ error }) => String(error).includes('UnrecognizedClientException'))
  expect(refusal).toMatchObject({ level: 'warn', message: 'completion event not delivered' })
  expect(endpoint.asked()).toBe(2)

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

test('the official SDK finds the same at the same endpoint, and what both send is accepted', async (context) => {
  const lender = await startCredentialsEndpoint({ token: 'a token' })
  lender.lend(credentials, Date.now() + hour)
  const tokens: unknown[] = []
  const { app } = createTestApi(async () => 'done')
  const server = createServer((request, response) => {
    tokens.push(request.headers['x-amz-security-token'])
    getRequestListener(app.fetch)(request, response)
  })
  const endpoint = `http://127.0.0.1:${await listenOnLoopback(server)}`
  for (const name of [
    'AWS_ACCESS_KEY_ID',
    'AWS_SECRET_ACCESS_KEY',
    'AWS_PROFILE',
    'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
  ])
    vi.stubEnv(name, undefined)
  for (const name of ['AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE']) vi.stubEnv(name, '/nowhere')
  vi.stubEnv('AWS_CONTAINER_CREDENTIALS_FULL_URI', lender.url)
  vi.stubEnv('AWS_CONTAINER_AUTHORIZATION_TOKEN', 'a token')
  const sdk = new LambdaClient({ endpoint, region: 'us-east-1', maxAttempts: 1 })
  context.onTestFinished(async () => {
    vi.unstubAllEnvs()
    sdk.destroy()
    server.closeAllConnections()
    server.close()
    await lender.close()
  })
  const common = { endpoint, functionName: 'task-notifier', region: 'us-east-1', timeoutMs: 60_000 }
  const ours = createLambdaClient({
    ...common,
    invocation: 'RequestResponse',
    credentials: openCredentials({ url: lender.url, token: 'a token' }),
  })

  expect(await sdk.send(new InvokeCommand({ FunctionName: 'task-notifier' }))).toMatchObject({
    StatusCode: 200,
  })
  await ours.invoke(makeCompletionEvent())
  expect(tokens).toEqual(Array(2).fill(`session of ${credentials.accessKeyId}`))
})
