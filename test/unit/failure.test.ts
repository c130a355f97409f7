/** Errors in the log: with their causes, however deep. */
import { expect, test } from 'vitest'
import { describeFailure } from '../../src/core/failure.ts'
import { createLogger, errorFields } from '../../src/core/log.ts'
import { StartError } from '../../src/core/start-error.ts'
import { DatabaseUnavailableError } from '../../src/ports/database.ts'

const coded = (message: string, code: string, cause?: unknown) =>
  Object.assign(new Error(message, cause === undefined ? {} : { cause }), { code })
const refused = (address: string) => coded(`connect ECONNREFUSED ${address}`, 'ECONNREFUSED')

test('an error is described with its code and all its causes', () => {
  expect(describeFailure(new Error('a'))).toBe('a')
  expect(describeFailure(coded('no room', '53100'))).toBe('no room (53100)')
  const nested = new Error('outer', { cause: new Error('middle', { cause: coded('inner', '53300') }) })
  expect(describeFailure(nested)).toBe('outer: middle: inner (53300)')
  expect(describeFailure(new TypeError('fetch failed', { cause: refused('10.0.0.1:443') }))).toBe(
    'fetch failed: connect ECONNREFUSED 10.0.0.1:443',
  )
  expect(describeFailure('text')).toBe('text')
  expect(describeFailure(new Error('outer', { cause: 'text' }))).toBe('outer: text')
})

test('a host name with several addresses is described with the failure of each', () => {
  const both = new AggregateError([refused('::1:5432'), refused('127.0.0.1:5432')])
  const said = 'connect ECONNREFUSED ::1:5432: connect ECONNREFUSED 127.0.0.1:5432'
  expect(describeFailure(both)).toBe(said)
  expect(errorFields(new DatabaseUnavailableError('away', both))).toEqual({
    error: 'the database is away',
    code: 'ECONNREFUSED',
    cause: said,
  })
})

test('circular and long causes are bounded', () => {
  const loop = new Error('loop')
  loop.cause = loop
  expect(describeFailure(loop)).toMatch(/^loop(: loop)+$/)
  const many = new AggregateError(Array.from({ length: 1000 }, () => new Error('x'.repeat(1000))))
  expect(describeFailure(many).length).toBeLessThanOrEqual(2000)
})

test('a fault of the program has a stack, an outage has none', () => {
  expect(errorFields(new TypeError('ours'))).toMatchObject({ error: 'ours', stack: expect.any(String) })
  for (const error of [new DatabaseUnavailableError('full', coded('no', '53100')), new StartError('no')])
    expect(errorFields(error)).not.toHaveProperty('stack')
})

test('a log line stays one line with any message of a server', () => {
  const lines: string[] = []
  const log = createLogger('info', (line) => lines.push(line))
  log.warn('lost', errorFields(new Error('outer', { cause: new Error('one\ntwo\r\n\tthree') })))
  expect(lines).toHaveLength(1)
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ cause: 'one two three' })
})
