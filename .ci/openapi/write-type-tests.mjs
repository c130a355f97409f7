// Writes a TypeScript file that assigns each example of an OpenAPI document to its type from
// openapi-typescript. It also assigns variants with one value of another type, and expects an error exactly
// where the schema refuses the variant.
import { readFileSync, writeFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'

const [, , documentFile, typesModule, outputFile] = process.argv
const document = JSON.parse(readFileSync(documentFile, 'utf8'))

const ajv = new Ajv2020({ strict: false, validateFormats: false })
ajv.addSchema(document, 'document')

const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({
    pointer: ['paths', path, method],
    method,
    ...operation,
  })),
)

/** Each example with its expected type and the path of its schema in the document. */
function* examples({ operationId, pointer, parameters = [], requestBody, responses }) {
  const operation = `operations['${operationId}']`
  for (const [index, { name, in: place, schema }] of parameters.entries()) {
    const members = `NonNullable<${operation}['parameters']['${place}']>`
    const type = `NonNullable<${members}['${name}']>`
    for (const value of schema.examples ?? [])
      yield { type, value, schema: [...pointer, 'parameters', index, 'schema'] }
  }
  const contents = [
    [`NonNullable<${operation}['requestBody']>`, requestBody, [...pointer, 'requestBody']],
    ...Object.entries(responses).map(([status, response]) => [
      `${operation}['responses']['${status}']`.replace(/'(\d+)'/, '$1'),
      response,
      [...pointer, 'responses', status],
    ]),
  ]
  for (const [type, { content = {} } = {}, place] of contents) {
    for (const [mediaType, { examples = {} }] of Object.entries(content)) {
      for (const { value } of Object.values(examples)) {
        const schema = [...place, 'content', mediaType, 'schema']
        yield { type: `${type}['content']['${mediaType}']`, value, schema }
      }
    }
  }
}

/** The value with one leaf replaced by a value of another type. */
function* variants(value) {
  if (typeof value === 'number' || typeof value === 'boolean') yield String(value)
  else if (typeof value === 'string') yield 7
  else if (value === null) yield* [7, 'seven']
  else {
    for (const [key, member] of Object.entries(value)) {
      for (const variant of variants(member)) {
        const copy = structuredClone(value)
        copy[key] = variant
        yield copy
      }
    }
  }
}

const accepts = (schema, value) => {
  const parts = schema.map((part) =>
    encodeURIComponent(String(part).replaceAll('~', '~0').replaceAll('/', '~1')),
  )
  return ajv.validate({ $ref: `document#/${parts.join('/')}` }, value)
}

const lines = [`import type { operations } from '${typesModule}'`]
let [accepted, refused] = [0, 0]
function assign(type, value, isAccepted) {
  if (isAccepted) accepted++
  else refused++
  if (!isAccepted) lines.push('// @ts-expect-error')
  lines.push(`export const value${lines.length}: ${type} = ${JSON.stringify(value)}`)
}

for (const operation of operations) {
  for (const { type, value, schema } of examples(operation)) {
    assign(type, value, true)
    for (const variant of variants(value)) assign(type, variant, accepts(schema, variant))
  }
  for (const mediaType of Object.keys(operation.requestBody?.content ?? {})) {
    assign(
      `NonNullable<operations['${operation.operationId}']['requestBody']>['content']['${mediaType}']`,
      {},
      false,
    )
  }
}
writeFileSync(outputFile, `${lines.join('\n')}\n`)
console.log(`${accepted} values that the types must accept, ${refused} that they must refuse`)
if (accepted < operations.length || refused < operations.length)
  throw new Error('the document has too few examples')
