// `npm run build:lambda`: the functions for AWS Lambda as dist/lambda/*.zip, each with its handler at index.handler.
// Everything is in the bundle, nothing in it is native: one zip for arm64 and x86_64. Another folder may be named.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join, relative, resolve } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { build } from 'esbuild'
import { ZipFile } from 'yazl'
import { options } from './build.mjs'
import { copyReferencePage } from './reference-page.mjs'

/** By the zip's name: where its handler is, and what lies beside it, as folders in the zip and here. */
const functions = {
  api: { entry: 'src/lambda.ts', folders: { public: 'dist/public' } },
  notifier: { entry: 'workers/notifier/handler.ts', folders: {} },
  migrate: { entry: 'src/lambda-migrate.ts', folders: { sql: 'sql' } },
}

const requireHere = `import { createRequire as createRequireHere } from 'node:module'
const require = createRequireHere(import.meta.url)`

const { entryPoints, outdir, external, ...common } = options
const here = (...path) => join(options.absWorkingDir, ...path)
const target = resolve(process.argv[2] ?? here('dist/lambda'))

async function bundle(entry, name) {
  const { outputFiles } = await build({
    ...common,
    entryPoints: [entry],
    outfile: here('dist/lambda', name, 'index.mjs'),
    write: false,
    // Of two forms of a package the one for import statements: it is the one that is tried elsewhere.
    mainFields: ['module', 'main'],
    // Some packages are CommonJS still, and require what Node brings.
    banner: { js: requireHere },
  })
  return outputFiles
}

/** Same content, same bytes: neither names' order nor times are the file system's. */
async function zip(files) {
  const archive = new ZipFile()
  // In local time, which is what a zip's own form of time is made of, wherever this runs.
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
for (const [name, { entry, folders }] of Object.entries(functions)) {
  const files = new Map()
  for (const { path, contents } of await bundle(entry, name)) files.set(basename(path), contents)
  for (const [folder, source] of Object.entries(folders))
    for (const path of filesIn(source)) files.set(join(folder, relative(here(source), path)), path)
  const bytes = await zip(files)
  writeFileSync(join(target, `${name}.zip`), bytes)
  console.log(`${name}.zip  ${Math.ceil(bytes.length / 1024)} KiB`)
}
