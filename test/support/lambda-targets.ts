/** Runs the black-box suite against the Lambda function: the deployed zip in an emulated environment. */
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { startClock } from './clock.ts'
import { root } from './directories.ts'
import { startLambda } from './lambda.ts'
import { startLambdaFront } from './lambda-front.ts'
import { findFreePort } from './ports.ts'
import { startTestPostgres } from './postgres.ts'
import { migrateDatabase, startProgram } from './processes.ts'
import { settingsOf, smallLimits, startWebhook, type Target, targetOf, wideLimits } from './targets.ts'

const keys = { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'the-key-that-both-functions-have' }

export default async function setup(project: TestProject) {
  const [postgres, webhook] = await Promise.all([startTestPostgres(), startWebhook()])
  const notifier = await startNotifier(webhook.url)
  const stoppedAt = Date.now()
  const clock = await startClock(stoppedAt)
  const start = async (limits: Target['limits'], more: Record<string, string> = {}) => {
    const database = postgres.url(await postgres.createDatabase())
    await migrateDatabase(database)
    return startLambdaApi(database, { ...settingsOf(limits, webhook.url), ...notifier.settings, ...more })
  }
  const [wide, small] = await Promise.all([start(wideLimits), start(smallLimits, clock.environment)])
  project.provide('wide', targetOf(wide.url, wideLimits, webhook.url))
  project.provide('small', { ...targetOf(small.url, smallLimits, webhook.url), stoppedAt })
  return async () => {
    await Promise.all([wide.stop(), small.stop(), notifier.stop(), clock.close()])
    webhook.close()
    await postgres.stop()
  }
}

/** The notifier behind the Invoke API, and the function's settings for it. */
export async function startNotifier(webhookUrl: string, environment: Record<string, string> = {}) {
  const port = await findFreePort()
  const region = { AWS_REGION: 'eu-central-1' }
  const notifier = startProgram([process.execPath, join(root, 'dist/notifier.js')], {
    environment: {
      ...keys,
      ...region,
      NOTIFIER_PORT: String(port),
      NOTIFY_WEBHOOK_URL: webhookUrl,
      ...environment,
    },
  })
  await notifier.line(({ message }) => message === 'notifier listening')
  return {
    ...notifier,
    settings: { ...keys, ...region, NOTIFIER_ENDPOINT: `http://127.0.0.1:${port}` },
  }
}

async function startLambdaApi(databaseUrl: string, settings: Record<string, string>) {
  const lambda = await startLambda('api', { ...settings, DATABASE_URL: databaseUrl, LOG_LEVEL: 'error' })
  const front = await startLambdaFront(lambda)
  return {
    url: front.url,
    async stop() {
      front.close()
      await lambda.stop()
    },
  }
}
