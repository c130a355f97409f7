/** Runs a program so that it ends with this process, however this process ends. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { Socket } from 'node:net'
import { killAfter } from './supervise.ts'

/**
 * The shell reads a pipe whose other end only this process holds: end of file means that this process is
 * gone, by SIGKILL too. The program then gets SIGINT, after 2 s SIGQUIT and after 3.2 s SIGKILL. The shell
 * ignores signals to its group, such as a service manager's SIGTERM: the API finishes its requests first,
 * then closes the pipe.
 */
const script = `
removed_at_end=$1 ends_group=$2 input=$3
shift 3
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
[ -z "$removed_at_end" ] || rm -rf "$removed_at_end"
[ -z "$ends_group" ] || kill -KILL 0
exit $code
`
/** Longer than the shell takes. */
const endWaitMs = 8000

export type BoundChild = {
  child: ChildProcess
  /** Resolves with the cause, for a log, once all who share the output have ended. Never rejects. */
  exited: Promise<string>
  hasExited(): boolean
  /** Ends the program as the end of this process would. Resolves when it is gone. */
  end(): Promise<void>
  /** From now on the program does not keep this process alive. */
  unref(): void
}

export type BoundChildOptions = Pick<SpawnOptions, 'cwd' | 'env' | 'uid' | 'gid'> & {
  /** A file descriptor for both output streams, or a pipe for each. */
  output: number | 'pipe'
  /** A file; empty input by default. */
  input?: string | undefined
  /** A directory. */
  removedAtEnd?: string | undefined
  /** Kills what the program leaves running. `exited` then reports SIGKILL. */
  endsGroup?: boolean
}

export function startBoundChild(
  command: [program: string, ...parameters: string[]],
  { output, input = '/dev/null', removedAtEnd = '', endsGroup = false, ...options }: BoundChildOptions,
): BoundChild {
  const settings = [removedAtEnd, endsGroup ? 'yes' : '', input]
  const child = spawn('/bin/sh', ['-c', script, 'task-api-child', ...settings, ...command], {
    ...options,
    stdio: ['pipe', output, output],
    // A group of its own: Ctrl-C in a terminal reaches this process only.
    detached: true,
  })
  // The shell may be gone when the pipe is closed.
  child.stdin?.on('error', () => {})
  let hasExited = false
  const exited = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => resolve(signal ?? `exit code ${code}`))
  }).finally(() => {
    hasExited = true
    child.stdin?.destroy()
  })
  return {
    child,
    exited,
    hasExited: () => hasExited,
    end() {
      child.ref()
      child.stdin?.destroy()
      return killAfter(endWaitMs, exited, () => killGroup(child))
    },
    unref() {
      child.unref()
      if (child.stdin instanceof Socket) child.stdin.unref()
    },
  }
}

function killGroup({ pid }: ChildProcess) {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {
    // The group is gone.
  }
}
