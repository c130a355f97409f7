/** Signers and verifiers of tokens, made from the settings. */
import type { Config } from '../config/api.ts'
import type { Deps } from '../http/deps.ts'
import { createAccessTokens } from './access-tokens.ts'
import { createKeyring } from './keyring.ts'
import { createRefreshTokens } from './refresh-tokens.ts'

type Tokens = Pick<Deps, 'keyring' | 'accessTokens' | 'refreshTokens'>

/** @param secrets newest first: the first signs, all verify */
export async function createTokens(secrets: string[], options: Config['tokens']): Promise<Tokens> {
  const keyring = await createKeyring(secrets)
  return {
    keyring,
    accessTokens: createAccessTokens({ keyring, ...options, now: Date.now }),
    refreshTokens: createRefreshTokens(keyring),
  }
}
