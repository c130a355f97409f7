import * as z from 'zod'
import { int64 } from '../http/schemas.ts'

/** A query parameter that is a user's id or one of these words. */
export const UserReference = <const Words extends string[]>(words: Words) =>
  z
    .string()
    .transform((value, context): number | Words[number] => {
      if (words.includes(value)) return value as Words[number]
      const id = /^\d{1,15}$/.test(value) ? Number(value) : 0
      if (id > 0) return id
      context.addIssue(`It must be a user's id or ${words.join(' or ')}.`)
      return z.NEVER
    })
    .meta({
      description: `Id of a user, or ${words.join(' or ')}`,
      type: undefined,
      anyOf: [
        { type: 'integer', minimum: 1, ...int64 },
        { type: 'string', enum: words },
      ],
    })
