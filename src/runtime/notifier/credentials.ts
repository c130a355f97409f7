/**
 * The key pair with which the API invokes the notifier beside it, in a file that AWS's tools read: `aws
 * lambda invoke --endpoint-url …` works with AWS_SHARED_CREDENTIALS_FILE.
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { StartError } from '../../core/start-error.ts'
import { keepFile, readKept } from '../process/kept-file.ts'

export type NotifierCredentials = { accessKeyId: string; secretAccessKey: string }

export const credentialsPath = (dataDirectory: string) => join(dataDirectory, 'notifier-credentials')

/** Undefined when there is no such file. @throws StartError when it holds no key pair, or is not private. */
export async function readCredentials(path: string): Promise<NotifierCredentials | undefined> {
  const text = await readKept(path)
  return text === undefined ? undefined : parseCredentials(text, path)
}

/** Returns the pair in the file, and creates it at the first call. */
export async function loadOrCreateCredentials(path: string): Promise<NotifierCredentials> {
  const text = await keepFile(path, () => {
    const accessKeyId = `NOTIFIER${randomBytes(6).toString('hex').toUpperCase()}`
    const secretAccessKey = randomBytes(30).toString('base64url')
    return `[default]\naws_access_key_id=${accessKeyId}\naws_secret_access_key=${secretAccessKey}\n`
  })
  return parseCredentials(text, path)
}

function parseCredentials(text: string, path: string): NotifierCredentials {
  const accessKeyId = /^\s*aws_access_key_id\s*=\s*(\S+)\s*$/m.exec(text)?.[1]
  const secretAccessKey = /^\s*aws_secret_access_key\s*=\s*(\S+)\s*$/m.exec(text)?.[1]
  if (accessKeyId && secretAccessKey) return { accessKeyId, secretAccessKey }
  throw new StartError(`${path}: holds no key pair; delete it, and the next start makes a new one`)
}
