/** The notifier's endpoint and keys, as commands find them. */

import { StartError } from '../../src/core/start-error.ts'
import { credentialsPath, readCredentials } from '../../src/runtime/notifier/credentials.ts'

type Environment = Record<string, string | undefined>

/** NOTIFIER_ENDPOINT, or the notifier of `npm start`. @throws StartError when it is no URL */
export function findEndpoint(env: Environment): string {
  const endpoint = env.NOTIFIER_ENDPOINT || `http://127.0.0.1:${env.NOTIFIER_PORT || 3001}`
  if (URL.canParse(endpoint)) return endpoint
  throw new StartError(`${endpoint} is no URL: look at NOTIFIER_ENDPOINT and NOTIFIER_PORT`)
}

/** The keys in the environment, or those that `npm start` keeps. @throws StartError when there are none */
export async function findCredentials(dataDirectory: string, env: Environment) {
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
