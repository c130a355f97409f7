/** Graceful shutdown: requests in flight are answered, and no process is left, for every way of stopping. */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { isRunning } from '../../src/runtime/embedded-postgres/owner.ts'
import { atOnce, type Client, createClient, taskPath, type User } from '../support/client.ts'
import { copyProject, root } from '../support/directories.ts'
import { findFreePort, listenOnLoopback } from '../support/ports.ts'
import {
  type ApiProcess,
  createService,
  descendantsOf,
  type Program,
  type Service,
} from '../support/processes.ts'
import { beginUpload } from '../support/upload.ts'
import { processesOf, until } from './fixtures/embedded-postgres.ts'

const patience = { timeout: 60_000, interval: 100 }
/** `docker stop` kills after this. */
const limitMs = 10_000
/** The API's longest waits for requests in flight, and then for deliveries. */
const [requestGraceMs, relayGraceMs] = [5_000, 2_000]

/** Remembers the processes that the API has started by now. */
function watch({ child }: Pick<Program, 'child'>) {
  const descendants = descendantsOf(child)
  for (const program of ['notifier.js', 'bin/postgres'])
    expect(descendants.some(({ command }) => command.includes(program))).toBe(true)
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve))
  return {
    /** Resolves with the exit code and the time since `act`. */
    async exitAfter(act: () => void) {
      const begun = Date.now()
      act()
      return { code: await exited, ms: Date.now() - begun }
    },
    /** Commands of those that still run. */
    left: () => descendants.filter(({ token }) => isRunning(token)).map(({ command }) => command),
  }
}

/** The error code of a refused connection; undefined when it is accepted. */
async function connectionError(port: number): Promise<string | undefined> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  } finally {
    socket.destroy()
  }
}

/** The number of requests that the limit of the token endpoints has counted, including this one. */
async function tokenRequests({ request }: Client): Promise<number> {
  const { headers } = await request('POST', '/api/token/', { json: {} })
  return Number(headers.get('X-RateLimit-Limit')) - Number(headers.get('X-RateLimit-Remaining'))
}

const eventTasks = ({ webhook }: Service) =>
  webhook.received.map(({ body }) => JSON.parse(body).event.detail.task.id as number)
const inOrder = (ids: number[]) => [...ids].sort((a, b) => a - b)

const taskIds = (tasks: { id: number }[]) => tasks.map(({ id }) => id)

/** Completes new tasks concurrently, and returns them. */
async function completeTasks(api: ApiProcess, { token }: User, count: number) {
  const client = createClient(api)
  const tasks = await atOnce(count, () => client.createTask(token))
  const answers = await Promise.all(
    tasks.map((task) => client.request('PATCH', taskPath(task), { token, json: { status: 'completed' } })),
  )
  expect(answers.map(({ status }) => status)).toEqual(tasks.map(() => 200))
  return tasks
}

test.concurrent.for(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
  '%s: requests in flight are answered, events are delivered, no process is left',
  async (signal, context) => {
    // Log-ins are slow, but end within the API's grace, also on a busy machine.
    const service = await createService(context, { BCRYPT_COST: '9', RATE_LIMIT_TOKEN: '1000000/60s' })
    const api = await service.start()
    const client = createClient(api)
    const user = await client.register()
    const { exitAfter, left } = watch(api)

    const upload = await beginUpload(api, await client.register())
    const tasks = await completeTasks(api, user, 15)
    const before = await tokenRequests(client)
    const logins = atOnce(3, () => client.logIn(user.username, user.password))
    let asked = 0
    await vi.waitFor(async () => {
      asked++
      expect(await tokenRequests(client)).toBeGreaterThanOrEqual(before + asked + 3)
    }, patience)
    const exited = exitAfter(() => api.child.kill(signal))
    await api.line(({ message }) => message === 'stopping')
    const port = Number(new URL(api.baseUrl).port)
    await until(async () => (await connectionError(port)) === 'ECONNREFUSED')
    // Deliveries go on while a request is in flight.
    await until(() => eventTasks(service).length === tasks.length)
    upload.finish()

    expect(await upload.answered).toMatchObject({ status: 201 })
    expect(await logins).toHaveLength(3)
    const { code, ms } = await exited
    expect(code).toBe(0)
    expect(ms).toBeLessThan(limitMs)
    expect(left()).toEqual([])
    expect(inOrder(eventTasks(service))).toEqual(inOrder(taskIds(tasks)))
    const next = createServer()
    await listenOnLoopback(next, port)
    next.close()
  },
)

test.concurrent('events recorded right before are delivered to a slow webhook', async (context) => {
  const service = await createService(context)
  service.webhook.answerWith((response) => void setTimeout(() => response.writeHead(200).end(), 100))
  let api = await service.start()
  const user = await createClient(api).register()
  for (let attempt = 0; attempt < 12; attempt++) {
    const { exitAfter } = watch(api)
    const earlier = service.webhook.received.length
    // More than are in flight at a time.
    const tasks = await completeTasks(api, user, 12)
    const { code, ms } = await exitAfter(() => api.child.kill())
    expect(code).toBe(0)
    const told = inOrder(eventTasks(service).slice(earlier))
    api = await service.start()
    const left = await service.query('select id, attempts, last_error from outbox')
    if (told.length === tasks.length && left.length === 0) {
      expect(told).toEqual(inOrder(taskIds(tasks)))
      return
    }
    // Events may be left only when the grace was over: then the test tries again.
    expect(ms, JSON.stringify({ told, left })).toBeGreaterThanOrEqual(relayGraceMs)
    await vi.waitFor(async () => expect(await service.query('select id from outbox')).toEqual([]), patience)
  }
  throw new Error(`this machine is too slow to tell of 12 tasks within ${relayGraceMs} ms`)
})

test.concurrent('open connections, busy or idle, do not delay the shutdown', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  const { exitAfter } = watch(api)
  const upload = await beginUpload(api, await createClient(api).register())
  let answered = 0
  const busy = atOnce(3, async () => {
    for (;;) {
      const { status } = await createClient(api).request('GET', '/healthz')
      if (status === 200) answered++
    }
  })
  busy.catch(() => {})
  await until(() => answered > 50)
  const exited = exitAfter(() => api.child.kill())
  await api.line(({ message }) => message === 'stopping')
  upload.finish()
  expect(await upload.answered).toMatchObject({ status: 201 })
  expect((await exited).code).toBe(0)
  const timeOf = (message: string) =>
    Date.parse(String(api.lines.find((line) => line.message === message)?.time))
  // The notifier is stopped after the last connection is closed.
  expect(timeOf('notifier stopping') - timeOf('stopping')).toBeLessThan(requestGraceMs)
})

test.concurrent('ends in time although a client and a webhook never answer; the next start delivers the rest', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  const user = await createClient(api).register()
  const tasks = await atOnce(25, () => createClient(api).createTask(user.token))
  const { exitAfter, left } = watch(api)
  const upload = await beginUpload(api, user)
  service.webhook.answerWith(() => {})
  await service.query(`update tasks set status = 'completed' where id in (${taskIds(tasks)})`)
  tasks.push(await createClient(api).createTask(user.token, { status: 'completed' }))
  await until(() => service.webhook.received.length > 0)
  const { ms } = await exitAfter(() => api.child.kill())
  // Its own limit is half a second earlier, which a busy machine may exceed.
  expect(ms).toBeLessThan(limitMs + 2_000)
  await expect(upload.answered).rejects.toThrow()
  await until(() => left().length === 0)

  const untilNow = service.webhook.received.length
  service.webhook.answerWith((response) => void response.writeHead(200).end())
  await service.start()
  const told = () => inOrder(eventTasks(service).slice(untilNow))
  await vi.waitFor(() => expect(told()).toEqual(inOrder(taskIds(tasks))), patience)
})

test.concurrent('a start that is stopped leaves no process, and the next one works', async (context) => {
  const service = await createService(context, {}, { firstStart: true })
  const environment = { ...service.settings, PORT: '0', DATA_DIR: service.dataDirectory }
  const running = () => processesOf(service.dataDirectory).map(({ command }) => command)
  const moments = {
    'the data directory is being made': () => until(() => running().some((text) => text.includes('initdb'))),
    'the database runs': (start: Program) => start.line(({ message }) => /^applied/.test(message ?? '')),
    'the notifier runs': (start: Program) => start.line(({ message }) => message === 'notifier listening'),
  }
  for (const [moment, come] of Object.entries(moments)) {
    const command = [process.execPath, join(root, 'dist/api.js')] as const
    const start = service.startProgram([...command], { environment })
    await come(start)
    const begun = Date.now()
    expect({ moment, code: await start.stop() }).toEqual({ moment, code: 0 })
    expect(Date.now() - begun).toBeLessThan(limitMs)
    await until(() => running().length === 0)
  }
  await createClient(await service.start()).register()
})

/** A keep-alive connection for requests in sequence. */
async function keptConnection({ baseUrl }: ApiProcess) {
  const socket = connect(Number(new URL(baseUrl).port), '127.0.0.1')
  await once(socket, 'connect')
  return {
    /** Rejects when the connection ends without an answer. */
    async ask(path: string): Promise<string> {
      socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
      const [answer] = await Promise.race([
        once(socket, 'data'),
        once(socket, 'close').then(() => Promise.reject(new Error('closed without an answer'))),
      ])
      return String(answer)
    },
    isClosed: () => socket.closed,
  }
}

test.concurrent('requests are served for SHUTDOWN_DELAY, while /readyz reports the shutdown', async (context) => {
  const service = await createService(context, { SHUTDOWN_DELAY: '4s' })
  const api = await service.start()
  const client = createClient(api)
  const { token } = await client.register()
  const kept = await keptConnection(api)
  expect(await kept.ask('/readyz')).toMatch(/^HTTP\/1\.1 200 /)
  const { exitAfter, left } = watch(api)
  const exited = exitAfter(() => api.child.kill())
  await api.line(({ message }) => message === 'stopping')
  expect(await client.request('GET', '/readyz')).toMatchObject({
    status: 503,
    body: { status: 'unavailable', unavailable: ['shutdown'] },
  })
  expect(await client.request('GET', '/healthz')).toMatchObject({ status: 200 })
  expect((await fetch(api.baseUrl, { headers: { Connection: 'close' } })).status).toBe(404)
  await client.createTask(token)
  const answer = await kept.ask('/readyz')
  expect(answer).toMatch(/^HTTP\/1\.1 503 /)
  expect(answer).not.toMatch(/Connection: close/i)
  const { code, ms } = await exited
  expect(code).toBe(0)
  expect(ms).toBeGreaterThanOrEqual(4_000)
  expect(ms).toBeLessThan(4_000 + limitMs)
  expect(left()).toEqual([])
})

test.concurrent('a connection that is idle when the listener closes gets one more answer, then it is closed', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  const [kept, silent] = [await keptConnection(api), await keptConnection(api)]
  for (const connection of [kept, silent]) expect(await connection.ask('/healthz')).toMatch(/ 200 OK/)
  // A connection without any byte.
  const unused = await keptConnection(api)
  const { exitAfter } = watch(api)
  const exited = exitAfter(() => api.child.kill())
  let answer = ''
  do {
    answer = await kept.ask('/healthz')
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK/)
  } while (!/\r\nConnection: close\r\n/i.test(answer))
  await until(() => [kept, silent, unused].every(({ isClosed }) => isClosed()))
  expect((await exited).code).toBe(0)
})

test.concurrent('a second signal ends the service at once', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  const { exitAfter, left } = watch(api)
  const upload = await beginUpload(api, await createClient(api).register())
  let signals: NodeJS.Timeout | undefined
  const { code, ms } = await exitAfter(() => {
    api.child.kill()
    signals = setInterval(() => api.child.kill(), 200)
  })
  clearInterval(signals)
  expect(code).toBe(1)
  expect(ms).toBeLessThan(requestGraceMs)
  await expect(upload.answered).rejects.toThrow()
  await until(() => left().length === 0)
})

test.concurrent('one Ctrl-C that arrives twice counts once: from the terminal, and forwarded by npm', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  const { exitAfter } = watch(api)
  const upload = await beginUpload(api, await createClient(api).register())
  const exited = exitAfter(() => api.child.kill('SIGINT'))
  await api.line(({ message }) => message === 'stopping')
  api.child.kill('SIGINT')
  upload.finish()
  expect(await upload.answered).toMatchObject({ status: 201 })
  expect((await exited).code).toBe(0)
})

test.concurrent('after SIGKILL notifier and Postgres end too, and the next start works', async (context) => {
  const service = await createService(context, { PORT: String(await findFreePort()) })
  const api = await service.start()
  const user = await createClient(api).register()
  const { exitAfter, left } = watch(api)
  const task = await createClient(api).createTask(user.token)
  await exitAfter(() => api.child.kill('SIGKILL'))
  await until(() => left().length === 0)
  const next = await service.start()
  expect(next.baseUrl).toBe(api.baseUrl)
  const { body } = await createClient(next).request('GET', taskPath(task), { token: user.token })
  expect(body).toEqual(task)
})

test.concurrent('npm start and npm run dev leave no process, for every way of stopping', async (context) => {
  const service = await createService(context)
  const project = await copyProject(service.dataDirectory)

  for (const [script, how] of [
    ['start', 'SIGTERM to npm'],
    // As systemd does: npm forwards the signal that the API has already got.
    ['start', 'SIGTERM to all'],
    ['start', 'Ctrl-C'],
    ['start', 'a terminal that is closed'],
    ['dev', 'SIGTERM to npm'],
    ['dev', 'Ctrl-C'],
  ] as const) {
    const npm = service.startProgram(['npm', 'run', script], {
      cwd: project,
      // Its own process group, as in a terminal.
      detached: true,
      environment: {
        ...service.settings,
        PORT: '0',
        DATA_DIR: join(service.dataDirectory, 'data'),
        HOME: project,
        npm_config_update_notifier: 'false',
      },
    })
    const { url } = await npm.line(({ message }) => message === 'listening')
    const api = { ...npm, baseUrl: String(url), addressHeader: 'X-Forwarded-For' }
    const { exitAfter, left } = watch(npm)
    const upload = await beginUpload(api, await createClient(api).register())
    const toAll = { 'Ctrl-C': 'SIGINT', 'SIGTERM to all': 'SIGTERM', 'a terminal that is closed': 'SIGHUP' }
    const exited = exitAfter(() => {
      if (how === 'SIGTERM to npm') npm.child.kill()
      else process.kill(-Number(npm.child.pid), toAll[how])
    })
    await npm.line(({ message }) => message === 'stopping')
    upload.finish()
    expect({ script, how, ...(await upload.answered) }).toMatchObject({ script, how, status: 201 })
    const { code, ms } = await exited
    // npm does not wait for its child when the terminal is gone, nor `dev` for the end of esbuild's.
    if (how === 'a terminal that is closed' || script === 'dev') await until(() => left().length === 0)
    if (how !== 'a terminal that is closed')
      expect({ script, how, code, left: left() }).toEqual({ script, how, code: 0, left: [] })
    expect(ms).toBeLessThan(limitMs)
  }
})
