/** Metrics of a process, kept and published by prom-client, under names as Prometheus would have them. */
import type { OutboxMeasure } from '../../outbox/watch.ts'
import type { Metrics } from '../../ports/metrics.ts'
import { linesLost } from '../process/output.ts'

/** prom-client's own JSON, which its types describe wrongly: what one process has to tell, as plain data. */
export type Snapshot = Metric[]
type Metric = { name: string; help: string; type: string; aggregator?: string; values: Sample[] }
type Sample = { value: number; labels: Record<string, string | number>; metricName?: string }

/** What is looked at when somebody asks. */
export type Sources = {
  pool: () => Load
  hashing: () => Load
  stoppedChannels: () => number
  /** Undefined while the database does not answer; given by one process only, where several serve. */
  outbox?: () => Promise<OutboxMeasure | undefined>
}
export type Load = { running: number; waiting: number }

export type Prometheus = Awaited<ReturnType<typeof createPrometheus>>

/** Most requests take a few milliseconds. In seconds. */
const requestBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const deliveryBuckets = [0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600, 3600, 21_600]
/** Of what else there may be, HTTP's registry has some thirty. */
const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/** `process` labels what is a process's own, such as its memory: where several serve, each is told by its place. */
export async function createPrometheus(process: string) {
  // Read only where it is used: it takes a part of the start.
  const { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } = await import('prom-client')
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry, labels: { process } })

  const requests = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Requests by operation, from their headers read to their answer made.',
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
    help: 'Look-ups of cached answers; bypass where none is possible, as while the store is away.',
    labelNames: ['outcome'],
    registers,
  })
  const deliveries = new Counter({
    name: 'event_deliveries_total',
    help: 'Attempts to tell the notifier of a completed task.',
    labelNames: ['outcome'],
    registers,
  })
  const delays = new Histogram({
    name: 'event_delivery_delay_seconds',
    help: 'From the completion of a task to the notifier having handled it.',
    buckets: deliveryBuckets,
    registers,
  })

  let toldLost = 0
  new Counter({
    name: 'log_lines_lost_total',
    help: 'Log lines that could not be printed.',
    registers,
    collect() {
      const lost = linesLost()
      this.inc(lost - toldLost)
      toldLost = lost
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
      gauge('outbox_events', 'Events that wait for the notifier; counted up to 100,000.'),
      gauge('outbox_oldest_event_age_seconds', 'Age of the oldest event that waits; 0 when none does.'),
      gauge('outbox_dead_events', 'Events that were given up; counted up to 100,000.'),
    ] as const
    return async () => {
      const measured = await measure()
      // What is not known is left out of the answer, as all that is no number.
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
        help: 'Channels whose receiver answered 410 Gone, as the notifier told last.',
        registers,
        collect() {
          this.set(stoppedChannels())
        },
      })
      if (outbox) measureOutbox = gaugeOfOutbox(outbox)
    },
    async snapshot(): Promise<Snapshot> {
      await measureOutbox()
      const told = (await registry.getMetricsAsJSON()) as unknown as Snapshot
      return told.map((metric) => ({
        ...metric,
        // Whatever is a process's own has its label, and adds up with nothing.
        aggregator: 'sum',
        values: metric.values.filter(({ value }) => Number.isFinite(value)),
      }))
    },
  }
}

export const contentType = 'text/plain; version=0.0.4; charset=utf-8'

/** Prometheus's text format; what several processes counted is added up. */
export async function format(snapshots: Snapshot[]): Promise<string> {
  const { AggregatorRegistry } = await import('prom-client')
  return AggregatorRegistry.aggregate(snapshots).metrics()
}

/**
 * What stays of a process that has ended, so that sums never fall: what it counted, but for what has its own label, which
 * ends with it. The two are added up.
 */
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
