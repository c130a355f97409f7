/** Keys that sign an invocation. */

export type Credentials = { accessKeyId: string; secretAccessKey: string; sessionToken?: string }

/**
 * Called before each invocation.
 * @param refused credentials that the service has just refused, so that others are looked for
 * @throws Error in one line without secrets when there are none
 */
export type CredentialSource = (refused?: Credentials) => Promise<Credentials>
