/** The notifier's stopped channels, as its answers name them. */
import type { Logger } from '../core/log.ts'

/** `observe` takes the notifier's answer. `count` is for metrics. */
export function watchStoppedChannels(log: Logger) {
  let stopped: string[] = []
  return {
    observe(payload: string) {
      const current = stoppedIn(payload)
      for (const channel of current.filter((name) => !stopped.includes(name)))
        log.error('notification channel stopped', { channel, advice: 'see npm run doctor' })
      stopped = current
    },
    count: () => stopped.length,
  }
}

function stoppedIn(payload: string): string[] {
  try {
    const { stopped } = JSON.parse(payload) as { stopped?: unknown }
    return Array.isArray(stopped) ? stopped.map(String) : []
  } catch {
    return []
  }
}
