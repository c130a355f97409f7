import { bench, describe } from 'vitest'
import { createAccessTokens } from '../../src/auth/access-tokens.ts'
import { createKeyring } from '../../src/auth/keyring.ts'

const keyring = await createKeyring(['a secret of 32 bytes and more, for benchmarks'])
const options = { issuer: 'task-api', audience: 'task-api', now: Date.now }
const accessTokens = createAccessTokens({ keyring, ...options })
const expiresAt = Date.now() + 3_600_000
const tokens = await Promise.all(
  Array.from({ length: 20_000 }, (_, n) =>
    accessTokens.issue({ userId: (n % 100) + 1, sessionId: n + 1 }, expiresAt),
  ),
)
const [known = ''] = tokens
if (!(await accessTokens.verify(known))) throw new Error('the token is not valid')
let next = 0

describe('access token', () => {
  bench('known already', async () => {
    await accessTokens.verify(known)
  })
  // More tokens than the process remembers, so that each is verified anew.
  bench('seen for the first time', async () => {
    await accessTokens.verify(tokens[next++ % tokens.length] ?? '')
  })
})
