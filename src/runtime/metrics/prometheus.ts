/** Metrics of a process, kept and published by prom-client. */
import type { OutboxMeasure } from '../../outbox/watch.ts'
import type { Metrics } from '../../ports/metrics.ts'
import { linesLost } from '../process/output.ts'

/** The metrics of one process as plain data: prom-client's JSON, which its types describe wrongly. */
export type Snapshot = Metric[]
type Metric = { name: string; help: string; type: string; aggregator?: string; values: Sample[] }
type Sample = { value: number; labels: Record<string, string | number>; metricName?: string }

/** Read at each scrape. */
export type Sources = {
  pool: () => Load
  hashing: () => Load
  stoppedChannels: () => number
  /** Resolves with undefined while the database does not answer. Measured by one process of a cluster. */
  outbox?: () => Promise<OutboxMeasure | undefined>
}
export type Load = { running: number; waiting: number }

export type Prometheus = Awaited<ReturnType<typeof createPrometheus>>

/** In seconds. Most requests take a few milliseconds. */
const requestBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const deliveryBuckets = [0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600, 3600, 21_600]
/** Other methods count as one: HTTP's registry has some thirty more. */
const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/** `process` labels the metrics of a single process, such as its memory. */
export async function createPrometheus(process: string) {
  // Loaded only if metrics are on: it slows the start down.
  const { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } = await import('prom-client')
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry, labels: { process } })

  const requests = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Requests by operation, from the headers of the request to the complete answer.',
    labelNames: ['method', 'route', 'status'],
    buckets: requestBuckets,
    registers,
  })
  const verdicts = new Counter({
    name: 'rate_limit_verdicts_total',
    help: 'Decisions of the rate limiter.',
    labelNames: ['rule', 'verdict'],
    registers,
  })
  const lookups = new Counter({
    name: 'cache_lookups_total',
    help: 'Look-ups of cached answers; bypass where none is possible, as while the store is down.',
    labelNames: ['outcome'],
    registers,
  })
  const deliveries = new Counter({
    name: 'event_deliveries_total',
    help: 'Attempts to deliver an event to the notifier.',
    labelNames: ['outcome'],
    registers,
  })
  const delays = new Histogram({
    name: 'event_delivery_delay_seconds',
    help: 'From the completion of a task to the end of its handling by the notifier.',
    buckets: deliveryBuckets,
    registers,
  })

  let reportedLost = 0
  new Counter({
    name: 'log_lines_lost_total',
    help: 'Log lines that could not be printed.',
    registers,
    collect() {
      const lost = linesLost()
      this.inc(lost - reportedLost)
      reportedLost = lost
    },
  })

  const metrics: Metrics = {
    requestAnswered({ method, route = 'unknown', status, ms }) {
      requests.observe({ method: methods.has(method) ? method : 'other', route, status }, ms / 1000)
    },
    limitDecided: ({ rule, allowed }) => verdicts.inc({ rule, verdict: allowed ? 'allowed' : 'refused' }),
    cacheAsked: (outcome) => lookups.inc({ outcome: outcome.replace('-', '_') }),
    deliveryEnded({ outcome, ageMs }) {
      deliveries.inc({ outcome: outcome.replace(' ', '_') })
      if (outcome === 'handled') delays.observe(ageMs / 1000)
    },
  }

  function gaugeOfLoad(name: string, help: string, load: () => Load) {
    const gauge = new Gauge({ name, help, labelNames: ['state'], registers, collect })
    function collect() {
      for (const [state, value] of Object.entries(load())) gauge.set({ state }, value)
    }
  }

  function gaugeOfOutbox(measure: () => Promise<OutboxMeasure | undefined>) {
    const gauge = (name: string, help: string) => new Gauge({ name, help, registers })
    const [waiting, oldest, dead] = [
      gauge('outbox_events', 'Events that wait for delivery; counted up to 100,000.'),
      gauge('outbox_oldest_event_age_seconds', 'Age of the oldest waiting event; 0 when none waits.'),
      gauge('outbox_dead_events', 'Dead letters; counted up to 100,000.'),
    ] as const
    return async () => {
      const measured = await measure()
      // Unknown values are left out of the snapshot, as is everything that is not finite.
      waiting.set(measured?.waiting ?? Number.NaN)
      oldest.set(measured ? measured.oldest_ms / 1000 : Number.NaN)
      dead.set(measured?.dead ?? Number.NaN)
    }
  }

  let measureOutbox = async () => {}

  return {
    metrics,
    watch({ pool, hashing, stoppedChannels, outbox }: Sources) {
      gaugeOfLoad('database_statements', 'Statements on a connection, and waiting for one.', pool)
      gaugeOfLoad('password_hashes', 'Passwords being hashed or checked, and waiting to be.', hashing)
      new Gauge({
        name: 'notifier_stopped_channels',
        help: 'Channels whose receiver answered 410 Gone, as the notifier last reported.',
        registers,
        collect() {
          this.set(stoppedChannels())
        },
      })
      if (outbox) measureOutbox = gaugeOfOutbox(outbox)
    },
    async snapshot(): Promise<Snapshot> {
      await measureOutbox()
      const json = (await registry.getMetricsAsJSON()) as unknown as Snapshot
      return json.map((metric) => ({
        ...metric,
        // Metrics of a single process have its label, so that they are never added up.
        aggregator: 'sum',
        values: metric.values.filter(({ value }) => Number.isFinite(value)),
      }))
    },
  }
}

export const contentType = 'text/plain; version=0.0.4; charset=utf-8'

/** Prometheus's text format, with the sums over all processes. */
export async function format(snapshots: Snapshot[]): Promise<string> {
  const { AggregatorRegistry } = await import('prom-client')
  return AggregatorRegistry.aggregate(snapshots).metrics()
}

/** Adds the counters of an ended process to `sum`, so that sums never fall. Metrics with its label end. */
export async function addCounts(sum: Snapshot, ended: Snapshot): Promise<Snapshot> {
  const { AggregatorRegistry } = await import('prom-client')
  const added = await AggregatorRegistry.aggregate([sum, countsOf(ended)]).getMetricsAsJSON()
  return (added as unknown as Snapshot).map((metric) => ({ ...metric, aggregator: 'sum' }))
}

export const countsOf = (snapshot: Snapshot): Snapshot =>
  snapshot
    .filter(({ type }) => type !== 'gauge')
    .map((metric) => ({ ...metric, values: metric.values.filter(({ labels }) => !('process' in labels)) }))
    .filter(({ values }) => values.length > 0)
