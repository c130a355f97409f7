/** Schemas that features share. */
import * as z from 'zod'

/** Generators of clients take an integer for one of 32 bits unless its format says otherwise. */
export const int64 = { format: 'int64' }

export const Id = z
  .int()
  .min(1)
  .meta({ id: 'Id', ...int64 })

export const Timestamp = z.iso
  .datetime()
  .meta({ id: 'Timestamp', description: 'RFC 3339, UTC, with milliseconds' })

/** Rules over several members are looked at even when a member is wrong, so that everything is reported at once. */
export const isObject = ({ value }: { value: unknown }) =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * The JSON schema of an object that has all members of at least one of the groups. Each alternative names its members
 * as properties too: generators of types pass over an alternative that only requires some.
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
