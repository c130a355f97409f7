/**
 * The key pair with which the API invokes the notifier beside it, kept as a file that AWS's own tools read: with
 * AWS_SHARED_CREDENTIALS_FILE naming it, `aws lambda invoke --endpoint-url …` works.
 */
import { randomBytes } from 'node:crypto'
import { link, mkdir, open, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { StartError } from '../start-error.ts'

export type NotifierCredentials = { accessKeyId: string; secretAccessKey: string }

export const credentialsPath = (dataDirectory: string) => join(dataDirectory, 'notifier-credentials')

/** Undefined when there is no such file. @throws StartError when it holds no key pair. */
export async function readCredentials(path: string): Promise<NotifierCredentials | undefined> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new StartError(`${path}: cannot be read (${error.code})`)
  })
  if (text === undefined) return undefined
  const accessKeyId = /^\s*aws_access_key_id\s*=\s*(\S+)\s*$/m.exec(text)?.[1]
  const secretAccessKey = /^\s*aws_secret_access_key\s*=\s*(\S+)\s*$/m.exec(text)?.[1]
  if (accessKeyId && secretAccessKey) return { accessKeyId, secretAccessKey }
  throw new StartError(`${path}: holds no key pair; delete it, and the next start makes a new one`)
}

/** The pair in the file, which is made at the first call: complete from its first moment, readable by its owner only. */
export async function keepCredentials(path: string): Promise<NotifierCredentials> {
  const existing = await readCredentials(path)
  if (existing) return existing
  const made = {
    accessKeyId: `NOTIFIER${randomBytes(6).toString('hex').toUpperCase()}`,
    secretAccessKey: randomBytes(30).toString('base64url'),
  }
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(
        `[default]\naws_access_key_id=${made.accessKeyId}\naws_secret_access_key=${made.secretAccessKey}\n`,
      )
      await file.sync()
    } finally {
      await file.close()
    }
    // A link, not a rename: of two processes that start at once, the second takes over the first's pair.
    await link(temporary, path)
    return made
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'EEXIST') return keepCredentials(path)
    throw new StartError(
      `DATA_DIR: cannot write ${path} (${code ?? error}); give a directory that this user may write to`,
    )
  } finally {
    await rm(temporary, { force: true })
  }
}
