// `npm run size`: prints the gzipped size of what `wrangler deploy` would upload, and the size of the code that
// a cold start on AWS Lambda reads, and fails if one exceeds its budget.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { unzipSync } from 'fflate'

const root = fileURLToPath(new URL('..', import.meta.url))
/** Budgets in KiB, gzipped; the limit of Cloudflare's free plan is 3072. */
const workers = [
  { name: 'API', config: 'wrangler.toml', budget: 190 },
  { name: 'notifier', config: 'workers/notifier/wrangler.toml', budget: 40 },
]

/** Budgets in KiB of index.mjs, by zip. */
const functions = { api: 550, notifier: 62, migrate: 135 }

function inDirectory(work) {
  const directory = mkdtempSync(join(tmpdir(), 'task-api-size-'))
  try {
    return work(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const bundle = (config) =>
  inDirectory((directory) => {
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
  })

/** The code of each function, by its name. */
const lambdaCode = () =>
  inDirectory((directory) => {
    execFileSync(process.execPath, [join(root, 'scripts/build-lambda.mjs'), directory], { stdio: 'ignore' })
    return Object.keys(functions).map((name) => {
      const files = unzipSync(readFileSync(join(directory, `${name}.zip`)))
      return { name, code: files['index.mjs'] }
    })
  })

const kib = (bytes) => (bytes / 1024).toFixed(1).padStart(6)

function report(name, bytes, budget, details = '') {
  const isOver = bytes > budget * 1024
  console.log(`${name.padEnd(16)}${details}${kib(bytes)} KiB of ${budget}${isOver ? ': over budget' : ''}`)
  if (isOver) process.exitCode = 1
}

for (const { name, config, budget } of workers) {
  const code = bundle(config)
  report(name, gzipSync(code).length, budget, `${kib(code.length)} KiB, gzipped `)
}
for (const { name, code } of lambdaCode()) report(`Lambda ${name}`, code.length, functions[name])
