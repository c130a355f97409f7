/** Measures one scenario of a started target. */
import { setTimeout as sleep } from 'node:timers/promises'
import { drive, type Load } from './generator.ts'
import { requestAt, requestCount, type Scenario } from './scenarios.ts'
import type { Services } from './services.ts'
import type { Started, Target } from './targets.ts'
import { cpuOf, machineCpu, memoryOf, ownCpu } from './usage.ts'

/** CPU times in ms per request, memory in MiB, `other` in cores that other processes used meanwhile. */
export type Measurement = Load & {
  target: string
  scenario: string
  requestsPerSecond: number
  cpu: number
  postgres: number
  redis: number
  memory: number
  notifier: number | null
  other: number
}

export type MeasureOptions = {
  services: Services
  target: Target & { name: string }
  started: Started
  scenario: Scenario & { name: string }
  warmUpSeconds: number
  seconds: number
  /** Measured again, once, when other processes used more cores than this. The quieter one counts. */
  maxOther: number
  /** Called before and after the measured requests. */
  around?: { before: () => Promise<void>; after: () => Promise<void> }
}

/** Requests are numbered through the whole run, so that no title comes twice. */
let position = 0

export async function measure(options: MeasureOptions): Promise<Measurement> {
  const { services, target, started, scenario, maxOther, around } = options
  const { connections, status } = scenario
  const tokens = services.tokens[target.isOurs ? 'ours' : 'peers']
  const load = async (seconds: number) => {
    const first = position
    position += requestCount
    const requests = Array.from({ length: requestCount }, (_, index) =>
      requestAt(scenario, { paths: target.paths, tokens }, first + index),
    )
    const result = await drive({ services, started, requests, statuses: [status], connections, seconds })
    if (result.wrong > 0 || result.requests === 0)
      throw new Error(
        `${target.name} ${scenario.name}: ${result.wrong} of ${result.requests} answers are wrong`,
      )
    return result
  }

  for (let n = 0; n < 4; n++) await check(options, tokens, position++)
  await load(options.warmUpSeconds)
  let quietest: Measurement | undefined
  for (let attempt = 0; attempt < 2 && (quietest?.other ?? Number.POSITIVE_INFINITY) > maxOther; attempt++) {
    await idle(started.pid)
    await around?.before()
    const before = usage(services, started)
    const result = await load(options.seconds)
    const after = usage(services, started)
    await around?.after()
    const used = (name: keyof typeof before) => after[name] - before[name]
    const perRequest = (name: keyof typeof before) => used(name) / result.requests
    const ours = used('target') + used('postgres') + used('redis') + used('own')
    const { serving, notifier } = memoryOf(started.pid)
    const measured = {
      ...result,
      target: target.name,
      scenario: scenario.name,
      requestsPerSecond: result.requests / result.seconds,
      cpu: perRequest('target'),
      postgres: perRequest('postgres'),
      redis: perRequest('redis'),
      memory: serving,
      notifier,
      other: (used('machine') - ours) / 1000 / result.seconds,
    }
    if (!quietest || measured.other < quietest.other) quietest = measured
  }
  if (!quietest) throw new Error('nothing was measured')
  return quietest
}

const usage = ({ postgresPid, redisPid }: Services, { pid }: Started) => ({
  target: cpuOf(pid),
  postgres: cpuOf(postgresPid),
  redis: cpuOf(redisPid),
  own: ownCpu(),
  machine: machineCpu(),
})

/** Compares the content of an answer, too; the generator compares the status only. */
async function check({ target, started, scenario }: MeasureOptions, tokens: string[], number: number) {
  const { method, path, headers, body } = requestAt(scenario, { paths: target.paths, tokens }, number)
  const answer = await fetch(started.url + path, { method, headers, ...(body ? { body } : {}) })
  const text = await answer.text()
  if (answer.status !== scenario.status || !scenario.isRight(JSON.parse(text), number))
    throw new Error(
      `${target.name} answers ${method} ${path} wrongly: ${answer.status} ${text.slice(0, 500)}`,
    )
}

/** Waits for requests that the generator gave up: up to 20 s, until the target uses no CPU. */
async function idle(pid: number) {
  const deadline = Date.now() + 20_000
  for (let before = -1; Date.now() < deadline; await sleep(200)) {
    const now = cpuOf(pid)
    if (now - before <= 10) return
    before = now
  }
}
