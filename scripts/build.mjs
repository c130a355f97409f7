// Bundles each entry into dist/ and copies the reference page's files beside them.
// Packages stay outside the bundle: they are installed beside it, and native ones cannot be bundled.
import { cpSync, mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))

/** What esbuild needs to know; `scripts/dev.mjs` watches with the same options. */
export const options = {
  absWorkingDir: root,
  entryPoints: {
    api: 'src/node.ts',
    'api-worker': 'src/node-worker.ts',
    migrate: 'src/migrate.ts',
    outbox: 'src/commands/outbox.ts',
    users: 'src/commands/users.ts',
    'bcrypt-worker': 'src/runtime/bcrypt-worker.ts',
    notifier: 'workers/notifier/node.ts',
    'notifier-invoke': 'workers/notifier/invoke.ts',
  },
  outdir: 'dist',
  bundle: true,
  packages: 'external',
  platform: 'node',
  target: 'node20',
  format: 'esm',
  sourcemap: true,
  logLevel: 'warning',
}

export function copyReferencePage() {
  const assets = join(root, 'dist/public')
  const swagger = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))
  mkdirSync(join(assets, 'docs'), { recursive: true })
  cpSync(join(root, 'src/docs'), assets, { recursive: true })
  for (const file of ['swagger-ui-bundle.js', 'swagger-ui.css'])
    cpSync(join(swagger, file), join(assets, 'docs', file))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await build(options)
  copyReferencePage()
}
