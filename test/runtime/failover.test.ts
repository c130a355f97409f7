/**
 * A database that goes away, comes back, or is replaced under load: no acknowledged write is lost, without a
 * restart.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, type TestContext, test, vi } from 'vitest'
import { type Answer, createClient, problemFaults } from '../support/client.ts'
import { type PostgresCluster, startPostgresCluster } from '../support/postgres-cluster.ts'
import { type ApiProcess, migrateDatabase, startApi } from '../support/processes.ts'
import { startTcpSwitch } from '../support/tcp-switch.ts'

const patience = { timeout: 60_000, interval: 20 }

/** An API with its own database, at an address that can be switched to another server. */
async function createService({ onTestFinished }: Pick<TestContext, 'onTestFinished'>) {
  const server = await startPostgresCluster()
  onTestFinished(() => server.remove())
  await migrateDatabase(server.url())
  const address = await startTcpSwitch(server.port)
  onTestFinished(() => void address.close())
  const api = await startApi({
    environment: {
      DATABASE_URL: server.url('', { host: '127.0.0.1', port: address.port }),
      JWT_SECRET: 'x'.repeat(32),
      RATE_LIMIT_USER: '1000000/60s',
      BCRYPT_COST: '4',
    },
  })
  onTestFinished(async () => void (await api.stop()))
  return { server, address, api }
}

/** Four clients create and four list, each as soon as it has its last answer. */
async function startLoad(api: ApiProcess) {
  const client = createClient(api)
  const { token } = await client.register()
  const acknowledged: number[] = []
  const refused = { writes: [] as Answer[], reads: [] as Answer[] }
  let read = 0
  let stopped = false
  async function act(once: () => Promise<void>) {
    while (!stopped) {
      await once()
      await sleep(5)
    }
  }
  const all = Array.from({ length: 4 }, () => [
    act(async () => {
      const answer = await client.request('POST', '/api/tasks/', { token, json: { title: 'One' } })
      if (answer.status === 201) acknowledged.push(answer.body.id)
      else refused.writes.push(answer)
    }),
    act(async () => {
      const answer = await client.request('GET', '/api/tasks/?limit=5', { token })
      if (answer.status === 200) read++
      else refused.reads.push(answer)
    }),
  ])
  return {
    acknowledged,
    refused,
    /** Resolves after `more` further writes and reads. */
    async goesOn(more: number) {
      const goal = { writes: acknowledged.length + more, reads: read + more }
      await vi.waitFor(
        () => expect(acknowledged.length >= goal.writes && read >= goal.reads).toBe(true),
        patience,
      )
    },
    async stop() {
      stopped = true
      await Promise.all(all.flat())
    },
  }
}

type Load = Awaited<ReturnType<typeof startLoad>>

async function expectNothingLost(load: Load, server: Pick<PostgresCluster, 'query'>) {
  const rows = await server.query<{ id: number }>('select id::int from tasks', 'tasks')
  const stored = new Set(rows.map(({ id }) => id))
  expect(load.acknowledged.filter((id) => !stored.has(id))).toEqual([])
  // A write that was retried after it had taken effect would exist twice.
  expect(rows.length).toBeLessThanOrEqual(load.acknowledged.length + load.refused.writes.length)
  for (const answer of [...load.refused.writes, ...load.refused.reads]) {
    expect({ status: answer.status, faults: problemFaults(answer) }).toEqual({ status: 503, faults: [] })
    expect(answer.headers.get('Retry-After')).toMatch(/^[1-9]\d*$/)
  }
}

test.concurrent('no read fails while connections are ended all the time', async (context) => {
  const { server, api } = await createService(context)
  const load = await startLoad(api)
  await load.goesOn(20)
  let ended = 0
  for (let round = 0; round < 30; round++) {
    const rows = await server.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where usename = 'tasks'`,
    )
    ended += rows.length
    await load.goesOn(3)
  }
  await load.stop()
  expect(ended).toBeGreaterThan(30)
  expect(load.refused.reads.map(({ status }) => status)).toEqual([])
  await expectNothingLost(load, server)
})

test.concurrent('a server is killed and restarted', async (context) => {
  const { server, api } = await createService(context)
  const load = await startLoad(api)
  const recoveries: number[] = []
  for (let round = 0; round < 4; round++) {
    await load.goesOn(20)
    await server.kill()
    // Longer than retries last, so that there are refusals.
    await vi.waitFor(() => expect(load.refused.reads.length).toBeGreaterThan(round), patience)
    await server.start()
    const back = performance.now()
    await load.goesOn(1)
    recoveries.push(Math.round(performance.now() - back))
  }
  await load.goesOn(20)
  await load.stop()
  console.log(
    `recovered after ${recoveries.join(', ')} ms; ${load.acknowledged.length} writes, ${load.refused.writes.length} refused`,
  )
  await expectNothingLost(load, server)
})

test.concurrent('a writer becomes a reader, and a standby takes over', async (context) => {
  const { server, address, api } = await createService(context)
  const standby = await server.makeStandby()
  const load = await startLoad(api)
  await load.goesOn(20)

  // Its connections stay open, like Aurora's.
  await server.query('alter system set default_transaction_read_only = on')
  await server.query('select pg_reload_conf()')
  await vi.waitFor(() => expect(load.refused.writes.length).toBeGreaterThan(4), patience)
  expect(load.refused.reads).toEqual([])
  await vi.waitFor(async () => {
    const [{ at: written } = {}] = await server.query<{ at: string }>('select pg_current_wal_lsn()::text at')
    const [{ at: replayed } = {}] = await standby.query<{ at: string }>(
      'select pg_last_wal_replay_lsn()::text at',
    )
    expect(replayed).toBe(written)
  }, patience)
  await standby.query('select pg_promote()')
  address.leadTo(standby.port)
  const back = performance.now()
  await load.goesOn(1)
  console.log(`recovered after ${Math.round(performance.now() - back)} ms`)
  await load.goesOn(20)

  await server.kill()
  await load.goesOn(20)
  await load.stop()
  expect(load.refused.reads).toEqual([])
  await expectNothingLost(load, standby)
})
