/** `npm run dev:edge`: both Workers under a real `wrangler dev`, which leaves no process at its end. */
import { cp, symlink } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { expect, type TestContext, test, vi } from 'vitest'
import { isRunning } from '../../src/runtime/embedded-postgres/owner.ts'
import { atOnce, createClient, taskPath } from '../support/client.ts'
import { root } from '../support/directories.ts'
import { listenOnLoopback } from '../support/ports.ts'
import { startTestPostgres } from '../support/postgres.ts'
import {
  createService,
  type Descendant,
  descendantsOf,
  endProcess,
  migrateDatabase,
  type Program,
  type Service,
} from '../support/processes.ts'
import { until } from './fixtures/embedded-postgres.ts'

const command: [string, ...string[]] = [
  process.execPath,
  '--enable-source-maps',
  join(root, 'dist/dev-edge.js'),
]
const patience = { timeout: 60_000, interval: 100 }
/** `npm test` runs one test. The others each start a preview, and are part of `npm run test:more`. */
const further = test.runIf(process.env.TEST_MORE === '1')

const ready = async (program: Program) => ({
  ...program,
  baseUrl: String((await program.line(({ message }) => message === 'listening')).url),
  // The header is not trusted here: all clients have the same address.
  addressHeader: 'X-Forwarded-For',
})

function startPreview(service: Service, environment: Record<string, string> = {}) {
  const { NOTIFIER_PORT: _, ...settings } = service.settings
  return service.startProgram(command, {
    environment: { ...settings, DATA_DIR: service.dataDirectory, PORT: '0', ...environment },
  })
}

/** Remembers the processes that the preview has started by now. */
function watch({ child }: Pick<Program, 'child'>) {
  const descendants = descendantsOf(child)
  const find = (part: string): Descendant => {
    const found = descendants.find(({ command }) => command.includes(part))
    if (!found) throw new Error(`no ${part} among ${descendants.map(({ command }) => command).join('\n')}`)
    return found
  }
  for (const part of ['bin/postgres', 'wrangler-dist/cli.js', 'workerd serve', 'esbuild']) find(part)
  return {
    find,
    left: () => descendants.filter(({ token }) => isRunning(token)).map(({ command }) => command),
  }
}

const exitOf = ({ child }: Program) =>
  new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))

const start = async (context: TestContext, environment: Record<string, string> = {}) => {
  const service = await createService(context, environment)
  const preview = await ready(startPreview(service))
  return { service, preview, client: createClient(preview) }
}

test('serves 200 concurrent requests, notifies completed tasks, and leaves no process after SIGTERM', async (context) => {
  const { service, preview, client } = await start(context)
  const { token } = await client.register()
  const task = await client.createTask(token, { title: 'At the edge' })
  await client.request('PATCH', taskPath(task), { token, json: { status: 'completed' } })
  await preview.line(({ message, task_id }) => message === 'task completed' && task_id === task.id)

  const answers = await atOnce(200, (i) =>
    i % 2
      ? client.request('GET', '/api/tasks/', { token })
      : client.request('POST', '/api/tasks/', {
          token,
          json: { title: 'One of many', status: i % 4 ? 'pending' : 'completed' },
        }),
  )
  const refused = answers.filter(({ status }) => status !== 200 && status !== 201)
  expect(refused).toEqual([])
  const told = () => preview.lines.filter(({ message }) => message === 'task completed').map((l) => l.task_id)
  await vi.waitFor(() => expect(new Set(told()).size).toBe(51), patience)
  expect(told()).toHaveLength(51)
  expect(service.webhook.received).toHaveLength(51)
  const troubles = preview.lines.filter(({ level, text }) => level === 'error' || text !== undefined)
  expect(JSON.stringify(troubles)).not.toMatch(/Network connection lost|uncaught|exception/i)

  const page = await client.request('GET', '/docs')
  expect(page.body).toContain('swagger')
  const { left } = watch(preview)
  expect(await preview.stop()).toBe(0)
  expect(left()).toEqual([])
})

further('ignores addresses in headers of clients', async (context) => {
  const { preview } = await start(context, { RATE_LIMIT_ANONYMOUS: '5/1h' })
  const answers = await atOnce(6, (i) =>
    createClient(preview).request('GET', '/api/tasks/', {
      headers: { 'CF-Connecting-IP': `198.18.0.${i}`, 'X-Real-IP': `198.18.0.${i}` },
    }),
  )
  expect(answers.map(({ status }) => status).sort()).toEqual([401, 401, 401, 401, 401, 429])
})

further(
  'leaves no process after SIGKILL; the next start keeps the data and delivers waiting events at once',
  async (context) => {
    const { service, preview, client } = await start(context)
    service.webhook.answerWith((response) => void response.writeHead(500).end())
    const user = await client.register()
    const task = await client.createTask(user.token, { status: 'completed' })
    await vi.waitFor(() => expect(service.webhook.received.length).toBeGreaterThan(0), patience)
    const { left } = watch(preview)
    preview.child.kill('SIGKILL')
    await until(() => left().length === 0)

    const before = service.webhook.received.length
    service.webhook.answerWith((response) => void response.writeHead(200).end())
    const next = await ready(startPreview(service))
    await vi.waitFor(() => expect(service.webhook.received.length).toBeGreaterThan(before), patience)
    const { body } = await createClient(next).request('GET', taskPath(task), { token: user.token })
    expect(body).toEqual(task)
  },
)

further('stops with one line when wrangler is killed', async (context) => {
  const { preview } = await start(context)
  const { find, left } = watch(preview)
  const exited = exitOf(preview)
  endProcess(find('wrangler-dist/cli.js').pid)
  await preview.line(({ text }) => text === 'wrangler dev ended: stopping')
  expect(await exited).toBe(1)
  await until(() => left().length === 0)
})

further('npm run dev:edge leaves no process after Ctrl-C', async (context) => {
  const service = await createService(context)
  // A copy, since it builds, and other tests use the build of this directory.
  const project = join(service.dataDirectory, 'project')
  for (const part of ['package.json', 'scripts', 'sql', 'src', 'tsconfig.json', 'workers', 'wrangler.toml'])
    await cp(join(root, part), join(project, part), { recursive: true })
  await symlink(join(root, 'node_modules'), join(project, 'node_modules'))
  const npm = service.startProgram(['npm', 'run', 'dev:edge'], {
    cwd: project,
    // Its own process group, as in a terminal.
    detached: true,
    environment: {
      PORT: '0',
      DATA_DIR: join(service.dataDirectory, 'data'),
      HOME: project,
      npm_config_update_notifier: 'false',
    },
  })
  const preview = await ready(npm)
  await createClient(preview).register()
  const { left } = watch(preview)
  const exited = exitOf(npm)
  process.kill(-Number(npm.child.pid), 'SIGINT')
  expect(await exited).toBe(0)
  expect(left()).toEqual([])
})

further('refuses the data directory of a running service, and the other way round', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  expect(await refusal(service)).toEqual([
    `DATA_DIR ${service.dataDirectory} is in use by process ${api.child.pid}: stop that one, or set another DATA_DIR`,
  ])
  await api.stop()
  const preview = await ready(startPreview(service))
  await expect(service.start()).rejects.toThrow(`is in use by process ${preview.child.pid}`)
})

further('refuses an impossible setting in one line, before it starts anything', async (context) => {
  const service = await createService(context)
  const taken = createServer()
  const port = await listenOnLoopback(taken)
  context.onTestFinished(() => void taken.close())
  expect(await refusal(service, { PORT: String(port) })).toEqual([
    `PORT: ${port} on 127.0.0.1 is taken by another program; stop that one or give another port`,
  ])
  const line = async (environment: Record<string, string>) => (await refusal(service, environment)).join('\n')
  expect(await line({ BCRYPT_COST: '3' })).toMatch(/^BCRYPT_COST: "3" is not usable; .*$/)
  expect(await line({ REDIS_URL: 'redis://127.0.0.1' })).toMatch(/^REDIS_URL: not at the edge; .*$/)
  expect(await line({ HOST: '0.0.0.0' })).toMatch(/^JWT_SECRET: missing, and HOST is 0.0.0.0; .*$/)
  expect(await line({ NOTIFY_WEBHOOK_URL: 'hooks' })).toMatch(
    /^NOTIFY_WEBHOOK_URL: its value is not usable; .*$/,
  )
  const away = { DATABASE_URL: 'postgres://ann:pw@127.0.0.1:1/tasks', JWT_SECRET: 'x'.repeat(32) }
  expect(await line(away)).toMatch(
    /^DATABASE_URL: the database cannot be reached \(.*ECONNREFUSED.*\); start it/,
  )
  const mail = { SMTP_URL: 'smtp://127.0.0.1', NOTIFY_EMAIL_TO: 'ops@example.com' }
  expect(await line(mail)).toMatch(/^SMTP_URL: mail is sent by the notifier on Node only; .*$/)
  expect(descendantsOf(process).filter(({ command }) => command.includes(service.dataDirectory))).toEqual([])
})

/** The output of a start that fails. */
async function refusal(service: Service, environment: Record<string, string> = {}) {
  const program = startPreview(service, environment)
  expect(await exitOf(program)).toBe(1)
  return program.lines.map(({ text }) => text)
}

further('uses DATABASE_URL and HOST, with no secret on a command line', async (context) => {
  const server = await startTestPostgres()
  context.onTestFinished(server.stop)
  await migrateDatabase(server.url())
  const secret = 'a secret that nobody may see: 32 bytes'
  const environment = { HOST: '127.0.0.2', DATABASE_URL: server.url(), JWT_SECRET: secret }
  const { preview, client } = await start(context, environment)
  expect(preview.baseUrl).toMatch(/^http:\/\/127\.0\.0\.2:/)
  const { id } = await client.register()
  expect(await server.sql()`select id from users`).toEqual([{ id: String(id) }])
  const commands = descendantsOf(preview.child).map(({ command }) => command)
  const password = new URL(server.url()).password
  expect(commands.filter((text) => text.includes(secret) || text.includes(password))).toEqual([])
  expect(commands.filter((text) => text.includes('bin/postgres'))).toEqual([])
  expect(await preview.stop()).toBe(0)
})
