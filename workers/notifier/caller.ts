/** The running notifier, as commands reach it. */
import { resolve } from 'node:path'
import { StartError } from '../../src/core/start-error.ts'
import { credentialsPath, readCredentials } from '../../src/runtime/notifier/credentials.ts'

/** NOTIFIER_ENDPOINT, or the notifier of `npm start`. @throws StartError without a URL or without keys */
export async function findNotifier(env: NodeJS.ProcessEnv) {
  const endpoint = env.NOTIFIER_ENDPOINT || `http://127.0.0.1:${env.NOTIFIER_PORT || 3001}`
  if (!URL.canParse(endpoint))
    throw new StartError(`${endpoint} is no URL: look at NOTIFIER_ENDPOINT and NOTIFIER_PORT`)
  const dataDirectory = resolve(env.DATA_DIR || './data')
  const credentials = await findCredentials(dataDirectory, env)
  const region = env.AWS_REGION || 'us-east-1'
  // Longer than the time-out of the function.
  return { endpoint, region, credentials, dataDirectory, timeoutMs: 15_000 }
}

async function findCredentials(dataDirectory: string, env: NodeJS.ProcessEnv) {
  const {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
  } = env
  if (accessKeyId && secretAccessKey)
    return { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) }
  const kept = await readCredentials(credentialsPath(dataDirectory))
  if (kept) return kept
  throw new StartError(
    `no keys: run npm start, which makes a pair in ${dataDirectory}, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`,
  )
}

export const unreachable = (endpoint: string, reason: string) =>
  new StartError(
    `the notifier is not reachable at ${endpoint} (${reason}): run npm start, or set NOTIFIER_ENDPOINT`,
  )
