/** Schemas that features share. */
import * as z from 'zod'

/** Client generators take an integer for 32 bits unless its format says otherwise. */
export const int64 = { format: 'int64' }

export const Id = z
  .int()
  .min(1)
  .meta({ id: 'Id', ...int64 })

export const Timestamp = z.iso
  .datetime()
  .meta({ id: 'Timestamp', description: 'RFC 3339, UTC, with milliseconds' })

/** Lets rules over several members run when a member is wrong, so that every error is reported at once. */
export const isObject = ({ value }: { value: unknown }) =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * The JSON schema of an object that has all members of at least one of the groups. Each alternative lists its
 * members as properties too: type generators skip an alternative that has only `required`.
 */
export const hasOneOf = (...groups: string[][]) => ({
  allOf: [
    {
      anyOf: groups.map((names) => ({
        type: 'object',
        properties: Object.fromEntries(names.map((name) => [name, {}])),
        required: names,
      })),
    },
  ],
})
