/** Runs a program that starts others, so that all of them end with this process, however it or the program ends. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/**
 * The shell leads a process group of its own. One half of it waits for the program; the other holds the end of a pipe
 * that only this process has: end of file on it means that this process is gone, by SIGKILL too. The program is then asked
 * to end, and what is left of the group soon after is killed.
 */
const script = `
exec 3<&0 </dev/null
"$@" 3<&- &
program=$!
(
  while read -r _line; do :; done <&3
  kill -TERM $program
  tenths=0
  while kill -0 $program && [ $tenths -lt 30 ]; do
    tenths=$((tenths + 1))
    sleep 0.1 || sleep 1
  done
  kill -KILL 0
) 2>/dev/null &
exec 3<&-
wait $program
`
/** Longer than the shell takes at most. */
const patienceMs = 6000

export type ProcessGroup = {
  /** Never rejects; answers why the program ended, for a log. What it had started is gone by then, too. */
  exited: Promise<string>
  /** Resolves when all of the group is gone, at the latest after some 6 s. */
  end(): Promise<void>
}

type ProcessGroupOptions = {
  cwd: string
  env: Record<string, string | undefined>
  /** Is given each line that any of them prints, on either stream. */
  print: (line: string) => void
}

/** It reads nothing, and Ctrl-C in the terminal does not reach it. */
export function startProcessGroup(
  command: [program: string, ...parameters: string[]],
  { print, ...options }: ProcessGroupOptions,
): ProcessGroup {
  const child = spawn('/bin/sh', ['-c', script, 'task-api-group', ...command], {
    ...options,
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  })
  for (const input of [child.stdout, child.stderr]) createInterface({ input }).on('line', print)
  // It may be gone already when the pipe is closed.
  child.stdin.on('error', () => {})
  const exited = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`))
  }).finally(kill)

  /** Of a program that was killed the children would live on. */
  function kill() {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    } catch {
      // Gone already.
    }
  }
  return {
    exited,
    async end() {
      child.stdin.destroy()
      const hopeless = setTimeout(kill, patienceMs)
      await exited
      clearTimeout(hopeless)
    },
  }
}
