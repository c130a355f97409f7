/**
 * What the black-box suite runs against: one service with wide limits, one with small ones. The suite knows nothing of
 * them but a Target, so that another runtime is put behind it by starting its targets here.
 */
import { createServer } from 'node:http'
import type { TestProject } from 'vitest/node'
import { startDocumentCheck } from './document-check.ts'
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
  /** The header that says which address a request comes from: every test can have its own. */
  addressHeader: string
  /** Answers the events that the notifier has posted to its webhook so far, as a JSON array of `{ text, event }`. */
  notificationsUrl: string
  /** Whether nginx stands before it, compressing answers and reading HTTP before the API does. */
  behindNginx: boolean
}

declare module 'vitest' {
  export interface ProvidedContext {
    wide: Target
    small: Target
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
  user: { limit: 8, windowSeconds: 4 },
  anonymous: { limit: 12, windowSeconds: 4 },
  token: { limit: 10, windowSeconds: 4 },
  // Longer than the others', so that it can be the one to wait for.
  register: { limit: 5, windowSeconds: 8 },
  login: { limit: 3, windowSeconds: 4 },
  username: { limit: 6, windowSeconds: 4 },
}

/**
 * TEST_PROXY=nginx puts nginx before the API, by the configuration in `deploy/nginx/`. TEST_PROXY=prism has every request
 * and answer held against the OpenAPI document.
 */
const behindNginx = process.env.TEST_PROXY === 'nginx'
const behindPrism = process.env.TEST_PROXY === 'prism'
/** nginx adds the address it sees to the list that the tests send. */
const frontEndSettings: Record<string, string> = behindNginx ? { TRUSTED_PROXY_HOPS: '2' } : {}

export default async function setup(project: TestProject) {
  const [webhook, store, database] = await Promise.all([
    startWebhook(),
    startSharedStore(),
    startTestDatabase(),
  ])
  async function start(name: string, limits: Target['limits']) {
    // As many processes as TEST_PROCESSES says serve, one by default; more need a store.
    const processes = { WEB_CONCURRENCY: process.env.TEST_PROCESSES ?? '1' }
    const settings = { ...settingsOf(limits, webhook.url), ...processes, ...store.settingsFor(name) }
    const environment = { ...settings, ...frontEndSettings, ...(await database.settingsFor(name)) }
    const api = await startApi({ environment })
    if (!behindNginx && !behindPrism) return api
    const proxy = await (behindNginx ? startNginx : startDocumentCheck)(api.baseUrl)
    return { baseUrl: proxy.baseUrl, stop: () => Promise.all([proxy.stop(), api.stop()]) }
  }
  const [wide, small] = await Promise.all([start('wide', wideLimits), start('small', smallLimits)])
  const target = (...of: Parameters<typeof targetOf>): Target => ({ ...targetOf(...of), behindNginx })
  project.provide('wide', target(wide.baseUrl, wideLimits, webhook.url))
  project.provide('small', target(small.baseUrl, smallLimits, webhook.url))
  return async () => {
    await Promise.all([wide.stop(), small.stop()])
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

/** Keeps what is posted to it, and shows it to whoever asks. */
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
