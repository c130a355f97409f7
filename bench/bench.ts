/**
 * Compares the API with its peers: `npm run bench`. Starts Postgres 15 and Redis, and each target in turn,
 * with the same data; drives it, checks every answer's status, and writes docs/performance.md. Options:
 * `--rounds 5`, `--scenarios list,get`, `--targets uncached,fastify-full`, `--processes 2`, `--quick`,
 * `--profile FOLDER`, `--soak MINUTES`. docs/performance.md explains them.
 */
import { parseArgs } from 'node:util'
import { measure } from './comparison/measure.ts'
import { judge, writePage } from './comparison/page.ts'
import { createProfiling } from './comparison/profiling.ts'
import { figuresTable, type Round, ratiosTable } from './comparison/report.ts'
import { scenarios } from './comparison/scenarios.ts'
import { startServices } from './comparison/services.ts'
import { soak } from './comparison/soak.ts'
import { hasDjango, installPeers, reference, startTarget, targets } from './comparison/targets.ts'
import { type AtEnd, runBench } from './run-bench.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string' },
    scenarios: { type: 'string' },
    targets: { type: 'string' },
    processes: { type: 'string', default: '1' },
    quick: { type: 'boolean', default: false },
    profile: { type: 'string' },
    soak: { type: 'string' },
  },
})
const { quick, profile, soak: soakMinutes } = values
const processes = Number(values.processes)
const rounds = Number(values.rounds ?? (quick || profile ? 1 : 5))
/** Cores that other processes may use while a figure counts. */
const maxOther = 0.3

const usual = {
  scenarios: quick || profile ? ['list', 'get', 'create', 'update'] : Object.keys(scenarios),
  targets: quick ? [reference, 'cached', 'uncached'] : profile ? ['uncached'] : Object.keys(targets),
}
const isWhole = !quick && !profile && !values.scenarios && !values.targets

function choose<T extends object>(all: Record<string, T>, names: string[]): (T & { name: string })[] {
  return names.map((name) => {
    const found = all[name]
    if (!found) throw new Error(`there is no ${name}: choose from ${Object.keys(all).join(', ')}`)
    return { ...found, name }
  })
}

async function main(atEnd: AtEnd) {
  const chosen = {
    scenarios: choose(scenarios, values.scenarios?.split(',') ?? usual.scenarios),
    targets: choose(targets, values.targets?.split(',') ?? usual.targets),
  }
  if (chosen.targets.some(({ name }) => name === 'django') && !hasDjango()) {
    console.log('Django REST Framework is left out: Debian has it in the packages of docs/performance.md.\n')
    chosen.targets = chosen.targets.filter(({ name }) => name !== 'django')
  }
  installPeers()
  const services = await startServices(atEnd, { processes })
  if (soakMinutes) {
    process.exitCode = (await soak(services, { minutes: Number(soakMinutes), processes })) ? 0 : 1
    return
  }
  const profiling = profile ? createProfiling(profile) : undefined
  const measured: Round[] = []
  for (let round = 1; round <= rounds; round++) {
    for (const target of chosen.targets) {
      await services.reset(target)
      const started = await startTarget(target, services, { processes, ...profiling?.options })
      for (const scenario of chosen.scenarios) {
        const isSlow = scenario.name === 'login'
        const one = await measure({
          ...{ services, target, started, scenario, maxOther },
          warmUpSeconds: isSlow ? 1 : quick ? 2 : 3,
          seconds: isSlow ? 8 : quick ? 3 : 5,
          ...(profiling ? { around: profiling.around(started.pid) } : {}),
        })
        measured.push({ ...one, round, isQuiet: one.other <= maxOther })
        const [rate, cpu] = [one.requestsPerSecond.toFixed(0), one.cpu.toFixed(3)]
        console.log(`${round} ${target.name} ${scenario.name}: ${rate} requests/s, ${cpu} ms CPU`)
        if (one.other > maxOther) console.log(`not counted: others used ${one.other.toFixed(2)} cores`)
        profiling?.report(one)
      }
      await started.stop()
    }
  }
  const noisy = measured.filter(({ isQuiet }) => !isQuiet).length
  console.log(`\n${figuresTable(measured)}\n\n${ratiosTable(measured)}`)
  console.log(`\n${noisy} of ${measured.length} measurements are left out because of other load.\n`)
  if (quick && !judge(measured)) process.exitCode = 1
  if (isWhole) await writePage(measured, { processes, versions: await services.versions(), maxOther })
}

await runBench(main)
