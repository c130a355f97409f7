/** Reads the files in sql/ and refuses names that cannot be applied. */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describeFailure } from '../../core/failure.ts'
import { StartError } from '../../core/start-error.ts'

export type Migration = {
  version: number
  name: string
  checksum: string
  text: string
  isTransactional: boolean
  /** The newest migration of the oldest program that can run beside the schema; null for any program. */
  oldestProgram: number | null
}

/**
 * First line of a file that must not run in a transaction, such as `create index concurrently`. It has one
 * statement, which can be run again: a process may be killed before it records the file.
 */
const outsideMark = '-- migrate: outside a transaction\n'

/** A line of a file beside which older programs cannot run, such as one that drops a column. */
const needsMark = /^-- migrate: needs program (\d{4})$/m

/** Refuses malformed names, gaps and duplicates: a file's number is its index in the list plus one. */
export async function readMigrations(directory: string): Promise<Migration[]> {
  const names = await listSqlFiles(directory)
  if (names.length === 0) throw new StartError(`there are no migrations in ${directory}`)
  return Promise.all(
    names.map(async (name, index) => {
      checkName(name, index, names[index - 1])
      const text = normalise(await readFile(join(directory, name), 'utf8'))
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
    const cause = error
    throw new StartError(`cannot read the migrations in ${directory}: ${describeFailure(error)}`, { cause })
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

/** Keeps a file's checksum where git checks out CRLF, or an editor adds a byte order mark. */
function normalise(text: string) {
  return text.replace(/^\uFEFF/, '').replace(/\r\n/g, '\n')
}
