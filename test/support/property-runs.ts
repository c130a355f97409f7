/** How often property tests run, and from which seed. CI tries more inputs. */
export const seed = Number(process.env.FUZZ_SEED ?? 20261122)
export const numRuns = Number(process.env.FUZZ_RUNS ?? 60)
