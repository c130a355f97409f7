/** Rules of imports: entries, runtime, app, features, what they share, core. */
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
      // Static and dynamic imports.
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

/** Bundled programs: they connect the app to a runtime. */
const isEntry = (name: string) =>
  (/^src\/[^/]+\.ts$/.test(name) && name !== 'src/app.ts') ||
  /^(src\/commands|workers\/notifier\/(node|invoke|inspect)\.ts)/.test(name)
const isRuntime = (name: string) => name.startsWith('src/runtime/')
const folderOf = (name: string) => /^src\/[^/]+(?=\/)/.exec(name)?.[0]
const features = [...modules.keys()]
  .filter((name) => name.endsWith('/operations.ts'))
  .map((name) => dirname(name))

/** Imports that break a rule, as `importer -> imported`. */
const offending = (rule: (from: string, to: string, typeOnly: boolean) => boolean) =>
  [...modules].flatMap(([from, imports]) =>
    imports.filter(({ to, typeOnly }) => rule(from, to, typeOnly)).map(({ to }) => `${from} -> ${to}`),
  )

test('the imports of a module are found', () => {
  const imported = modules.get('src/app.ts')?.map(({ to }) => folderOf(to)) ?? []
  expect(features).toContain('src/tasks')
  expect(features.filter((feature) => !imported.includes(feature))).toEqual([])
  expect(offending((from, to) => isEntry(from) && isRuntime(to))).not.toEqual([])
  expect(offending((_, __, typeOnly) => typeOnly)).not.toEqual([])
})

test('src has no files beside its folders but the app and the bundled entries', () => {
  const builds = ['scripts/build.mjs', 'scripts/build-lambda.mjs', 'wrangler.toml']
  const bundled = builds.map((name) => readFileSync(join(root, name), 'utf8')).join()
  const loose = [...modules.keys()].filter((name) => /^src\/[^/]+$/.test(name) && name !== 'src/app.ts')
  expect(loose.filter((name) => !bundled.includes(name))).toEqual([])
})

test('the core imports only the core', () => {
  const isOutside = (to: string) => /^(src|workers)\//.test(to) && folderOf(to) !== 'src/core'
  expect(offending((from, to) => folderOf(from) === 'src/core' && isOutside(to))).toEqual([])
})

test('the folders that features share import no feature, no runtime and not the app', () => {
  const shared = ['ports', 'auth', 'store', 'config', 'outbox', 'http'].map((name) => `src/${name}`)
  expect(
    offending(
      (from, to) =>
        shared.includes(folderOf(from) ?? '') &&
        (features.includes(folderOf(to) ?? '') || isRuntime(to) || to === 'src/app.ts'),
    ),
  ).toEqual([])
})

test('a feature imports no other feature, no runtime and not the app', () => {
  expect(
    offending((from, to) => {
      const [own = '', other = ''] = [folderOf(from), folderOf(to)]
      const isOther = features.includes(other) && other !== own
      return features.includes(own) && (isOther || isRuntime(to) || to === 'src/app.ts')
    }),
  ).toEqual([])
})

test('only entries and the runtime import packages of a runtime', () => {
  // Every runtime has these, workerd by its flag nodejs_compat.
  const everywhere = (from: string, to: string) =>
    (from === 'workers/lambda/log-capture.ts' && /^node:(async_hooks|util)$/.test(to)) ||
    (from === 'src/http/cursor.ts' && /^node:(crypto|zlib)$/.test(to))
  const named = (to: string) =>
    /^(node:|@hono\/node-server|@node-rs\/|@aws-sdk\/|(?:nodemailer|redis|prom-client)$|cloudflare:)/.test(to)
  const mayName = (from: string) =>
    isEntry(from) ||
    isRuntime(from) ||
    /^workers\/(notifier\/(settings|node|caller|invoke|inspect|task-event|email)|lambda\/destination)\b/.test(
      from,
    )
  expect(offending((from, to) => named(to) && !everywhere(from, to) && !mayName(from))).toEqual([])
})

test('the handler and the Worker of the notifier import no mail client', () => {
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

test('only entries and the runtime import the app or values of the runtime', () => {
  const mayImport = (from: string) => isEntry(from) || isRuntime(from) || from.startsWith('workers/')
  const isHigher = (to: string, typeOnly: boolean) => to === 'src/app.ts' || (isRuntime(to) && !typeOnly)
  expect(offending((from, to, typeOnly) => isHigher(to, typeOnly) && !mayImport(from))).toEqual([])
})

test('statements import no code of handlers or services', () => {
  const isAbove = (to: string) => /\/(service|routes|handlers|users|sessions)\.ts$/.test(to)
  expect(offending((from, to) => from.endsWith('/queries.ts') && isAbove(to))).toEqual([])
})

test('only the folder of a file of statements imports it', () => {
  const statements = /\/(queries|outbox)\.ts$/
  expect([...modules.keys()].filter((name) => statements.test(name)).length).toBeGreaterThan(2)
  expect(offending((from, to) => statements.test(to) && dirname(from) !== dirname(to))).toEqual([])
})

test('the simulated Lambda service knows neither the function that it hosts nor the outbox', () => {
  const allowed =
    /^(workers\/lambda\/|src\/core\/|src\/ports\/database\.ts$|src\/runtime\/process\/files\.ts$)/
  const files = [...modules.keys()].filter((name) => name.startsWith('workers/lambda/'))
  expect(files.length).toBeGreaterThan(5)
  const isOurs = (to: string) => /^(src|workers)\//.test(to)
  expect(offending((from, to) => files.includes(from) && isOurs(to) && !allowed.test(to))).toEqual([])
  const mentions = files.filter((name) =>
    /NOTIFIER_|NOTIFY_|\b([Cc]hannels?|[Cc]ompletion|task-api|[Ww]ebhook)\b/.test(
      readFileSync(join(root, name), 'utf8'),
    ),
  )
  expect(mentions).toEqual([])
})

test('the outbox knows no feature', () => {
  const features = /^src\/(tasks|accounts|health|http|auth)\/|^workers\//
  expect(offending((from, to) => from.startsWith('src/outbox/') && features.test(to))).toEqual([])
})

test('only entries and the runtime read the environment', () => {
  const readers = [...modules.keys()].filter((name) =>
    /process\.env|globalThis\.process/.test(readFileSync(join(root, name), 'utf8')),
  )
  expect(
    readers.filter((name) => !isEntry(name) && !isRuntime(name) && name !== 'workers/notifier/handler.ts'),
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

test('the schema version is that of the newest migration', () => {
  const files = readdirSync(join(root, 'sql')).sort()
  expect(files.at(-1)).toMatch(new RegExp(`^${String(schemaVersion).padStart(4, '0')}_`))
})
