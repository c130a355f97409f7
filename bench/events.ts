/**
 * Sends Events to the notifier while killing it with SIGKILL: `npm run events -- [events] [kills]`. Fails if
 * an event was not handled. Counts those that were handled twice, which depends on the moments of the kills.
 */
import { runEventStorm } from '../test/support/event-storm.ts'
import { runBench } from './run-bench.ts'

const events = Number(process.argv[2] ?? 10_000)
const kills = Number(process.argv[3] ?? 20)

async function main() {
  console.log(`${events} Events, ${kills} SIGKILLs of the notifier.\n`)
  const storm = await runEventStorm({ events, kills, withinMs: 30 * 60_000 })
  console.log('| Events | kills | unanswered, sent again | not handled | handled again | dead | seconds |')
  console.log('|---:|---:|---:|---:|---:|---:|---:|')
  const { unanswered, missing, repeats, dead, seconds } = storm
  console.log(`| ${[events, kills, unanswered, missing.length, repeats, dead, seconds].join(' | ')} |`)
  process.exitCode = missing.length > 0 || dead > 0 ? 1 : 0
}

await runBench(main)
