/** CPU time and memory of processes, read from Linux's /proc. */
import { readdirSync, readFileSync } from 'node:fs'

/** The kernel counts CPU time in these. */
const tickMs = 10

type Stat = { parent: number; own: number; reaped: number }

/** Undefined when the process has ended. */
function statOf(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name before it, in parentheses, may have spaces.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    const sum = (first: number) => Number(fields[first]) + Number(fields[first + 1])
    return { parent: Number(fields[1]), own: sum(11), reaped: sum(13) }
  } catch {
    return undefined
  }
}

/** A process and its living descendants. */
export function treeOf(root: number): number[] {
  const children = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    const stat = /^\d+$/.test(name) ? statOf(Number(name)) : undefined
    if (stat) children.set(stat.parent, [...(children.get(stat.parent) ?? []), Number(name)])
  }
  const below = (pid: number): number[] => [pid, ...(children.get(pid) ?? []).flatMap(below)]
  return below(root)
}

/** CPU time in ms of a process, its living descendants, and those that ended and were waited for. */
export function cpuOf(root: number): number {
  const stats = treeOf(root).flatMap((pid) => statOf(pid) ?? [])
  return stats.reduce((sum, { own, reaped }) => sum + own + reaped, 0) * tickMs
}

/** CPU time in ms of this process and of the ended load generators, without the servers that it started. */
export function ownCpu(): number {
  const { own, reaped } = statOf(process.pid) ?? { own: 0, reaped: 0 }
  return (own + reaped) * tickMs
}

/** CPU time in ms of the whole machine, time taken by other virtual machines included. */
export function machineCpu(): number {
  const [first = ''] = readFileSync('/proc/stat', 'utf8').split('\n')
  const [user, nice, system, , , interrupts, softInterrupts, stolen] = first.trim().split(/\s+/).slice(1)
  const busy = [user, nice, system, interrupts, softInterrupts, stolen]
  return busy.reduce((sum, ticks) => sum + Number(ticks), 0) * tickMs
}

/** Resident memory in MiB of the notifier, and of the serving processes on average. */
export function memoryOf(root: number): { serving: number; notifier: number | null } {
  const processes = treeOf(root).flatMap((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024
      return [{ pid, isNotifier: command.includes('notifier'), rss }]
    } catch {
      return []
    }
  })
  const others = processes.filter(({ isNotifier }) => !isNotifier)
  // With several processes the first only supervises.
  const serving = others.length > 1 ? others.filter(({ pid }) => pid !== root) : others
  return {
    serving: serving.reduce((sum, { rss }) => sum + rss, 0) / serving.length,
    notifier: processes.find(({ isNotifier }) => isNotifier)?.rss ?? null,
  }
}
