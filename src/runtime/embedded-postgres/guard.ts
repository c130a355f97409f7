/** Runs a Postgres program so that it ends with this process, however this process ends. */
import { type ChildProcess, spawn } from 'node:child_process'
import { Socket } from 'node:net'
import { type ServerUser, spawnAs } from './user.ts'

/**
 * The shell holds the other end of a pipe that only this process has: end of file on it means that this process is
 * gone, by SIGKILL too. The program then gets as long as a shutdown checkpoint usually takes (SIGINT, which ends its
 * sessions), then is told to stop without one (SIGQUIT: the next start recovers from the log, nothing acknowledged is
 * lost), then killed: in sum under 5 s. Signals meant for everybody (a service manager's SIGTERM) leave the shell alone: the
 * API finishes its requests first, and closes the pipe.
 */
const script = `
socket_directory=$1 input=$2
shift 2
trap '' HUP INT TERM
exec 3<&0 </dev/null
"$@" 3<&- <"$input" &
program=$!
(
  while read -r _line; do :; done <&3
  tenths=0
  while kill -0 $program && [ $tenths -lt 60 ]; do
    case $tenths in
      0) kill -INT $program ;;
      20) kill -QUIT $program ;;
      32) kill -KILL $program ;;
    esac
    tenths=$((tenths + 1))
    sleep 0.1 || sleep 1
  done
) 2>/dev/null &
watch=$!
exec 3<&-
wait $program
code=$?
{ kill -KILL $watch; wait $watch; } 2>/dev/null
[ -z "$socket_directory" ] || rm -rf "$socket_directory"
exit $code
`
/** Longer than the shell takes at most. */
const patienceMs = 8000

export type Guarded = {
  child: ChildProcess
  /** Never rejects; answers why it ended, for a log. */
  exited: Promise<string>
  hasExited(): boolean
  /** Ends the program as the end of this process would; resolves when it is gone. */
  end(): Promise<void>
  /** From now on it doesn't keep this process alive. */
  unref(): void
}

type GuardOptions = {
  command: [program: string, ...parameters: string[]]
  user: ServerUser | null
  /** A file descriptor for what the program prints, or a pipe. */
  output: number | 'pipe'
  input?: string
  /** Removed when the program has ended. */
  socketDirectory?: string
}

export function guard({ command, user, output, input, socketDirectory }: GuardOptions): Guarded {
  const child = spawn(
    '/bin/sh',
    ['-c', script, 'task-api-postgres', socketDirectory ?? '', input ?? '/dev/null', ...command],
    {
      ...spawnAs(user),
      stdio: ['pipe', output, output],
      // Ctrl-C in the terminal must not reach the database before the API has finished its requests.
      detached: true,
      // Nothing of PGDATA, PGPORT, LC_ALL and the like; macOS needs a locale, initdb looks for a time zone otherwise.
      env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
    },
  )
  // It may be gone already when the pipe is closed.
  child.stdin?.on('error', () => {})
  let over = false
  const exited = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => resolve(signal ?? `exit code ${code}`))
  }).finally(() => {
    over = true
    child.stdin?.destroy()
  })
  return {
    child,
    exited,
    hasExited: () => over,
    async end() {
      child.ref()
      child.stdin?.destroy()
      const hopeless = setTimeout(() => killGroup(child), patienceMs)
      await exited
      clearTimeout(hopeless)
    },
    unref() {
      child.unref()
      if (child.stdin instanceof Socket) child.stdin.unref()
    },
  }
}

/** The shell and the server; its children see that it has gone and follow. */
function killGroup({ pid }: ChildProcess) {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {
    // Gone meanwhile.
  }
}
