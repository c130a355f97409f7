// Copies the files of the reference page to dist/public.
import { cpSync, mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

export function copyReferencePage() {
  const assets = join(root, 'dist/public')
  const swagger = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))
  mkdirSync(join(assets, 'docs'), { recursive: true })
  for (const file of ['docs.html', 'docs/reference.js'])
    copy(join(root, 'src/reference-page', file), join(assets, file))
  for (const file of ['swagger-ui-bundle.js', 'swagger-ui.css'])
    copy(join(swagger, file), join(assets, 'docs', file))
}

/** Leaves identical files alone, because the API may be serving them. */
function copy(from, to) {
  if (!isSame(from, to)) cpSync(from, to)
}

function isSame(from, to) {
  try {
    return readFileSync(from).equals(readFileSync(to))
  } catch {
    return false
  }
}
