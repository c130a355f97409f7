/** The store of limits and cached answers: whether it is there, how far away, and whether it forgets what it should not. */
import type { Config } from '../../config/api.ts'
import { describeFailure } from '../../core/failure.ts'
import { redisStore } from '../store/redis-store.ts'
import { upstashCommands } from '../store/upstash.ts'
import { type Finding, failed, isHere, ok, type Patient, warning } from './finding.ts'

const timeoutMs = 5000
const oldestTried = 7
/** Every request waits for one round trip. In ms. */
const slow = 20

export async function checkStore({ config }: Patient): Promise<Finding[]> {
  const { store, databaseUrl } = config
  if (!store) {
    const detail = databaseUrl
      ? 'this process’s memory: limits hold for one process, and nothing is cached'
      : 'this process’s memory'
    return [ok('store', detail)]
  }
  return store.kind === 'redis' ? checkRedis(store) : checkUpstash(store)
}

type Of<Kind> = Extract<Config['store'], { kind: Kind }>

async function checkUpstash(store: Of<'upstash'>): Promise<Finding[]> {
  const { host } = new URL(store.url)
  try {
    const { ping } = redisStore(upstashCommands(store), store.prefix)
    return [describeLatency(host, await measure(ping))]
  } catch (error) {
    return [
      failed(
        'store',
        `${host}: ${describeFailure(error)}`,
        'give the REST URL and token that Upstash shows; limits go on in each process meanwhile',
      ),
    ]
  }
}

async function checkRedis({ url }: Of<'redis'>): Promise<Finding[]> {
  const { host, hostname, protocol } = new URL(url)
  const { createClient } = await import('redis')
  const client = createClient({
    url,
    name: 'task-api-doctor',
    socket: { connectTimeout: timeoutMs, socketTimeout: timeoutMs, reconnectStrategy: false },
  })
  client.on('error', () => {})
  try {
    await client.connect()
    const latency = describeLatency(host, await measure(() => client.ping()))
    const info = await client.info().catch((error: Error) => error)
    if (info instanceof Error)
      return [
        latency,
        warning('redis', `INFO is refused (${info.message})`, 'let this user INFO, to see more here'),
      ]
    const tls =
      protocol === 'redis:' && !isHere(hostname)
        ? [
            warning(
              'redis',
              'its password and what is cached go there unencrypted',
              'give a rediss URL, or keep that network to yourself',
            ),
          ]
        : []
    return [latency, ...tls, ...describeServer(fieldsOf(info))]
  } catch (error) {
    return [
      failed(
        'store',
        `${host}: ${describeFailure(error)}`,
        'start it, or mend REDIS_URL; limits go on in each process meanwhile',
      ),
    ]
  } finally {
    client.destroy()
  }
}

const fieldsOf = (info: string) =>
  Object.fromEntries([...info.matchAll(/^(\w+):(.*?)\r?$/gm)].map(([, name, value]) => [name, value ?? '']))

function describeServer(info: Record<string, string>): Finding[] {
  const { redis_version: version = '', role, maxmemory_policy: policy = '', maxmemory = '0' } = info
  const name = info.valkey_version ? `Valkey ${info.valkey_version}` : `Redis ${version}`
  const findings = [
    Number.parseInt(version, 10) < oldestTried
      ? warning('redis', `${name}, which was not tried`, `run ${oldestTried} or newer`)
      : ok('redis', name),
  ]
  if (role !== 'master')
    findings.push(failed('redis', 'is a replica, which takes no writes', 'give the address of its primary'))
  const described = `maxmemory ${maxmemory === '0' ? 'unlimited' : maxmemory}, policy ${policy}`
  findings.push(
    policy === 'noeviction' && maxmemory !== '0'
      ? warning(
          'redis memory',
          `${described}: full, it refuses all writes`,
          'set maxmemory-policy to volatile-ttl',
        )
      : ok('redis memory', described),
  )
  return findings
}

function describeLatency(host: string, ms: number): Finding {
  const detail = `${host} answers in ${ms.toFixed(1)} ms`
  return ms > slow
    ? warning('store', detail, 'every request waits for it: keep it in the same region and network')
    : ok('store', detail)
}

/** The best of some; rejects when one takes too long. */
async function measure(ping: () => Promise<unknown>): Promise<number> {
  const times = []
  for (let i = 0; i < 5; i++) {
    const begun = performance.now()
    await within(ping())
    times.push(performance.now() - begun)
  }
  return Math.min(...times)
}

async function within(work: Promise<unknown>) {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(reject, timeoutMs, new Error(`no answer within ${timeoutMs} ms`))
  })
  try {
    await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
