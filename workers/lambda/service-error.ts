type Status = 400 | 403 | 404 | 413 | 429 | 500 | 503
/** `reason` is AWS's `Reason`, if the type has several. */
type Details = { reason?: string; retryAfterSeconds?: number }

/** An error of AWS Lambda's API. SDKs name their exception after `type`. */
export class ServiceError extends Error {
  override name = 'ServiceError'
  readonly status: Status
  readonly type: string
  readonly details: Details

  constructor(status: Status, type: string, message: string, details: Details = {}) {
    super(message)
    this.status = status
    this.type = type
    this.details = details
  }
}
