/** Errors in the output of Postgres programs, and the log of the server. */
import { open, rename, stat, statfs } from 'node:fs/promises'

const logBytes = 1024 * 1024
const logTailBytes = 65_536
const leastRoomBytes = 256 * 1024

/** The line with the error that ended a Postgres program, or else its last line. */
export const findReason = (output: string) =>
  findFatal(output) ?? output.split('\n').findLast((line) => line.trim() !== '')

/** The last error that ended a program, with its SQLSTATE if the line has one. */
function findFatal(output: string): string | undefined {
  const lines = output.split('\n').filter((line) => fatal.test(line))
  // A lack of shared memory causes other errors.
  const shared = lines.find((line) => line.includes('shared memory segment "/PostgreSQL.'))
  const [, code, message] = fatal.exec(shared ?? lines.at(-1) ?? '') ?? []
  const error = code && message ? `${message} (${code})` : message
  return shared ? `${error}; /dev/shm is too small: give a larger one (docker run --shm-size=256m)` : error
}

const fatal = /(?:\] ([0-9A-Z]{5}) +)?\b(?:FATAL|PANIC|ERROR|error): +(.*\S)/

/** The error in the log after `since`, or a full disk, on which the server could not write one. */
export async function findCause(logFile: string, since: number, directories: string[]) {
  const { size } = await stat(logFile)
  const output = await readFrom(logFile, Math.max(since, size - logTailBytes))
  const error = findFatal(output)
  if (error !== undefined) return error
  for (const directory of directories) {
    const { bavail, bsize } = await statfs(directory)
    if (bavail * bsize < leastRoomBytes) return `no room is left on the disk of ${directory}`
  }
  return undefined
}

/** Rotates a large log. Returns the offset of the next line. */
export async function rotateLog(file: string): Promise<number> {
  const size = (await stat(file).catch(() => undefined))?.size ?? 0
  if (size < logBytes) return size
  await rename(file, `${file}.1`)
  return 0
}

export async function readFrom(path: string, position: number): Promise<string> {
  const file = await open(path)
  try {
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(logTailBytes), position })
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await file.close()
  }
}
