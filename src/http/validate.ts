/** Input against its schemas, with everything that is wrong reported at once. */
import { zValidator } from '@hono/zod-validator'
import type { Context, MiddlewareHandler } from 'hono'
import * as z from 'zod'
import { type InputError, invalidInput } from '../core/problem.ts'

export type Schemas = {
  query: z.ZodObject
  /** The headers that have a meaning, as the schema spells them; others may be sent too. */
  headers: z.ZodObject
  body: z.ZodObject | undefined
}

/** The schema of operations without query parameters. */
export const nothing = z.strictObject({})

/** Returns a check of a request; its results are in `c.req.valid`. @throws Problem 400, with every error */
export function createValidator({ query, headers, body }: Schemas): (c: Context) => Promise<void> {
  const names = Object.keys(headers.shape)
  /** The query of most requests. */
  const absent = Object.freeze(parse(query, {}).data)
  const hook = ({ error, target }: { error?: z.core.$ZodError; target: string }, c: Context) => {
    // The query is validated after the body, and reports the rest.
    if (target !== 'query' && !error) return
    const errors = inputErrors(error, target === 'query' ? 'parameter' : 'pointer')
    // Errors elsewhere are reported with the body's, not one request later.
    if (target !== 'query') errors.push(...inputErrors(parse(query, queryOf(c)).error, 'parameter'))
    errors.push(
      ...unreadableParameters(c),
      ...inputErrors(parse(headers, headersOf(names, c)).error, 'header'),
    )
    if (errors.length > 0) throw invalidInput(errors)
  }
  const options = { validationFunction: parse }
  const hasNone = (c: Context) =>
    !c.req.url.includes('?') && !names.some((name) => c.req.header(name) !== undefined)
  const ofQuery: MiddlewareHandler = zValidator('query', query, hook, options)
  const ofJson: MiddlewareHandler | undefined = body && zValidator('json', body, hook, options)
  const ofForm: MiddlewareHandler | undefined = body && zValidator('form', body, hook, options)
  const done = async () => {}
  return async (c) => {
    if (body) await ('formData' in c.req.bodyCache ? ofForm : ofJson)?.(c, done)
    if (absent && hasNone(c)) c.req.addValidatedData('query', absent)
    else await ofQuery(c, done)
  }
}

/** Errors that Hono passes over: a parameter without a name, and bytes that are not UTF-8. */
function unreadableParameters(c: Context): InputError[] {
  const start = c.req.url.indexOf('?')
  if (start < 0) return []
  const query = c.req.url.slice(start + 1)
  // Plain ASCII, and no pair begins with its value.
  if (!/%|(?:^|&)=/.test(query)) return []
  const pairs = query.split('&').filter(Boolean)
  return pairs.flatMap((pair) => {
    const [name = ''] = [...new URLSearchParams(pair).keys()]
    if (name === '') return [{ parameter: '', detail: 'There is no such parameter.' }]
    return isUtf8(pair) ? [] : [{ parameter: name, detail: 'It must be UTF-8.' }]
  })
}

/** A percent sign that begins no escape is a literal one. */
function isUtf8(encoded: string): boolean {
  try {
    decodeURIComponent(encoded.replace(/%(?![0-9a-f]{2})/gi, '%25'))
    return true
  } catch {
    return false
  }
}

const headersOf = (names: string[], c: Context) =>
  Object.fromEntries(names.map((name) => [name, c.req.header(name)]))

const queryOf = (c: Context) =>
  Object.fromEntries(
    Object.entries(c.req.queries()).map(([name, values]) => [name, values.length === 1 ? values[0] : values]),
  )

/** Messages of the schema itself take precedence over these. */
function parse<S extends z.ZodType>(schema: S, value: unknown) {
  // Four times as fast as with a map of messages, which only invalid input needs.
  const result = schema.safeParse(value)
  return result.success ? result : schema.safeParse(value, { error: detailOf })
}

const kinds: Record<string, string> = {
  object: 'an object',
  string: 'text',
  number: 'a number',
  int: 'a whole number',
}

function detailOf(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.input === undefined) return 'It is required.'
  switch (issue.code) {
    case 'invalid_type':
      return Array.isArray(issue.input) && issue.expected !== 'object'
        ? 'Give it once.'
        : `It must be ${kinds[issue.expected] ?? issue.expected}.`
    case 'invalid_value':
      return `It must be ${issue.values.map((value) => JSON.stringify(value)).join(' or ')}.`
    case 'too_small':
      return `It must be at least ${issue.minimum}.`
    case 'too_big':
      return `It must be at most ${issue.maximum}.`
    default:
      return undefined
  }
}

export function inputErrors(
  error: z.core.$ZodError | undefined,
  kind: 'pointer' | 'parameter' | 'header',
): InputError[] {
  const place = (path: PropertyKey[]) => {
    if (kind === 'pointer') return { pointer: pointerTo(path) }
    return kind === 'header' ? { header: String(path[0]) } : { parameter: String(path[0]) }
  }
  const issues = error?.issues ?? []
  return issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({
          ...place([...issue.path, key]),
          detail: kind === 'pointer' ? 'There is no such member.' : 'There is no such parameter.',
        }))
      : [{ ...place(issue.path), detail: issue.message }],
  )
}

/** RFC 6901; '' is the whole document. */
function pointerTo(path: PropertyKey[]): string {
  return path.map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}
