import { describe, expect, test } from 'vitest'
import { rateLimitHeaders, reported } from '../../src/http/rate-limit-headers.ts'
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
})
const refused = (rule: LimitRule, retryAfterMs: number): Verdict => ({
  rule,
  allowed: false,
  remaining: 0,
  resetAt: now + retryAfterMs,
  retryAfterMs,
  counted: undefined,
})

describe('the headers', () => {
  test('of an allowed request say the policy, what is left and until when', () => {
    expect(rateLimitHeaders(allowed(user, 99), now)).toEqual({
      'RateLimit-Policy': '"user";q=100;w=60',
      RateLimit: '"user";r=99;t=42',
      'X-RateLimit-Limit': '100',
      'X-RateLimit-Remaining': '99',
      'X-RateLimit-Reset': String(now / 1000 + 42),
    })
  })

  test('of a refused one name the moment a retry succeeds', () => {
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

  test('never shorten the wait because the answer took its time', () => {
    expect(rateLimitHeaders(refused(user, 1500), now + 5000)['Retry-After']).toBe('2')
  })

  test('say 0 seconds, not fewer, when the window ended while the request was served', () => {
    expect(rateLimitHeaders(allowed(user, 3), now + 43_000).RateLimit).toBe('"user";r=3;t=0')
  })

  test('round parts of a second of the window up', () => {
    const rule: LimitRule = { ...user, windowMs: 1500 }
    expect(rateLimitHeaders(allowed(rule, 3), now + 1)).toMatchObject({
      'RateLimit-Policy': '"user";q=100;w=2',
      RateLimit: '"user";r=3;t=42',
    })
  })
})

describe('the reported verdict', () => {
  test('is the one that refused, whatever remains of the others', () => {
    const refusal = refused(login, 5000)
    expect(reported([allowed(user, 0), refusal, allowed(user, 0)])).toBe(refusal)
    expect(reported([refusal, allowed(user, 0)])).toBe(refusal)
  })

  test('of several refusals is the longest', () => {
    const long = refused(login, 9000)
    expect(reported([refused(user, 5000), long, refused(user, 8000)])).toBe(long)
  })

  test('is else the one with least remaining, the first among equals', () => {
    const least = allowed(login, 3)
    expect(reported([allowed(user, 50), least, allowed(user, 3)])).toBe(least)
  })

  test('is none of none', () => {
    expect(reported([])).toBeUndefined()
  })
})
