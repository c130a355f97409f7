/** Number of inputs that property tests and random schedules try, and their seed. CI tries more. */
export const seed = Number(process.env.FUZZ_SEED ?? 20261122)
export const numRuns = Number(process.env.FUZZ_RUNS ?? 60)
