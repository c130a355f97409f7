/** `npm run outbox` beside a service with a failing webhook. */
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { createClient, inTurn, taskPath } from '../support/client.ts'
import { runBuilt } from '../support/commands.ts'
import { createService, type Service } from '../support/processes.ts'
import { until } from './fixtures/embedded-postgres.ts'

const outbox = (service: Service, ...args: string[]) =>
  runBuilt('outbox', args, { environment: { ...service.settings, DATA_DIR: service.dataDirectory } })

const statusOf = async (service: Service) => JSON.parse((await outbox(service, 'status', '--json')).stdout)

/** Creates events that have failed and are not retried during a test. */
async function failing(service: Service, count: number) {
  const api = await service.start()
  service.webhook.answerWith((response) => void response.writeHead(500).end())
  const client = createClient(api)
  const { token } = await client.register()
  const tasks = await inTurn(count, () => client.createTask(token))
  for (const task of tasks)
    await client.request('PATCH', taskPath(task), { token, json: { status: 'completed' } })
  await until(async () => (await statusOf(service)).failing === count, 60_000)
  await service.query(`update outbox set next_attempt_at = now() + interval '1 hour', attempts = 7`)
  return tasks.map(({ id }) => id)
}

const toldTasks = ({ webhook }: Service) =>
  webhook.received.map(({ body }) => JSON.parse(body).event.detail.task.id as number)

test('status counts waiting, failing and dead events; requeue delivers them, drop deletes and prints them', async (context) => {
  const service = await createService(context)
  const [pulled, requeued, kept] = await failing(service, 3)
  await service.query(`
    update outbox set dead_at = now(), created_at = created_at - interval '7 hours'
    where (payload -> 'detail' -> 'task' ->> 'id')::int in (${requeued}, ${kept})`)

  const status = await statusOf(service)
  expect(status).toMatchObject({ waiting: 1, due: 0, failing: 1, dead: 2 })
  expect(status.oldest_age_seconds).toBeGreaterThan(0)
  expect(status.events.map(({ subject }: { subject: string }) => subject)).toEqual(
    [requeued, kept, pulled].map((id) => `/api/tasks/${id}/`),
  )
  expect(status.events[0]).toMatchObject({ attempts: 7, last_error: expect.stringContaining('500') })
  const { stdout, code } = await outbox(service, 'status')
  expect(code).toBe(0)
  expect(stdout).toMatch(
    /^waiting 1, the oldest for \d+ s\n {2}of them due now 0, failed before 1\ndead {4}2: /,
  )
  expect(stdout).toContain(status.events[0].id)

  const keptId = status.events[1].id
  const refused = await outbox(service, 'drop', '--all-dead')
  expect(refused).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/drop 2 .*--yes/) })
  const dropped = await outbox(service, 'drop', '--id', keptId, '--yes')
  expect(dropped).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(
      `^dropped ${keptId}: Task Completed /api/tasks/${kept}/, since .*\ndropped 1\n$`,
    ),
  })

  const told = toldTasks(service).length
  service.webhook.answerWith((response) => void response.writeHead(200).end())
  expect(await outbox(service, 'requeue')).toMatchObject({
    code: 0,
    stdout: 'requeued 1 dead, pulled forward 1 waiting\n',
  })
  await until(async () => (await statusOf(service)).waiting === 0, 60_000)
  expect(toldTasks(service).slice(told).sort()).toEqual([pulled, requeued].sort())
  expect(await statusOf(service)).toEqual({
    waiting: 0,
    due: 0,
    failing: 0,
    dead: 0,
    oldest_age_seconds: null,
    events: [],
  })
})

test('requeues one of several as a new event, and skips events in flight', async (context) => {
  const service = await createService(context)
  await failing(service, 2)
  const [one, other] = (await statusOf(service)).events
  // Dead because of its age. With that age its next failure would end it again.
  await service.query(`update outbox set dead_at = now(), created_at = created_at - interval '7 hours'`)
  const answer = await outbox(service, 'requeue', '--id', one.id, '--json')
  expect(JSON.parse(answer.stdout)).toEqual({ requeued: [one.id] })
  await until(async () => {
    const [row] = await service.query<{ attempts: number }>(`select * from outbox where id = '${one.id}'`)
    return Number(row?.attempts) > 0 && Number(row?.attempts) < 7
  })
  const rows = await service.query<{ id: string }>('select id from outbox where dead_at is not null')
  expect(rows).toEqual([{ id: other.id }])

  await service.query(`update outbox set dead_at = null, next_attempt_at = now() + interval '10 seconds'`)
  expect((await outbox(service, 'requeue')).stdout).toBe('requeued 0 dead, pulled forward 0 waiting\n')
})

test('drop prints the deleted events whole as JSON', async (context) => {
  const service = await createService(context)
  const [task] = await failing(service, 1)
  await service.query('update outbox set dead_at = now()')
  const { code, stdout } = await outbox(service, 'drop', '--all-dead', '--yes', '--json')
  expect(code).toBe(0)
  const { dropped } = JSON.parse(stdout)
  expect(dropped).toHaveLength(1)
  expect(dropped[0].payload).toMatchObject({
    'detail-type': 'Task Completed',
    detail: { task: { id: task } },
  })
  expect(await service.query('select id from outbox')).toEqual([])
})

test('an unknown id is an error', async (context) => {
  const service = await createService(context)
  await service.start()
  const id = randomUUID()
  for (const args of [
    ['requeue', '--id', id],
    ['drop', '--id', id, '--yes'],
  ])
    expect(await outbox(service, ...args)).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(`^--id ${id}: there is no such event.*\n$`),
    })
})

test.each<[string[], RegExp]>([
  [[], /^give status, requeue or drop: see npm run outbox -- --help$/],
  [['list'], /^unknown argument "list": see/],
  [['status', 'now'], /^unknown argument "now": see/],
  [['status', '--yes'], /^status takes no --yes: see/],
  [['status', '--all'], /'--all'.*: see/],
  [['requeue', '--all-dead'], /^requeue takes no --all-dead: see/],
  [['requeue', '--id'], /--id.*: see/],
  [['drop'], /^give either --id ID or --all-dead: see/],
  [['drop', '--all-dead', '--id', randomUUID()], /^give either --id ID or --all-dead: see/],
  [['drop', '--id', "'; drop table outbox"], /^--id '; drop table outbox: give the id of an event/],
  [['status'], /^no database: run npm start first/],
])('reports in one line: %j', async (args, line) => {
  const { code, stdout, stderr } = await runBuilt('outbox', args, {
    environment: { DATA_DIR: '/nonexistent' },
  })
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr.trimEnd()).toMatch(line)
  expect(stderr.trimEnd()).not.toContain('\n')
})

test('--help', async () => {
  expect(await runBuilt('outbox', ['--help'])).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('npm run outbox -- requeue'),
    stderr: '',
  })
})

test('user text does not control the terminal', async (context) => {
  const service = await createService(context)
  await failing(service, 1)
  const hostile = 'a\u001b]0;title\u0007b\u009b31mc\u202ed\u2028e\nf'
  await service.query(`update outbox set last_error = '${hostile}'`)
  await service.query(`update users set email = '${hostile}@example.com'`)
  const environment = { ...service.settings, DATA_DIR: service.dataDirectory }
  for (const [name, ...args] of [
    ['outbox', 'status'],
    ['users', 'list'],
  ] as [string, string][]) {
    const { stdout } = await runBuilt(name, args, { environment })
    expect(stdout).toContain('a ]0;title b 31mc d e f')
    expect(stdout).toMatch(/^[\n\x20-\x7e]+$/)
    const json = await runBuilt(name, [...args, '--json'], { environment })
    expect(json.stdout).toMatch(/^[\n\x20-\x7e]+$/)
    expect(JSON.stringify(JSON.parse(json.stdout))).toContain(JSON.stringify(hostile).slice(1, -1))
  }
})
