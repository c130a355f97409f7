/**
 * Conditions of a start. The start reports the first that does not hold; `npm run doctor` reports on each.
 */
import type { Config } from '../config/api.ts'
import { checkPorts } from './http/check-ports.ts'
import { connectionLimit } from './http/descriptors.ts'
import { assertCredentials } from './notifier/aws-credentials.ts'
import { checkDatabase, type DatabaseOpening } from './postgres/service-database.ts'
import { checkJwtSecret, checkKeptFiles } from './shared-services.ts'

/** `log` takes a warning for each fault that does not keep the service from starting. */
export type StartContext = Omit<DatabaseOpening, 'stack'>

export type StartCheck = {
  name: string
  /** Changes nothing. Resolves with details for a report. @throws StartError when the service cannot start */
  run(context: StartContext): Promise<string | undefined>
}

/** Cheap checks come first. */
export const startChecks: StartCheck[] = [
  { name: 'ports', run: ({ config }) => checkPorts(config) },
  { name: 'open files', run: async ({ config }) => `enough for ${connectionLimit(config)} connections` },
  { name: 'JWT_SECRET', run: async ({ config }) => checkJwtSecret(config) },
  { name: 'data directory', run: checkKeptFiles },
  { name: 'AWS credentials', run: ({ config }) => checkCredentials(config) },
  { name: 'database', run: checkDatabase },
]

/** Runs all at the same time. @throws StartError of the first in the list that does not hold */
export async function runStartChecks(context: StartContext): Promise<void> {
  const checks = startChecks.map(({ run }) => run(context))
  // Those behind the first that fails.
  for (const check of checks) check.catch(() => {})
  for (const check of checks) await check
}

async function checkCredentials({ notifier: { endpoint, credentials } }: Config) {
  if (!endpoint) return 'none needed: the notifier runs beside the API'
  await assertCredentials(credentials)
  return undefined
}
