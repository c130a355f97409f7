// Loaded into the API by `npm run load`. On SIGUSR2 it collects garbage and prints the event-loop lag since
// the last signal, in ms, and the memory in use, in MiB.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')
const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()
const mebibytes = (bytes) => Math.round(bytes / 1024 / 102.4) / 10

process.on('SIGUSR2', () => {
  const [p50, p99, max] = [delay.percentile(50), delay.percentile(99), delay.max].map(
    (ns) => Math.round(ns / 1e5) / 10,
  )
  collect()
  const { rss, heapUsed } = process.memoryUsage()
  console.log(
    JSON.stringify({ message: 'monitor', p50, p99, max, rss: mebibytes(rss), heap: mebibytes(heapUsed) }),
  )
  delay.reset()
})
