/** Every process goes on when its output cannot be written, and later reports the number of lost lines. */
import { execFileSync, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { atOnce, createClient, inTurn, taskPath } from '../support/client.ts'
import { copyProject, root } from '../support/directories.ts'
import { findFreePort } from '../support/ports.ts'
import { createService, descendantsOf, type Line, type Service } from '../support/processes.ts'

const patience = { timeout: 60_000, interval: 50 }

/** An API with its output redirected by a shell. */
async function startRedirected(service: Service, redirection: string) {
  const port = await findFreePort()
  const baseUrl = `http://127.0.0.1:${port}`
  const command = `exec "$0" --enable-source-maps dist/api.js ${redirection}`
  const environment = { ...service.settings, DATA_DIR: service.dataDirectory, PORT: String(port) }
  const program = service.startProgram(['/bin/sh', '-c', command, process.execPath], { environment })
  await vi.waitFor(async () => expect((await fetch(`${baseUrl}/healthz`)).status).toBe(200), patience)
  return { ...program, baseUrl, addressHeader: 'X-Forwarded-For' }
}

/** Completes tasks in sequence, and waits until the webhook has got all of them. */
async function completeTasks(service: Service, api: { baseUrl: string; addressHeader: string }, count = 5) {
  const client = createClient(api)
  const { token } = await client.register()
  const tasks = await inTurn(count, async () => {
    const task = await client.createTask(token)
    await client.request('PATCH', taskPath(task), { token, json: { status: 'completed' } })
    return task
  })
  const told = () =>
    service.webhook.received.map(({ body }) => JSON.parse(body).event.detail.task.id as number)
  await vi.waitFor(() => expect(told()).toEqual(expect.arrayContaining(tasks.map(({ id }) => id))), patience)
  await vi.waitFor(async () => {
    const [left] = await service.query<{ count: number }>('select count(*)::int from outbox')
    expect(left).toEqual({ count: 0 })
  }, patience)
  return { tasks: tasks.map(({ id }) => id), told: told().sort((a, b) => a - b) }
}

const noticesIn = (lines: Line[]) => lines.filter(({ message }) => message === 'log lines were lost')

test('goes on after the reader has gone (npm start | head), and posts each webhook once', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  api.child.stdout?.destroy()
  api.child.stderr?.destroy()
  const { tasks, told } = await completeTasks(service, api)
  expect(told).toEqual(tasks)
})

test.each([
  ['a full disk', '>/dev/full 2>/dev/full'],
  ['closed output', '>&- 2>&-'],
])('goes on with %s, and posts each webhook once', async (_, redirection) => {
  const service = await createService({ onTestFinished })
  const api = await startRedirected(service, redirection)
  const { tasks, told } = await completeTasks(service, api)
  expect(told).toEqual(tasks)
})

test('each process reports the number of lost lines once its output can be written', async (context) => {
  const service = await createService(context)
  const fifo = join(service.dataDirectory, 'log')
  execFileSync('mkfifo', [fifo])
  const read = () => service.startProgram(['cat', fifo])
  const first = read()
  const api = await startRedirected(service, `>'${fifo}' 2>&1`)
  await first.stop('SIGKILL')
  await completeTasks(service, api, 2)
  const second = read()
  await vi.waitFor(() => expect(noticesIn(second.lines)).toHaveLength(2), patience)
  // Each request is a line of the API, each completed task a line of the notifier.
  const [fewer, more] = noticesIn(second.lines)
    .map(({ lines }) => Number(lines))
    .sort((a, b) => a - b)
  expect(fewer).toBe(2)
  expect(more).toBeGreaterThanOrEqual(6)
  for (const notice of noticesIn(second.lines))
    expect(notice).toMatchObject({ level: 'error', reason: 'EPIPE' })
})

test('a stopped reader delays no request, and gets the number of lines that it missed', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  await completeTasks(service, api, 1)
  api.child.stdout?.pause()
  // About 2 MB of lines, more than are buffered.
  const [rounds, each] = [150, 40]
  const name = (i: number) => `slow-${i}-`.padEnd(128, 'x')
  for (let round = 0; round < rounds; round++) {
    const answers = await atOnce(each, (i) =>
      fetch(`${api.baseUrl}/healthz`, { headers: { 'X-Request-Id': name(round * each + i) } }),
    )
    expect(answers.every(({ status }) => status === 200)).toBe(true)
    await Promise.all(answers.map((answer) => answer.arrayBuffer()))
  }
  api.child.stdout?.resume()
  await vi.waitFor(() => expect(noticesIn(api.lines)).toHaveLength(1), patience)
  const lost = Number(noticesIn(api.lines)[0]?.lines)
  expect(lost).toBeGreaterThan(0)
  const seen = () => api.lines.filter(({ request_id }) => String(request_id).startsWith('slow-')).length
  await vi.waitFor(() => expect(seen() + lost).toBe(rounds * each), patience)
})

type Ending = { code: number | null; stderr: string }

/** A command whose output goes to a full disk, or to a closed pipe. */
function runUnread(
  name: string,
  args: string[],
  environment: Record<string, string>,
  reader: 'full' | 'gone',
) {
  const full = openSync('/dev/full', 'w')
  const child = spawn(process.execPath, [join(root, `dist/${name}.js`), ...args], {
    env: { PATH: process.env.PATH, ...environment },
    stdio: ['ignore', reader === 'full' ? full : 'pipe', 'pipe'],
  })
  closeSync(full)
  child.stdout?.destroy()
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  return new Promise<Ending>((resolve) => child.once('close', (code) => resolve({ code, stderr })))
}

test('a command that cannot write its output exits with 1', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  await completeTasks(service, api, 1)
  const environment = {
    ...service.settings,
    DATA_DIR: service.dataDirectory,
    PORT: new URL(api.baseUrl).port,
  }
  const commands: [string, ...string[]][] = [
    ['users', 'list'],
    ['users', 'list', '--json'],
    ['outbox', 'status'],
    ['migrate', 'status'],
    ['doctor', '--json'],
    ['notifier-inspect', 'invocations'],
    ['notifier-invoke', '--task', '1'],
    ...['users', 'outbox', 'migrate', 'doctor', 'notifier-inspect', 'notifier-invoke'].map(
      (name): [string, string] => [name, '--help'],
    ),
  ]
  for (const [name, ...args] of commands) {
    const full = await runUnread(name, args, environment, 'full')
    expect([name, args, full]).toEqual([
      name,
      args,
      { code: 1, stderr: 'the answer could not be written (ENOSPC)\n' },
    ])
    expect([name, args, await runUnread(name, args, environment, 'gone')]).toEqual([
      name,
      args,
      { code: 1, stderr: '' },
    ])
  }
})

test('npm run dev goes on, and rebuilds, when its output is closed', async (context) => {
  const service = await createService(context)
  const port = await findFreePort()
  const project = await copyProject(service.dataDirectory)
  const dev = service.startProgram([process.execPath, 'scripts/dev.mjs'], {
    cwd: project,
    environment: {
      ...service.settings,
      DATA_DIR: join(service.dataDirectory, 'data'),
      PORT: String(port),
    },
  })
  dev.child.stdout?.destroy()
  dev.child.stderr?.destroy()
  const servedBy = async () => {
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200)
    return descendantsOf(dev.child).find(({ command }) => command.endsWith('dist/api.js'))?.pid
  }
  const first = await vi.waitFor(servedBy, patience)
  await appendFile(join(project, 'src/node.ts'), '// changed\n')
  await vi.waitFor(async () => expect(await servedBy()).not.toBe(first), patience)
})
