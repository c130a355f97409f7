// `npm run build:lambda [folder]`: builds the functions for AWS Lambda as dist/lambda/*.zip, each with its
// handler at index.handler. Each bundle is complete and has no native code, so that one zip serves arm64 and
// x86_64.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join, relative, resolve } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { build } from 'esbuild'
import { ZipFile } from 'yazl'
import { options, storeClients } from './build.mjs'
import { copyReferencePage } from './reference-page.mjs'

/** By the zip's name: its handler's file, further bundles, and folders by their names in the zip. */
const functions = {
  api: { entry: 'src/lambda.ts', more: storeClients, folders: { public: 'dist/public' } },
  notifier: { entry: 'workers/notifier/handler.ts', folders: {} },
  migrate: { entry: 'src/lambda-migrate.ts', folders: { sql: 'sql' } },
}

const { entryPoints, outdir, external, ...common } = options
const here = (...path) => join(options.absWorkingDir, ...path)
const target = resolve(process.argv[2] ?? here('dist/lambda'))

async function bundle(name, entryPoints) {
  const { outputFiles } = await build({
    ...common,
    entryPoints,
    outdir: here('dist/lambda', name),
    outExtension: { '.js': '.mjs' },
    write: false,
    // Prefer ES modules: the tests on Node use them too.
    mainFields: ['module', 'main'],
    // A cold start reads less. A trace shows names, and no more than a line of the code.
    minifySyntax: true,
    minifyWhitespace: true,
    lineLimit: 120,
  })
  return outputFiles
}

/** The same content gives the same bytes: names are sorted and times fixed. */
async function zip(files) {
  const archive = new ZipFile()
  // Zip times are local times.
  const settings = { mtime: new Date(1980, 0, 1), mode: 0o100644, forceDosTimestamp: true }
  for (const [name, file] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (typeof file === 'string') archive.addFile(file, name, settings)
    else archive.addBuffer(Buffer.from(file), name, settings)
  }
  archive.end()
  return buffer(archive.outputStream)
}

const filesIn = (folder) =>
  readdirSync(here(folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))

copyReferencePage()
rmSync(target, { recursive: true, force: true })
mkdirSync(target, { recursive: true })
for (const [name, { entry, more, folders }] of Object.entries(functions)) {
  const files = new Map()
  for (const { path, contents } of await bundle(name, { index: entry, ...more }))
    files.set(basename(path), contents)
  for (const [folder, source] of Object.entries(folders))
    for (const path of filesIn(source)) files.set(join(folder, relative(here(source), path)), path)
  const bytes = await zip(files)
  writeFileSync(join(target, `${name}.zip`), bytes)
  console.log(`${name}.zip  ${Math.ceil(bytes.length / 1024)} KiB`)
}
