/** Input against its schemas, with everything that is wrong reported at once. */
import { zValidator } from '@hono/zod-validator'
import type { Context, MiddlewareHandler } from 'hono'
import type * as z from 'zod'
import { type InputError, invalidInput } from '../problem.ts'
import { refuse } from './authenticate.ts'

type Schemas = { query: z.ZodObject; body: z.ZodObject | undefined; form: boolean }

export function validate({ query, body, form }: Schemas): MiddlewareHandler[] {
  const hook = async (result: { error?: z.core.$ZodError; target: string }, c: Context) => {
    if (!result.error) return refuseNameless(c)
    const errors = inputErrors(result.error, result.target === 'query' ? 'parameter' : 'pointer')
    // The body is validated first; the query must then be looked at here, or its errors would come a request later.
    if (result.target !== 'query') {
      const { error } = parse(query, queryOf(c))
      if (error) errors.push(...inputErrors(error, 'parameter'))
    }
    await refuse(c, invalidInput(errors))
  }
  const options = { validationFunction: parse }
  const validators: MiddlewareHandler[] = []
  if (body) {
    const json: MiddlewareHandler = zValidator('json', body, hook, options)
    const urlencoded: MiddlewareHandler = form ? zValidator('form', body, hook, options) : json
    validators.push((c, next) => ('formData' in c.req.bodyCache ? urlencoded : json)(c, next))
  }
  validators.push(zValidator('query', query, hook, options))
  return validators
}

/** A parameter without a name is unknown too, but Hono drops it. */
async function refuseNameless(c: Context) {
  if (!/[?&]=/.test(c.req.url) || !new URL(c.req.url).searchParams.has('')) return
  await refuse(c, invalidInput([{ parameter: '', detail: 'There is no such parameter.' }]))
}

const queryOf = (c: Context) =>
  Object.fromEntries(
    Object.entries(c.req.queries()).map(([name, values]) => [name, values.length === 1 ? values[0] : values]),
  )

/** A schema's own messages go before these. */
function parse<S extends z.ZodType>(schema: S, value: unknown) {
  return schema.safeParse(value, { error: detailOf })
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

export function inputErrors(error: z.core.$ZodError, kind: 'pointer' | 'parameter'): InputError[] {
  const place = (path: PropertyKey[]) =>
    kind === 'pointer' ? { pointer: pointerTo(path) } : { parameter: String(path[0]) }
  return error.issues.flatMap((issue) =>
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
