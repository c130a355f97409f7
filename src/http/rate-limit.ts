/** Sliding-window rate limits as a step of operations. */
import type { Config } from '../config/api.ts'
import { Problem } from '../core/problem.ts'
import type { Question } from '../store/cache.ts'
import type { Limiter, LimitRule, Verdict } from '../store/limiter.ts'
import { questionOf } from './cached-answer.ts'
import type { Exchange } from './deps.ts'
import { reported, setRateLimitHeaders } from './rate-limit-headers.ts'

/**
 * The limits that an operation's requests count under. `general`: the user's with a valid token, else the
 * address's. The others ignore `Authorization`. `registration`: the address's, and one of their own besides.
 * `token`: one of their own only, so that no other request from the address keeps anyone from logging in;
 * unknown paths below count too.
 */
export type LimitClass = 'general' | 'registration' | 'token'

/** `cost` 0 reports the limits and counts nothing. */
export type LimitUse = { class: LimitClass; cost: 0 | 1 }

/** One limit, the identity that it counts for, and what the limiter reads besides. */
export type Count = { rule: LimitRule; identity: string; question?: Question | undefined }

/**
 * Counts the request before anything else is done with it. Of a cached operation the cache is read in the
 * same round trip.
 * @throws Problem 429
 */
export async function limitRequest(
  exchange: Exchange,
  { class: limitClass, cost }: LimitUse,
  cached?: boolean,
) {
  const { cache, config, limiter } = exchange.deps
  const question = cached ? await questionOf(exchange) : undefined
  const counts = countsOf(exchange, limitClass, config.limits, question)
  if (cost === 0) {
    report(exchange, ...(await Promise.all(counts.map((each) => peek(limiter, each)))))
    return
  }
  const [verdict] = await count(exchange, ...counts)
  if (cached && exchange.session) exchange.lookup = cache.lookUp(question, verdict?.kept)
}

function countsOf(
  exchange: Exchange,
  of: LimitClass,
  limits: Config['limits'],
  question: Question | undefined,
): Count[] {
  const { session } = exchange
  if (of === 'general' && session)
    return [{ rule: limits.user, identity: String(session.caller.userId), question }]
  const identity = exchange.limitAddress
  const anonymous = { rule: limits.anonymous, identity }
  switch (of) {
    case 'token':
      return [{ rule: limits.token, identity }]
    case 'registration':
      return [anonymous, { rule: limits.register, identity }]
    case 'general':
      return [anonymous]
  }
}

const peek = (limiter: Limiter, { rule, identity }: Count) => limiter.peek(rule, identity)

/**
 * Counts the request under these limits too, in this order. When one refuses, the request counts nowhere:
 * earlier counts are given back.
 * @throws Problem 429, which names the limit with the longest wait
 */
export async function count(exchange: Exchange, ...counts: Count[]): Promise<Verdict[]> {
  const { limiter } = exchange.deps
  const taken: Verdict[] = []
  for (const { rule, identity, question } of counts) {
    const verdict = await limiter.take(rule, identity, question)
    if (!verdict.allowed) {
      const untaken = counts.slice(taken.length + 1)
      await refund(exchange, [...exchange.verdicts, ...taken])
      const others = await Promise.all(untaken.map((each) => peek(limiter, each)))
      throw refusal(report(exchange, verdict, ...others) ?? verdict)
    }
    taken.push(verdict)
  }
  report(exchange, ...taken)
  return taken
}

function refusal({ rule }: Verdict): Problem {
  return new Problem(429, `The limit is ${rule.limit} in ${rule.windowMs / 1000} seconds; see Retry-After.`, {
    // draft-ietf-httpapi-ratelimit-headers-10, section 6
    type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
    members: { 'violated-policies': [rule.name] },
  })
}

/** Moves the count of a request whose session has ended from the user to the address. @throws Problem 429 */
export async function countAsAnonymous(exchange: Exchange) {
  const counted = [...exchange.verdicts]
  const isFree = counted.every((verdict) => !verdict.counted)
  await refund(exchange, counted)
  const { config, limiter } = exchange.deps
  const anonymous = { rule: config.limits.anonymous, identity: exchange.limitAddress }
  if (isFree) report(exchange, await peek(limiter, anonymous))
  else await count(exchange, anonymous)
}

/** Takes counts back, a correct password's for one; the response no longer reports them. */
export async function refund(exchange: Exchange, verdicts: Verdict[]) {
  await Promise.all(verdicts.map((verdict) => exchange.deps.limiter.refund(verdict)))
  exchange.verdicts = exchange.verdicts.filter((verdict) => !verdicts.includes(verdict))
  report(exchange)
}

/** Returns the verdict that the response now reports. */
function report(exchange: Exchange, ...verdicts: Verdict[]): Verdict | undefined {
  exchange.verdicts.push(...verdicts)
  const verdict = reported(exchange.verdicts)
  if (verdict) setRateLimitHeaders(exchange.headers, verdict, exchange.deps.now())
  return verdict
}
