/** Keys that sign an invocation of the notifier. */

export type Credentials = { accessKeyId: string; secretAccessKey: string; sessionToken?: string }

/**
 * Asked before each invocation.
 * @param refused those that the service has just refused: others are looked for
 * @throws Error when there are none, in one line without secrets
 */
export type CredentialSource = (refused?: Credentials) => Promise<Credentials>
