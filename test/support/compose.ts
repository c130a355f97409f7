/** Reads docker-compose.yml as Compose does: merge keys, and variables in values. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'yaml'
import { root } from './directories.ts'

export type ComposeService = {
  command?: string[]
  environment?: Record<string, string | null>
  healthcheck?: { test?: string[]; disable?: boolean }
  depends_on?: Record<string, { condition: string }>
  ports?: string[]
  user?: string
  volumes?: string[]
  image?: string
  build?: string
  read_only?: boolean
  cap_drop?: string[]
  security_opt?: string[]
}

/** @throws Error when the file requires a variable that is not given */
export async function readCompose(
  variables: Record<string, string>,
): Promise<Record<string, ComposeService>> {
  const text = await readFile(join(root, 'docker-compose.yml'), 'utf8')
  const { services } = interpolate(parse(text, { merge: true }), variables) as {
    services: Record<string, ComposeService>
  }
  return services
}

function interpolate(value: unknown, variables: Record<string, string>): unknown {
  if (typeof value === 'string')
    return value.replace(/\$(?:\$|\{(\w+)(?::([?-])([^}]*))?\})/g, (found, name, operator, rest) => {
      if (found === '$$') return '$'
      if (variables[name]) return variables[name]
      if (operator === '-') return rest
      throw new Error(`${name} is required: ${rest}`)
    })
  if (Array.isArray(value)) return value.map((item) => interpolate(item, variables))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, interpolate(item, variables)]))
}

/** The environment of a container; what the file only passes on is there when the variable is. */
export function environmentOf({ environment = {} }: ComposeService, variables: Record<string, string> = {}) {
  return Object.fromEntries(
    Object.entries(environment).flatMap(([name, value]) => {
      const set = value ?? variables[name]
      return set === undefined ? [] : [[name, String(set)]]
    }),
  )
}
