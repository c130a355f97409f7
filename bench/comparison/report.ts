/** Figures of all rounds as tables in Markdown: medians, and ratios to the like-for-like peer. */
import type { Measurement } from './measure.ts'
import { reference, targets } from './targets.ts'

/** Ratios of app CPU that are aimed at. */
const aims: Record<string, Record<string, number>> = {
  cached: { list: 0.35, get: 0.4 },
  uncached: { list: 0.6, get: 0.5, create: 0.75, update: 0.8 },
}

export type Round = Measurement & { round: number; isQuiet: boolean }
export type Spread = { minimum: number; median: number; maximum: number; rounds: number }

const compared = ['cpu', 'postgres', 'requestsPerSecond', 'p99'] as const
const figures = [...compared, 'p50', 'redis', 'memory'] as const
type Compared = Record<(typeof compared)[number], Spread | undefined>

export function spreadOf(values: number[]): Spread | undefined {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b)
  const [minimum, maximum] = [sorted[0], sorted.at(-1)]
  if (minimum === undefined || maximum === undefined) return undefined
  const upper = sorted[Math.floor(sorted.length / 2)] ?? maximum
  const lower = sorted[Math.floor((sorted.length - 1) / 2)] ?? minimum
  return { minimum, median: (lower + upper) / 2, maximum, rounds: sorted.length }
}

/** Groups in the order of the first round. */
function groupsOf(rounds: Round[]) {
  const distinct = (name: 'scenario' | 'target') => [...new Set(rounds.map((round) => round[name]))]
  return distinct('scenario').flatMap((scenario) =>
    distinct('target').flatMap((target) => {
      const group = rounds.filter((round) => round.scenario === scenario && round.target === target)
      return group.length > 0 ? [{ scenario, target, group }] : []
    }),
  )
}

/** Ratios within each round in which target and peer were measured without much other load. */
export function ratiosOf(rounds: Round[]) {
  const quiet = rounds.filter(({ isQuiet }) => isQuiet)
  return groupsOf(quiet).map(({ scenario, target, group }) => {
    const pairs = group.flatMap((one) => {
      const peers = quiet.filter((other) => other.round === one.round && other.scenario === scenario)
      const peer = peers.find((other) => other.target === reference)
      return peer ? [{ one, peer }] : []
    })
    const spreads = compared.map((name) => [
      name,
      spreadOf(pairs.map(({ one, peer }) => one[name] / peer[name])),
    ])
    return { scenario, target, ...(Object.fromEntries(spreads) as Compared) }
  })
}

export type Row = ReturnType<typeof rowsOf>[number]

/** Medians of the rounds without much other load. */
export const rowsOf = (rounds: Round[]) =>
  groupsOf(rounds.filter(({ isQuiet }) => isQuiet)).map(({ scenario, target, group }) => {
    const medians = figures.map((name) => [name, spreadOf(group.map((round) => round[name]))?.median])
    const title = targets[target]?.title ?? target
    return { scenario, title, ...(Object.fromEntries(medians) as Record<(typeof figures)[number], number>) }
  })

const tableOf = (head: string[], rows: string[][]) =>
  [head, head.map((_, column) => (column < 2 ? '---' : '---:')), ...rows]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n')

export const figuresTable = (rounds: Round[]) =>
  tableOf(
    [
      'scenario',
      'target',
      'req/s',
      'p50 ms',
      'p99 ms',
      'app CPU ms',
      'Postgres CPU ms',
      'Redis CPU ms',
      'RSS MB',
    ],
    rowsOf(rounds).map((row) => [
      row.scenario,
      row.title,
      row.requestsPerSecond.toFixed(row.requestsPerSecond < 100 ? 1 : 0),
      row.p50.toFixed(1),
      row.p99.toFixed(1),
      ...[row.cpu, row.postgres, row.redis].map((cpu) => cpu.toFixed(3)),
      row.memory.toFixed(0),
    ]),
  )

/** Median, and the smallest and largest of several rounds. */
function spreadText(spread: Spread | undefined): string {
  if (!spread) return 'none'
  const [minimum, median, maximum] = [spread.minimum, spread.median, spread.maximum].map((it) =>
    it.toFixed(2),
  )
  return spread.rounds > 1 ? `${median} (${minimum} to ${maximum})` : String(median)
}

export const ratiosTable = (rounds: Round[]) =>
  tableOf(
    ['scenario', 'target', 'app CPU', 'aim', 'Postgres CPU', 'req/s', 'p99', 'rounds'],
    ratiosOf(rounds)
      .filter(({ target }) => target !== reference)
      .map((ratios) => {
        const [cpu, ...others] = compared.map((name) => spreadText(ratios[name]))
        const { scenario, target } = ratios
        const aim = aims[target]?.[scenario]?.toFixed(2) ?? ''
        const title = targets[target]?.title ?? target
        return [scenario, title, cpu ?? '', aim, ...others, String(ratios.cpu?.rounds ?? 0)]
      }),
  )
