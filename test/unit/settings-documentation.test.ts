/** The README's table and .env.example have every setting with its default, and no other. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Settings, settingNames } from '../../src/config/api-settings.ts'
import { root } from '../support/directories.ts'

/** The default as written in the environment; undefined without one. */
function defaultOf(name: keyof typeof Settings.shape): string | undefined {
  const { def } = Settings.shape[name]._zod
  return 'defaultValue' in def ? String(def.defaultValue) : undefined
}
const defaults = new Map(settingNames.map((name) => [name, defaultOf(name as keyof typeof Settings.shape)]))

const codes = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code)

describe('the README', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const [, table = ''] = /\n\| name \|[^\n]*\n\|-[^\n]*\n((?:\|[^\n]*\n)+)/.exec(readme) ?? []
  const rows = table
    .trim()
    .split('\n')
    .map((line) => line.slice(2).split(' | '))

  test('names every setting in its table', () => {
    // The meaning of a row may name related settings.
    const named = new Set(rows.flatMap(([names = '', , meaning = '']) => codes(`${names} ${meaning}`)))
    expect(settingNames.filter((name) => !named.has(name))).toEqual([])
  })

  test('names no setting that does not exist', () => {
    const known = new Set<string>(settingNames)
    expect(rows.flatMap(([names = '']) => codes(names)).filter((name) => !known.has(name))).toEqual([])
  })

  test('has every default', () => {
    for (const [names = '', told = ''] of rows) {
      const parts = told.split(', ')
      for (const [index, name] of codes(names).entries()) {
        const value = defaults.get(name)
        const [code] = codes(parts[index] ?? parts[0] ?? '')
        if (value !== undefined) expect(code, name).toBe(value)
      }
    }
  })
})

describe('.env.example', () => {
  const lines = readFileSync(join(root, '.env.example'), 'utf8').split('\n')
  const examples = new Map(
    lines.flatMap((line) => {
      const [, name, value] = /^#([A-Z][A-Z0-9_]*)=(.*)$/.exec(line) ?? []
      return name ? [[name, value] as const] : []
    }),
  )

  test('has every setting, and no other', () => {
    expect([...examples.keys()].sort()).toEqual([...settingNames].sort())
  })

  test('has every default', () => {
    for (const [name, value] of defaults)
      if (value !== undefined) expect(examples.get(name), name).toBe(value)
  })
})
