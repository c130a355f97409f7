/** Data flows one way, from the entries down to the statements; these rules keep it so. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { schemaVersion } from '../../src/ports/schema-version.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Every source file with the files of ours and the packages it imports. */
const modules = new Map(
  ['src', 'workers']
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((name) =>
        join(folder, name),
      ),
    )
    .filter((name) => name.endsWith('.ts'))
    .map((name) => {
      const text = readFileSync(join(root, name), 'utf8')
      // Imports at the head of a module, and those that are done when they are needed.
      const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(
        ([, specifier = '']) => specifier,
      )
      const typeOnly = new Set(
        [...text.matchAll(/import type [^']*'([^']+)'/g)].map(([, specifier]) => specifier),
      )
      return [
        name,
        specifiers.map((specifier) => ({
          to: specifier.startsWith('.') ? relative(root, join(root, dirname(name), specifier)) : specifier,
          typeOnly: typeOnly.has(specifier),
        })),
      ]
    }),
)

const entries = [
  'src/node.ts',
  'src/runtime/serve.ts',
  'src/cluster-process.ts',
  'src/workerd.ts',
  'src/commands/dev-edge.ts',
  'src/lambda.ts',
  'src/lambda-migrate.ts',
  'src/commands/migrate.ts',
  'src/commands/outbox.ts',
  'src/commands/users.ts',
  'src/commands/doctor.ts',
  'workers/notifier/node.ts',
  'workers/notifier/invoke.ts',
  'workers/notifier/inspect.ts',
]
/** Imports that break a rule, as `importer -> imported`. */
const offending = (rule: (from: string, to: string, typeOnly: boolean) => boolean) =>
  [...modules].flatMap(([from, imports]) =>
    imports.filter(({ to, typeOnly }) => rule(from, to, typeOnly)).map(({ to }) => `${from} -> ${to}`),
  )

test('the sources are read', () => {
  expect(modules.get('src/app.ts')).toContainEqual({ to: 'src/tasks/handlers.ts', typeOnly: false })
  for (const entry of entries) expect(modules.has(entry), entry).toBe(true)
})

test('only the entries and runtime folders name a runtime', () => {
  // Every runtime has these, workerd by its flag nodejs_compat.
  const everywhere = (from: string, to: string) =>
    (from === 'workers/lambda/log-capture.ts' && /^node:(async_hooks|util)$/.test(to)) ||
    (from === 'src/http/cursor.ts' && /^node:(crypto|zlib)$/.test(to))
  const named = (to: string) =>
    /^(node:|@hono\/node-server|@node-rs\/|@aws-sdk\/|(?:nodemailer|redis|prom-client)$|cloudflare:)/.test(to)
  const mayName = (from: string) =>
    entries.includes(from) ||
    from.startsWith('src/runtime/') ||
    /^workers\/(notifier\/(settings|node|invoke|inspect|task-event|email)|lambda\/destination)\b/.test(from)
  expect(offending((from, to) => named(to) && !everywhere(from, to) && !mayName(from))).toEqual([])
})

test('the notifier mails on Node alone: its handler and its Worker get by without', () => {
  const reached = new Set<string>()
  const walk = (name: string) => {
    if (reached.has(name)) return
    reached.add(name)
    for (const { to, typeOnly } of modules.get(name) ?? []) if (!typeOnly) walk(to)
  }
  for (const name of ['workers/notifier/handler.ts', 'workers/notifier/workerd.ts']) walk(name)
  expect([...reached]).toContain('workers/notifier/webhook.ts')
  expect([...reached].filter((name) => /email|nodemailer/.test(name))).toEqual([])
})

test('no import goes back up: features know no app, http knows no runtime, queries know no verbs', () => {
  expect(offending((from, to) => to === 'src/app.ts' && !entries.includes(from))).toEqual([])
  expect(
    offending(
      (from, to, typeOnly) =>
        !typeOnly &&
        to.startsWith('src/runtime/') &&
        !entries.includes(from) &&
        !from.startsWith('src/runtime/') &&
        !from.startsWith('workers/'),
    ),
  ).toEqual([])
  expect(
    offending((from, to) => from.endsWith('/queries.ts') && /\/(verbs|routes|users|sessions)\.ts$/.test(to)),
  ).toEqual([])
})

test('a feature never uses the statements of another', () => {
  // Files of statements belong to their folder, however many features there will be.
  const statements = /\/(queries|outbox)\.ts$/
  expect([...modules.keys()].filter((name) => statements.test(name)).length).toBeGreaterThan(2)
  expect(offending((from, to) => statements.test(to) && dirname(from) !== dirname(to))).toEqual([])
})

test('the environment is read by entries and runtime folders alone', () => {
  const readers = [...modules.keys()].filter((name) =>
    /process\.env|globalThis\.process/.test(readFileSync(join(root, name), 'utf8')),
  )
  expect(
    readers.filter(
      (name) =>
        !entries.includes(name) && !name.startsWith('src/runtime/') && name !== 'workers/notifier/handler.ts',
    ),
  ).toEqual([])
})

test('no import cycle', () => {
  const done = new Set<string>()
  const cycles: string[] = []
  function walk(name: string, path: string[]) {
    if (path.includes(name)) return void cycles.push([...path.slice(path.indexOf(name)), name].join(' -> '))
    if (done.has(name)) return
    for (const { to, typeOnly } of modules.get(name) ?? []) if (!typeOnly) walk(to, [...path, name])
    done.add(name)
  }
  for (const name of modules.keys()) walk(name, [])
  expect(cycles).toEqual([])
})

test('the program knows the newest migration', () => {
  const files = readdirSync(join(root, 'sql')).sort()
  expect(files.at(-1)).toMatch(new RegExp(`^${String(schemaVersion).padStart(4, '0')}_`))
})
