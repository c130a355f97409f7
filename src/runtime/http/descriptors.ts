/** Bounds the connections of a process, so that it does not run out of file descriptors. */
import { StartError } from '../../core/start-error.ts'

/** A connection holds its socket, and a file while that is sent on it. */
const perConnection = 2
/** For the program's files, pipes and connections other than those to the database. */
const reserved = 120
const defaultConnections = 5000

/** The system's limit on open files. Infinity where Node knows of none, as on Windows. */
export function descriptorLimit(): number {
  // The report would otherwise resolve the names of all peers.
  Object.assign(process.report, { excludeNetwork: true })
  const { userLimits } = process.report.getReport() as { userLimits?: { open_files?: { soft: unknown } } }
  const limit = Number(userLimits?.open_files?.soft)
  return Number.isFinite(limit) ? limit : Number.POSITIVE_INFINITY
}

/** @throws StartError when MAX_CONNECTIONS needs more open files than the limit allows */
export function connectionLimit(
  { maxConnections, databasePool }: { maxConnections: number | undefined; databasePool: number },
  descriptors = descriptorLimit(),
): number {
  const most = Math.floor((descriptors - reserved - databasePool) / perConnection)
  if (most < 1)
    throw new StartError(
      `ulimit -n: ${descriptors} open files are too few beside DATABASE_POOL=${databasePool}; allow 1024 or more`,
    )
  if (maxConnections !== undefined && maxConnections > most)
    throw new StartError(
      `MAX_CONNECTIONS: ${maxConnections} are too many where ${descriptors} files may be open; give at most ${most}, or raise ulimit -n`,
    )
  return maxConnections ?? Math.min(defaultConnections, most)
}
