/** JSON schemas for the OpenAPI document, made from zod's, in draft 2020-12, the one of OpenAPI 3.1. */
import * as z from 'zod'

export type JsonSchema = {
  properties?: Record<string, JsonSchema>
  required?: string[]
  description?: string
  [keyword: string]: unknown
}

export type SchemaOf = (schema: z.ZodType, io: 'input' | 'output') => JsonSchema

/** Schemas that have an id become `components`, wherever they are used. */
export function collectSchemas(): { schemaOf: SchemaOf; components: Record<string, unknown> } {
  const components: Record<string, unknown> = {}
  const schemaOf: SchemaOf = (schema, io) => {
    const { $defs = {}, ...rest } = jsonSchema(schema, io)
    Object.assign(components, $defs)
    return rest
  }
  return { schemaOf, components }
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): JsonSchema {
  const { $schema, ...rest } = z.toJSONSchema(schema, {
    io,
    unrepresentable: 'any',
    override({ jsonSchema }) {
      // The format says the same and is readable.
      if (jsonSchema.format) delete jsonSchema.pattern
      // The bounds of safe integers are not limits of the API.
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum
      // Members may be added to answers in time.
      if (io === 'output' && jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties
    },
  })
  return JSON.parse(JSON.stringify(rest).replaceAll('"#/$defs/', '"#/components/schemas/'))
}
