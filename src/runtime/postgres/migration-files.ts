/** Reads the files in sql/ and refuses those that could not be applied. */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { StartError } from '../../core/start-error.ts'

export type Migration = {
  version: number
  name: string
  checksum: string
  text: string
  /** False for a file that begins with `outsideMark`. */
  isTransactional: boolean
  /**
   * Only programs whose newest migration has this number or a higher one can run beside the file's schema;
   * null where any can. See `needsMark`.
   */
  oldestProgram: number | null
}

/**
 * First line of a file that must not run in a transaction, such as `create index concurrently`. It has one
 * statement, which can be run again: a process that is killed after it and before the file is recorded leaves
 * it to the next one.
 */
const outsideMark = '-- migrate: outside a transaction\n'

/**
 * A line of a file that older programs cannot run beside, such as one that drops a column: `-- migrate: needs
 * program 0016` names the newest migration of the oldest program that can. Older ones then refuse to start.
 */
const needsMark = /^-- migrate: needs program (\d{4})$/m

/**
 * Refuses names that don't parse, gaps and duplicates, so that a file's number is its place in the list plus
 * one.
 */
export async function readMigrations(directory: string): Promise<Migration[]> {
  const names = await listSqlFiles(directory)
  if (names.length === 0) throw new StartError(`there are no migrations in ${directory}`)
  return Promise.all(
    names.map(async (name, index) => {
      checkName(name, index, names[index - 1])
      const text = normalise(await readFile(join(directory, name), 'utf8'))
      checkTransactionControl(name, text)
      return {
        version: index + 1,
        name,
        checksum: createHash('sha256').update(text).digest('hex'),
        text,
        isTransactional: !text.startsWith(outsideMark),
        oldestProgram: Number(needsMark.exec(text)?.[1] ?? 0) || null,
      }
    }),
  )
}

async function listSqlFiles(directory: string) {
  try {
    const names = await readdir(directory)
    // Editors and macOS leave hidden copies such as ._0001_accounts.sql behind.
    return names.filter((name) => /\.sql$/i.test(name) && !name.startsWith('.')).sort()
  } catch (error) {
    throw new StartError(`cannot read the migrations in ${directory}: ${describe(error)}`, { cause: error })
  }
}

function checkName(name: string, index: number, previous: string | undefined) {
  if (!/^\d{4}_[a-z0-9_]+\.sql$/.test(name))
    throw new StartError(`${name} is no name for a migration: it must look like 0001_accounts.sql`)
  const number = name.slice(0, 4)
  if (number === previous?.slice(0, 4))
    throw new StartError(`${previous} and ${name} have the same number: give one the next free number`)
  const expected = String(index + 1).padStart(4, '0')
  if (number !== expected)
    throw new StartError(`the migration ${expected} is missing: ${name} comes after ${previous ?? 'nothing'}`)
}

/** Git may check out CRLF and some editors add a byte order mark: the same file must keep its checksum. */
function normalise(text: string) {
  return text.replace(/^\uFEFF/, '').replace(/\r\n/g, '\n')
}

// Where a word is no statement: comments, quoted bodies, strings with and without backslashes, quoted names.
const opaque = new RegExp(
  [
    /--[^\n]*/,
    /\/\*[\s\S]*?\*\//,
    /(?<![\w$])\$([A-Za-z_]\w*)?\$[\s\S]*?\$\1\$/,
    /\b[eE]'(?:[^'\\]|\\[\s\S]|'')*'/,
    /'[^']*'/,
    /"[^"]*"/,
  ]
    .map(({ source }) => source)
    .join('|'),
  'g',
)
const atomicBody = /\bbegin\s+atomic\b[\s\S]*?;\s*end\b/gi
const transactionControl =
  /((?:^|;)\s*)(begin|start\s+transaction|commit|end|rollback(?!\s+to\b)|abort|prepare\s+transaction)\b/i

/** A file that ends the transaction it runs in would be half applied when a later statement fails. */
function checkTransactionControl(name: string, text: string) {
  const code = text.replace(opaque, blank).replace(atomicBody, blank)
  const found = transactionControl.exec(code)
  if (!found) return
  const [, before = '', word] = found
  const line = code.slice(0, found.index + before.length).split('\n').length
  throw new StartError(`${name} line ${line}: leave out "${word}", every file runs in a transaction already`)
}

const blank = (text: string) => text.replace(/[^\n]/g, ' ')

const describe = (error: unknown) =>
  String(error instanceof Error ? error.message : error).replace(/\s+/g, ' ')
