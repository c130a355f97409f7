// `npm run size`: prints the gzipped size of what `wrangler deploy` would upload, and fails if it exceeds the
// budget.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

const root = fileURLToPath(new URL('..', import.meta.url))
/** Budgets in KiB, gzipped; the limit of Cloudflare's free plan is 3072. */
const workers = [
  { name: 'API', config: 'wrangler.toml', budget: 190 },
  { name: 'notifier', config: 'workers/notifier/wrangler.toml', budget: 40 },
]

function bundle(config) {
  const directory = mkdtempSync(join(tmpdir(), 'task-api-size-'))
  try {
    execFileSync(
      process.execPath,
      [
        join(root, 'node_modules/wrangler/bin/wrangler.js'),
        'deploy',
        '--dry-run',
        ...['-c', config, '--outdir', directory],
      ],
      {
        cwd: root,
        env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    const modules = readdirSync(directory).filter((name) => !/\.(map|md)$/.test(name))
    return Buffer.concat(modules.map((name) => readFileSync(join(directory, name))))
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const kib = (bytes) => (bytes / 1024).toFixed(1).padStart(6)

for (const { name, config, budget } of workers) {
  const code = bundle(config)
  const zipped = gzipSync(code).length
  const isOver = zipped > budget * 1024
  console.log(
    `${name.padEnd(9)}${kib(code.length)} KiB, gzipped ${kib(zipped)} KiB of ${budget}${isOver ? ': over budget' : ''}`,
  )
  if (isOver) process.exitCode = 1
}
