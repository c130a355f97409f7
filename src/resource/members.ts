/**
 * A resource's members, each declared once: its column, its type, how it is shown and whether clients write
 * it. Schemas, column lists and the inferred types of rows, inputs and patches follow from the declaration.
 */
import * as z from 'zod'

export type Member = {
  /** Type of the column, which has the member's name. */
  sql: 'bigint' | 'boolean' | 'date' | 'integer' | 'text' | 'timestamptz'
  /** Schema of the member in answers. */
  shown: z.ZodType
  /** Schema of the member in POST, PUT and PATCH; clients cannot write a member without one. */
  written?: z.ZodType
  /** Value in a new row where the client gives none; null when absent. */
  initial?: string | number | boolean
}

export type Resource = Record<string, Member>

type Shape<R extends Resource, Part extends 'shown' | 'written'> = {
  [Name in keyof R as R[Name] extends Record<Part, z.ZodType> ? Name : never]: R[Name] extends Record<
    Part,
    infer Schema extends z.ZodType
  >
    ? Schema
    : never
}

/** The schemas of the members that are shown, or of those that are written, by name. */
export function shapeOf<R extends Resource, Part extends 'shown' | 'written'>(members: R, part: Part) {
  const schemas = Object.entries(members).flatMap(([name, member]) => {
    const schema = member[part]
    return schema ? [[name, schema]] : []
  })
  return Object.fromEntries(schemas) as Shape<R, Part>
}
/** Members that clients cannot write: ignored, so that what was read can be sent back. */
export function ignoredShapeOf(members: Resource) {
  // The document does not call them `readOnly`: validators refuse such members in a request.
  const ignored = z.unknown().optional().meta({ description: 'Ignored: it may be sent back as it was read' })
  const names = Object.keys(members).filter((name) => !members[name]?.written)
  return Object.fromEntries(names.map((name) => [name, ignored]))
}

/** Selects every member of `row`, times as seconds since the epoch: their text depends on server settings. */
export const columnsOf = (members: Resource, row = 't') =>
  Object.entries(members)
    .map(([name, { sql }]) =>
      sql === 'timestamptz' ? `extract(epoch from ${row}.${name}) ${name}` : `${row}.${name}`,
    )
    .join(', ')

/** Names of the members that clients write. */
export const writtenNames = (members: Resource) =>
  Object.keys(members).filter((name) => members[name]?.written !== undefined)

/** Values that a client wrote, by member; undefined for a member that it left out. */
export type Written = Record<string, string | number | boolean | null | undefined>
