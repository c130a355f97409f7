/** Reads a CloudFormation template, and says what in it CloudFormation would not take, as far as AWS's own data tells. */
import { loadAwsServiceSpecSync } from '@aws-cdk/aws-service-spec'
import type { PropertyType, ResourceProperties } from '@aws-cdk/service-spec-types'
import { type CollectionTag, parse, type ScalarTag } from 'yaml'

type Json = null | boolean | number | string | Json[] | { [name: string]: Json }
type JsonObject = { [name: string]: Json }

export type TemplateResource = {
  Type: string
  Properties?: JsonObject
  Condition?: string
  DependsOn?: string | string[]
}
export type Template = {
  Parameters: Record<string, { Type: string; NoEcho?: boolean; Default?: Json }>
  Conditions: JsonObject
  Resources: Record<string, TemplateResource>
  Outputs: JsonObject
}

/** Of the short forms of functions, as `!Sub`. */
const functions = [
  'Ref',
  'GetAtt',
  'Sub',
  'If',
  'Not',
  'Equals',
  'Select',
  'Split',
  'GetAZs',
  'Join',
  'And',
  'Or',
]

const longName = (name: string) => (name === 'Ref' || name === 'Condition' ? name : `Fn::${name}`)

/** With its functions in their long form; an alias, which CloudFormation does not know, is an error. */
export function parseTemplate(text: string): Template {
  const tags = functions.flatMap((name): (ScalarTag | CollectionTag)[] => [
    {
      tag: `!${name}`,
      // `!GetAtt A.B` is short for a list.
      resolve: (value: string) => ({
        [longName(name)]:
          name === 'GetAtt' ? [value.split('.')[0], value.split('.').slice(1).join('.')] : value,
      }),
    },
    { tag: `!${name}`, collection: 'seq', resolve: (list) => ({ [longName(name)]: list.toJSON() }) },
  ])
  return parse(text, { customTags: tags, maxAliasCount: 0 })
}

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The one member of an object that is a call of a function. */
function callOf(value: Json): { name: string; argument: Json } | undefined {
  if (!isObject(value)) return undefined
  const [[name, argument] = ['', null], ...more] = Object.entries(value)
  return more.length === 0 && /^(Ref|Condition|Fn::\w+)$/.test(name) ? { name, argument } : undefined
}

/** Every call of a function anywhere in `value`, outermost first. */
export function callsIn(value: Json | undefined): { name: string; argument: Json }[] {
  if (value === undefined || value === null || typeof value !== 'object') return []
  const call = callOf(value)
  return [...(call ? [call] : []), ...Object.values(value).flatMap(callsIn)]
}

const specification = loadAwsServiceSpecSync()

function resourceType(type: string) {
  const [found] = specification.lookup('resource', 'cloudFormationType', 'equals', type)
  return found
}

/** Names that nothing in the template has. */
export function danglingNames({ Parameters, Conditions, Resources, Outputs }: Template): string[] {
  const isNamed = (name: string) => name in Parameters || name in Resources || name.startsWith('AWS::')
  const isAttribute = (name: string, attribute: string) =>
    attribute in (resourceType(Resources[name]?.Type ?? '')?.attributes ?? {})
  const inText = (text: string, own: string[]) =>
    [...text.matchAll(/\$\{(?!!)([^}]+)\}/g)].flatMap(([, reference = '']) => {
      const [name = '', ...attribute] = reference.split('.')
      if (own.includes(reference)) return []
      return (attribute.length === 0 ? isNamed(name) : isAttribute(name, attribute.join('.')))
        ? []
        : [reference]
    })
  const dangling = ({ name, argument }: { name: string; argument: Json }): string[] => {
    const [first, second] = Array.isArray(argument) ? argument : [argument, {}]
    if (name === 'Ref') return isNamed(String(argument)) ? [] : [String(argument)]
    if (name === 'Fn::GetAtt')
      return isAttribute(String(first), String(second)) ? [] : [`${String(first)}.${String(second)}`]
    if (name === 'Fn::Sub') return inText(String(first), isObject(second) ? Object.keys(second) : [])
    if (name === 'Fn::If' || name === 'Condition') return String(first) in Conditions ? [] : [String(first)]
    return []
  }
  const attributes = Object.values(Resources).flatMap(({ Condition, DependsOn = [] }) => [
    ...(Condition && !(Condition in Conditions) ? [Condition] : []),
    ...[DependsOn].flat().filter((name) => !(name in Resources)),
  ])
  return [...callsIn([Conditions, Resources as unknown as Json, Outputs]).flatMap(dangling), ...attributes]
}

/** What is unknown, missing or of another type in a resource's properties, each with its path. */
export function propertyFaults(name: string, { Type, Properties = {} }: TemplateResource): string[] {
  const type = resourceType(Type)
  return type ? membersFaults(Properties, type.properties, name) : [`${name} is of no type: ${Type}`]
}

function membersFaults(value: JsonObject, properties: ResourceProperties, path: string): string[] {
  const missing = Object.entries(properties).filter(([name, { required }]) => required && !(name in value))
  return [
    ...missing.map(([name]) => `${path}.${name} is missing`),
    ...Object.entries(value).flatMap(([name, member]) => {
      const property = properties[name]
      if (!property) return [`${path}.${name} is not known`]
      const types = [property.type, ...(property.previousTypes ?? [])]
      const faults = types.map((type) => typeFaults(member, type, `${path}.${name}`))
      return faults.find((found) => found.length === 0) ?? faults[0] ?? []
    }),
  ]
}

/** The value of a call is known to CloudFormation alone, but for the branches of an If. */
function typeFaults(value: Json, type: PropertyType, path: string): string[] {
  const call = callOf(value)
  if (call?.name === 'Fn::If' && Array.isArray(call.argument))
    return call.argument.slice(1).flatMap((branch) => typeFaults(branch, type, path))
  if (call) return []
  const wrong = [`${path} is no ${type.type}: ${JSON.stringify(value)}`]
  switch (type.type) {
    case 'string':
      return typeof value === 'object' ? wrong : []
    case 'integer':
      return Number.isInteger(Number(value)) && typeof value !== 'object' ? [] : wrong
    case 'number':
      return Number.isFinite(Number(value)) && typeof value !== 'object' ? [] : wrong
    case 'boolean':
      return typeof value === 'boolean' ? [] : wrong
    case 'array':
      if (!Array.isArray(value)) return wrong
      return value.flatMap((element, index) => typeFaults(element, type.element, `${path}.${index}`))
    case 'map':
      if (!isObject(value)) return wrong
      return Object.entries(value).flatMap(([name, member]) =>
        typeFaults(member, type.element, `${path}.${name}`),
      )
    case 'ref':
      if (!isObject(value)) return wrong
      return membersFaults(value, specification.get('typeDefinition', type.reference).properties, path)
    case 'tag':
      return isObject(value) && 'Key' in value && 'Value' in value ? [] : wrong
    case 'union': {
      const faults = type.types.map((one) => typeFaults(value, one, path))
      return faults.some((found) => found.length === 0) ? [] : wrong
    }
    case 'json':
      return isObject(value) ? [] : wrong
    default:
      return wrong
  }
}
