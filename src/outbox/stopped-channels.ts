/** Which channels the notifier no longer uses, as far as its answers tell. */
import type { Logger } from '../core/log.ts'

/** @returns `hear`, for what the function returned, and how many are stopped */
export function watchStoppedChannels(log: Logger) {
  let stopped: string[] = []
  return {
    hear(payload: string) {
      const told = stoppedIn(payload)
      for (const channel of told.filter((name) => !stopped.includes(name)))
        log.error('notification channel stopped', { channel, advice: 'see npm run doctor' })
      stopped = told
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
