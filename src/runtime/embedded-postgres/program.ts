/** Starts a Postgres program, which ends with this process. */
import { type BoundChild, startBoundChild } from '../process/bound-child.ts'
import { type ServerUser, spawnAs } from './user.ts'

type ProgramOptions = {
  command: [program: string, ...parameters: string[]]
  user: ServerUser | null
  output: number | 'pipe'
  input?: string | undefined
  /** Removed when the program has ended. */
  socketDirectory?: string
}

export const startProgram = ({ command, user, socketDirectory, ...options }: ProgramOptions): BoundChild =>
  startBoundChild(command, {
    ...options,
    ...spawnAs(user),
    removedAtEnd: socketDirectory,
    // Without PGDATA, PGPORT, LC_ALL and the like. macOS needs a locale; initdb would look for a time zone.
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
  })
