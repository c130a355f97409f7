/** An error of AWS Lambda's API. SDKs name their exception after `type`. */
export class ServiceError extends Error {
  override name = 'ServiceError'
  readonly status: 400 | 403 | 404 | 413 | 429 | 503
  readonly type: string
  /** AWS's `Reason`, if the type has several. */
  readonly reason: string | undefined
  readonly retryAfterSeconds: number | undefined

  constructor(
    status: ServiceError['status'],
    type: string,
    message: string,
    { reason, retryAfterSeconds }: { reason?: string; retryAfterSeconds?: number } = {},
  ) {
    super(message)
    this.status = status
    this.type = type
    this.reason = reason
    this.retryAfterSeconds = retryAfterSeconds
  }
}
