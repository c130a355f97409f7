/**
 * Services for the black-box suite: one with wide limits, and two with small ones whose clocks are not the
 * real one. The suite knows only a Target, so other runtimes provide targets of their own.
 */
import { rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { TestProject } from 'vitest/node'
import { startClock } from './clock.ts'
import { temporaryDirectory } from './directories.ts'
import { startDocumentCheck } from './document-check.ts'
import { copyFirstStart } from './first-start.ts'
import { startNginx } from './nginx.ts'
import { listenOnLoopback } from './ports.ts'
import { startApi } from './processes.ts'
import { startSharedStore } from './shared-store.ts'
import { startTestDatabase } from './test-database.ts'

type Limit = { limit: number; windowSeconds: number }

export type Target = {
  baseUrl: string
  limits: Record<'user' | 'anonymous' | 'token' | 'register' | 'login' | 'username', Limit>
  jwtSecret: string
  /** An origin whose pages may call the API. */
  corsOrigin: string
  /** The header with the address of the client, so every test can have its own. */
  addressHeader: string
  /** Answers the events that the notifier has posted so far, as a JSON array of `{ text, event }`. */
  notificationsUrl: string
  /** Whether nginx is in front of the service. It compresses answers and parses HTTP before the API does. */
  behindNginx: boolean
}

declare module 'vitest' {
  export interface ProvidedContext {
    wide: Target
    /** Its clock stands still, so that no window of a limit ends during a test. */
    small: Target & { stoppedAt: number }
    /** Its clock stands at the milliseconds that are put to `clockUrl`. Only one file may use it. */
    clocked: Target & { clockUrl: string }
  }
}

const jwtSecret = 'a secret that only the tests know: 32 bytes and more'
const corsOrigin = 'https://app.example.com'
const addressHeader = 'X-Forwarded-For'
const wide = { limit: 1_000_000, windowSeconds: 60 }

export const wideLimits: Target['limits'] = {
  user: wide,
  anonymous: wide,
  token: wide,
  register: wide,
  login: wide,
  username: wide,
}
export const smallLimits: Target['limits'] = {
  user: { limit: 8, windowSeconds: 60 },
  anonymous: { limit: 12, windowSeconds: 60 },
  token: { limit: 10, windowSeconds: 60 },
  // Longer than the others, so that it can be the one to wait for.
  register: { limit: 5, windowSeconds: 120 },
  login: { limit: 3, windowSeconds: 60 },
  username: { limit: 6, windowSeconds: 60 },
}

/**
 * TEST_PROXY=nginx puts nginx with the configuration of `deploy/nginx/` in front of the API. TEST_PROXY=prism
 * checks every request and answer against the OpenAPI document.
 */
const behindNginx = process.env.TEST_PROXY === 'nginx'
const behindPrism = process.env.TEST_PROXY === 'prism'
const startProxy = behindNginx ? startNginx : startDocumentCheck
/** nginx appends the address it sees to those that the tests send. */
const frontEndSettings: Record<string, string> = behindNginx ? { TRUSTED_PROXY_HOPS: '2' } : {}

export default async function setup(project: TestProject) {
  const stoppedAt = Date.now()
  const [webhook, store, database, stoppedClock, clock] = await Promise.all([
    startWebhook(),
    startSharedStore(),
    startTestDatabase(),
    startClock(stoppedAt),
    startClock(),
  ])
  async function start(name: string, limits: Target['limits'], more: Record<string, string> = {}) {
    const dataDirectory = await temporaryDirectory()
    const databaseSettings = await database.settingsFor(name)
    if (!databaseSettings.DATABASE_URL) await copyFirstStart(dataDirectory)
    const environment = {
      ...settingsOf(limits, webhook.url),
      // More than one process needs a store.
      WEB_CONCURRENCY: process.env.TEST_PROCESSES ?? '1',
      ...store.settingsFor(name),
      ...frontEndSettings,
      ...databaseSettings,
      ...more,
    }
    const api = await startApi({ environment, dataDirectory })
    const proxy = behindNginx || behindPrism ? await startProxy(api.baseUrl) : undefined
    return {
      target: { ...targetOf(proxy?.baseUrl ?? api.baseUrl, limits, webhook.url), behindNginx },
      async stop() {
        await Promise.all([proxy?.stop(), api.stop()])
        await rm(dataDirectory, { recursive: true, force: true })
      },
    }
  }
  const [wide, small, clocked] = await Promise.all([
    start('wide', wideLimits),
    start('small', smallLimits, stoppedClock.environment),
    start('clocked', smallLimits, clock.environment),
  ])
  project.provide('wide', wide.target)
  project.provide('small', { ...small.target, stoppedAt })
  project.provide('clocked', { ...clocked.target, clockUrl: clock.url })
  return async () => {
    await Promise.all([wide.stop(), small.stop(), clocked.stop(), stoppedClock.close(), clock.close()])
    webhook.close()
    await Promise.all([store.stop(), database.stop()])
  }
}

/** The same on every runtime. */
export function settingsOf(limits: Target['limits'], webhookUrl: string): Record<string, string> {
  const setting = ({ limit, windowSeconds }: Limit) => `${limit}/${windowSeconds}s`
  return {
    JWT_SECRET: jwtSecret,
    CORS_ORIGINS: corsOrigin,
    TRUSTED_PROXY_HEADER: addressHeader,
    RATE_LIMIT_USER: setting(limits.user),
    RATE_LIMIT_ANONYMOUS: setting(limits.anonymous),
    RATE_LIMIT_TOKEN: setting(limits.token),
    RATE_LIMIT_REGISTER: setting(limits.register),
    RATE_LIMIT_LOGIN: setting(limits.login),
    RATE_LIMIT_USERNAME: setting(limits.username),
    NOTIFY_WEBHOOK_URL: webhookUrl,
    // The suite makes hundreds of users.
    BCRYPT_COST: '4',
  }
}

export function targetOf(baseUrl: string, limits: Target['limits'], notificationsUrl: string): Target {
  return { baseUrl, limits, jwtSecret, corsOrigin, addressHeader, notificationsUrl, behindNginx: false }
}

/** A webhook that answers GET with all bodies that were posted to it. */
export async function startWebhook() {
  const received: unknown[] = []
  const server = createServer(async (request, response) => {
    if (request.method === 'POST') {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      received.push(JSON.parse(Buffer.concat(chunks).toString()))
    }
    response.setHeader('Content-Type', 'application/json')
    response.end(request.method === 'GET' ? JSON.stringify(received) : '{}')
  })
  const port = await listenOnLoopback(server)
  return { url: `http://127.0.0.1:${port}/`, close: () => server.close() }
}
