/** Targets in workerd: Miniflare runs the bundles that `wrangler deploy` would upload. */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Miniflare } from 'miniflare'
import type { TestProject } from 'vitest/node'
import { root } from './directories.ts'
import { startTestPostgres } from './postgres.ts'
import { migrateDatabase, wideAccountLimits } from './processes.ts'
import { startSharedStore } from './shared-store.ts'
import { settingsOf, smallLimits, startWebhook, type Target, targetOf, wideLimits } from './targets.ts'

export default async function setup(project: TestProject) {
  const [postgres, webhook, bundles, store] = await Promise.all([
    startTestPostgres(),
    startWebhook(),
    bundleWorkers(),
    startSharedStore(),
  ])
  const start = async (name: string, limits: Target['limits']) => {
    const database = postgres.url(await postgres.createDatabase())
    await migrateDatabase(database)
    const workers = await startWorkers(bundles, database, {
      ...settingsOf(limits, webhook.url),
      ...store.settingsFor(name),
      LOG_LEVEL: 'error',
    })
    return { target: targetOf(workers.url, limits, webhook.url), stop: workers.stop }
  }
  const [wide, small, clocked] = await Promise.all([
    start('wide', wideLimits),
    start('small', smallLimits),
    start('clocked', smallLimits),
  ])
  project.provide('wide', wide.target)
  const stoppedAt = Date.now()
  await fetch(small.target.baseUrl + clockPath, { method: 'PUT', body: String(stoppedAt) })
  project.provide('small', { ...small.target, stoppedAt })
  project.provide('clocked', { ...clocked.target, clockUrl: clocked.target.baseUrl + clockPath })
  return async () => {
    await Promise.all([wide.stop(), small.stop(), clocked.stop()])
    webhook.close()
    await Promise.all([postgres.stop(), store.stop()])
  }
}

export type Bundles = { api: string; notifier: string }

export async function bundleWorkers(): Promise<Bundles> {
  const directory = await mkdtemp(join(tmpdir(), 'task-api-workers-'))
  const bundle = async (config: string, name: string) => {
    const out = join(directory, name)
    const wrangler = join(root, 'node_modules/wrangler/bin/wrangler.js')
    await promisify(execFile)(
      process.execPath,
      [wrangler, 'deploy', '--dry-run', '-c', config, '--outdir', out],
      {
        cwd: root,
        env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' },
      },
    )
    return readFile(join(out, 'workerd.js'), 'utf8')
  }
  try {
    return {
      api: await bundle('wrangler.toml', 'api'),
      notifier: await bundle('workers/notifier/wrangler.toml', 'notifier'),
    }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

const clockPath = '/set-the-clock'
/**
 * Sets the clock of the isolate for a request to `clockPath`. Reads the rest of every request, as `wrangler
 * dev` does: workerd would close the connection after the answer, while the client may already send its next
 * request.
 */
const wrapper = `
import worker from './worker.js'
const RealDate = Date
let stoppedAt
globalThis.Date = class StoppedDate extends RealDate {
  constructor(...parameters) {
    if (parameters.length > 0) super(...parameters)
    else super(StoppedDate.now())
  }
  static now = () => stoppedAt ?? RealDate.now()
}
export default {
  ...worker,
  async fetch(request, env, context) {
    if (new URL(request.url).pathname === '${clockPath}') {
      stoppedAt = Number(await request.text())
      return new Response()
    }
    try {
      return await worker.fetch(request, env, context)
    } finally {
      if (request.body && !request.bodyUsed) for await (const _ of request.body);
    }
  },
}`

export async function startWorkers(bundles: Bundles, databaseUrl: string, settings: Record<string, string>) {
  const keys = {
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'the-key-that-both-workers-have',
    // The API sends and signs it; the notifier checks that it is signed.
    AWS_SESSION_TOKEN: 'a-token-of-temporary-keys',
  }
  const worker = (name: string, contents: string) => ({
    name,
    modules: [
      { type: 'ESModule' as const, path: 'entry.js', contents: wrapper },
      { type: 'ESModule' as const, path: 'worker.js', contents },
    ],
    compatibilityDate: '2026-04-01',
    compatibilityFlags: ['nodejs_compat'],
  })
  const miniflare = new Miniflare({
    host: '127.0.0.1',
    port: 0,
    workers: [
      {
        ...worker('api', bundles.api),
        bindings: { ...wideAccountLimits, ...settings, ...keys },
        hyperdrives: { HYPERDRIVE: databaseUrl },
        serviceBindings: { NOTIFIER: 'notifier' },
        assets: {
          directory: join(root, 'dist/public'),
          binding: 'ASSETS',
          routerConfig: { has_user_worker: true, invoke_user_worker_ahead_of_assets: true },
          assetConfig: { html_handling: 'auto-trailing-slash' },
        },
        unsafeTriggerHandlers: true,
      },
      { ...worker('notifier', bundles.notifier), bindings: { ...settings, ...keys } },
    ],
  })
  const url = await miniflare.ready
  return { url: url.origin, miniflare, stop: () => miniflare.dispose() }
}
