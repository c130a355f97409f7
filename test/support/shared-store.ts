/**
 * The store of the services of the black-box suite, by TEST_STORE: memory (the default), redis or upstash.
 */
import { startTestRedis } from './redis.ts'
import { startUpstashFront } from './upstash-front.ts'

const choices = ['memory', 'redis', 'upstash']

export async function startSharedStore() {
  const choice = process.env.TEST_STORE ?? 'memory'
  if (!choices.includes(choice)) throw new Error(`TEST_STORE: give one of ${choices.join(', ')}`)
  const redis = choice === 'memory' ? undefined : await startTestRedis()
  const front = choice === 'upstash' && redis ? await startUpstashFront(redis.url) : undefined

  /** Settings of one service. Services have different users, so each has its own prefix. */
  function settingsFor(service: string): Record<string, string> {
    if (!redis) return {}
    const prefix = { REDIS_PREFIX: `${service}:` }
    if (!front) return { REDIS_URL: redis.url, ...prefix }
    return { UPSTASH_REDIS_REST_URL: front.url, UPSTASH_REDIS_REST_TOKEN: front.token, ...prefix }
  }

  return {
    settingsFor,
    async stop() {
      front?.close()
      await redis?.stop()
    },
  }
}
