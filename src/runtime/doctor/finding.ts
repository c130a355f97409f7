/** What `npm run doctor` finds: one thing that is well or is not, and what to do about it. */
import type { Config } from '../../config/api.ts'
import { describeFailure } from '../../core/failure.ts'
import { StartError } from '../../core/start-error.ts'

export type Finding = {
  name: string
  status: 'ok' | 'warning' | 'failed'
  detail: string
  /** What to do; not of an `ok`. */
  advice?: string
}

export const ok = (name: string, detail: string): Finding => ({ name, status: 'ok', detail })
export const warning = (name: string, detail: string, advice: string): Finding => ({
  name,
  status: 'warning',
  detail,
  advice,
})
export const failed = (name: string, detail: string, advice: string): Finding => ({
  name,
  status: 'failed',
  detail,
  advice,
})

/** What every check may look at. None of them changes anything. */
export type Patient = {
  config: Config
  /** An absolute path. */
  dataDirectory: string
  packageRoot: string
  env: NodeJS.ProcessEnv
}

/** What is checked together; it is left out when one of the settings it needs is not usable. */
export type Check = { name: string; needs: string[]; run(patient: Patient): Promise<Finding[]> }

const longestMs = 30_000

/** A check that fails on the way, or hangs, is itself a finding. */
export async function runCheck({ name, run }: Check, patient: Patient): Promise<Finding[]> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<Finding[]>((resolve) => {
    const finding = failed(
      name,
      `no answer within ${longestMs / 1000} s`,
      'look at the network on the way there',
    )
    timer = setTimeout(resolve, longestMs, [finding])
  })
  try {
    return await Promise.race([run(patient), late])
  } catch (error) {
    const [detail = '', ...advice] = describeFailure(error).split('; ')
    const further =
      error instanceof StartError && advice.length > 0 ? advice.join('; ') : 'mend it, then look again'
    return [failed(name, error instanceof StartError ? detail : describeFailure(error), further)]
  } finally {
    clearTimeout(timer)
  }
}

/** Loopback, or a unix socket: nobody else is on the way. */
export const isHere = (host: string) => /^(127\.|\[?::1\]?$|localhost$|\/)/.test(host)
