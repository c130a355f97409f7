/** Runs one check and turns its outcome into lines of the report of `npm run doctor`. */
import { describeFailure } from '../../core/failure.ts'
import type { Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import type { StartCheck, StartContext } from '../start-checks.ts'

export type CheckResult = {
  name: string
  status: 'ok' | 'warning' | 'failed'
  detail: string
  advice?: string
}

/** A failure if the check throws, a warning for each that it logs, ok if it does neither. */
export async function runCheck<Context extends StartContext>(
  { name, run }: { name: string; run(context: Context): ReturnType<StartCheck['run']> },
  context: Context,
): Promise<CheckResult[]> {
  const results: CheckResult[] = []
  const warn: Logger['warn'] = (message, fields = {}) => {
    const values = Object.entries(fields).map(([field, value]) => `${field}: ${value}`)
    results.push({ name, status: 'warning', detail: [message, ...values].join(', ') })
  }
  try {
    const detail = await run({ ...context, log: { debug() {}, info() {}, warn, error: warn } })
    return results.length > 0 ? results : [{ name, status: 'ok', detail: detail ?? '' }]
  } catch (error) {
    return [...results, ...failuresOf(name, error)]
  }
}

/** One for each line of a StartError, whose lines read `fault; advice`. */
export function failuresOf(name: string, error: unknown): CheckResult[] {
  if (!(error instanceof StartError)) return [{ name, status: 'failed', detail: describeFailure(error) }]
  return error.message.split('\n').map((line) => {
    const [detail = '', ...rest] = line.split('; ')
    const advice = rest.join('; ')
    return { name, status: 'failed', detail, ...(advice && { advice }) }
  })
}
