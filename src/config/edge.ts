/** The configuration of the API on Workers: some settings are required there, others impossible. */
import { StartError } from '../core/start-error.ts'
import { readConfig } from './api.ts'

/** @throws StartError with a line for each wrong setting, or for the first that is required or impossible */
export function readEdgeConfig(environment: Record<string, unknown>) {
  const config = readConfig(environment)
  const { jwtSecrets, store } = config
  const { credentials } = config.notifier
  if (!jwtSecrets) {
    throw new StartError(
      'JWT_SECRET: missing; give a secret of at least 32 bytes: wrangler secret put JWT_SECRET',
    )
  }
  if (store?.kind === 'redis') {
    throw new StartError(
      'REDIS_URL: not at the edge; give UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN',
    )
  }
  if (!credentials) {
    throw new StartError(
      'AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: missing; give the key pair that the notifier has: wrangler secret put …',
    )
  }
  return { ...config, jwtSecrets, store, notifier: { ...config.notifier, credentials } }
}

export type EdgeConfig = ReturnType<typeof readEdgeConfig>
