import { describe, expect, test } from 'vitest'
import { reported, setRateLimitHeaders } from '../../src/http/rate-limit-headers.ts'
import type { LimitRule, Verdict } from '../../src/store/limiter.ts'

const now = Date.UTC(2026, 10, 22, 7, 4, 18)
const user: LimitRule = { name: 'user', limit: 100, windowMs: 60_000 }
const login: LimitRule = { name: 'login', limit: 10, windowMs: 60_000 }

const allowed = (rule: LimitRule, remaining: number): Verdict => ({
  rule,
  allowed: true,
  remaining,
  resetAt: now + 42_000,
  retryAfterMs: 0,
  counted: undefined,
  kept: undefined,
})
const refused = (rule: LimitRule, retryAfterMs: number): Verdict => ({
  rule,
  allowed: false,
  remaining: 0,
  resetAt: now + retryAfterMs,
  retryAfterMs,
  counted: undefined,
  kept: undefined,
})

function rateLimitHeaders(verdict: Verdict, at: number) {
  const headers: Record<string, string> = {}
  setRateLimitHeaders(headers, verdict, at)
  return headers
}

describe('the headers', () => {
  test('of an allowed request have policy, remaining requests and reset', () => {
    expect(rateLimitHeaders(allowed(user, 99), now)).toEqual({
      'RateLimit-Policy': '"user";q=100;w=60',
      RateLimit: '"user";r=99;t=42',
      'X-RateLimit-Limit': '100',
      'X-RateLimit-Remaining': '99',
      'X-RateLimit-Reset': String(now / 1000 + 42),
    })
  })

  test('of a refused request have the moment at which a retry succeeds', () => {
    expect(rateLimitHeaders(refused(login, 17_000), now)).toEqual({
      'RateLimit-Policy': '"login";q=10;w=60',
      RateLimit: '"login";r=0;t=17',
      'X-RateLimit-Limit': '10',
      'X-RateLimit-Remaining': '0',
      'X-RateLimit-Reset': String(now / 1000 + 17),
      'Retry-After': '17',
    })
  })

  test.each([
    [1, '1'],
    [999, '1'],
    [1000, '1'],
    [1001, '2'],
    [59_000, '59'],
    [59_001, '60'],
  ])('round a wait of %i ms up, to %s', (wait, expected) => {
    for (const at of [now, now + 1, now + 500, now + 999]) {
      const verdict = { ...refused(user, wait), resetAt: at + wait }
      const headers = rateLimitHeaders(verdict, at)
      expect(headers['Retry-After']).toBe(expected)
      expect(headers.RateLimit).toBe(`"user";r=0;t=${expected}`)
      expect(Number(headers['X-RateLimit-Reset']) * 1000).toBeGreaterThanOrEqual(verdict.resetAt)
    }
  })

  test('keep the full wait in a slow answer', () => {
    expect(rateLimitHeaders(refused(user, 1500), now + 5000)['Retry-After']).toBe('2')
  })

  test('have 0 seconds if the window ended during the request', () => {
    expect(rateLimitHeaders(allowed(user, 3), now + 43_000).RateLimit).toBe('"user";r=3;t=0')
  })

  test('round fractions of a second of the window up', () => {
    const rule: LimitRule = { ...user, windowMs: 1500 }
    expect(rateLimitHeaders(allowed(rule, 3), now + 1)).toMatchObject({
      'RateLimit-Policy': '"user";q=100;w=2',
      RateLimit: '"user";r=3;t=42',
    })
  })
})

describe('the reported verdict', () => {
  test('is the refusal, regardless of the other limits', () => {
    const refusal = refused(login, 5000)
    expect(reported([allowed(user, 0), refusal, allowed(user, 0)])).toBe(refusal)
    expect(reported([refusal, allowed(user, 0)])).toBe(refusal)
  })

  test('is the refusal with the longest wait', () => {
    const long = refused(login, 9000)
    expect(reported([refused(user, 5000), long, refused(user, 8000)])).toBe(long)
  })

  test('is otherwise the one with the fewest remaining requests, the first of equal ones', () => {
    const least = allowed(login, 3)
    expect(reported([allowed(user, 50), least, allowed(user, 3)])).toBe(least)
  })

  test('is undefined without verdicts', () => {
    expect(reported([])).toBeUndefined()
  })
})
