/** What lies between the API and its database: encryption, parameters of the URL, a pooler perhaps. */
import postgres, { type Sql } from 'postgres'
import { StartError } from '../../core/start-error.ts'
import { readDatabaseUrl } from '../postgres/database-url.ts'
import { checkPreparedStatements } from '../postgres/inspect-server.ts'
import { valueOptions } from '../postgres/postgres.ts'
import { type Finding, failed, isHere, ok, type Patient, warning } from './finding.ts'

type Url = { databaseUrl: string; databaseCa: string | undefined }

/** @param tls as the server sees it, null for none */
export function describeTls(tls: string | null, url: Url): Finding {
  const name = 'database TLS'
  const { host, ssl } = readDatabaseUrl(url).options
  const advice = 'add sslmode=verify-full to DATABASE_URL, or keep that network to yourself'
  if (isHere(String(host))) return ok(name, tls ?? 'none, and nobody is on the way')
  if (!tls) return warning(name, 'none: the password and all data travel in the open', advice)
  const isChecked = typeof ssl === 'object' && ssl !== null && !('rejectUnauthorized' in ssl)
  return isChecked ? ok(name, tls) : warning(name, `${tls}, but anybody may pose as the server`, advice)
}

export async function examineWay(databaseUrl: string, { config }: Patient): Promise<Finding[]> {
  const { options, unused } = readDatabaseUrl({ databaseUrl, databaseCa: config.databaseCa })
  const strange = unused.map((name) =>
    warning('DATABASE_URL', `its parameter ${name} means nothing here`, 'remove it'),
  )
  const name = 'prepared statements'
  if (!config.databasePrepare) return [...strange, ok(name, 'off, by DATABASE_PREPARE')]
  const open = (own: object) => postgres({ ...valueOptions, ...options, ...own }) as unknown as Sql
  const sql = open({ max: 1 })
  try {
    await checkPreparedStatements(sql, open)
    return [...strange, ok(name, 'are kept')]
  } catch (error) {
    if (!(error instanceof StartError)) throw error
    const detail = 'a pooler on the way does not keep them, such as PgBouncer before 1.21'
    return [...strange, failed(name, detail, 'set DATABASE_PREPARE=off')]
  } finally {
    await sql.end({ timeout: 1 })
  }
}
