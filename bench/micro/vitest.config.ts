// For `npm run bench:micro`; `npm test` runs none of these.
import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { root: import.meta.dirname, benchmark: { include: ['*.bench.ts'] } } })
