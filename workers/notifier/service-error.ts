/** A refusal in the words of AWS Lambda's API: `type` is what an SDK names its exception after. */
export class ServiceError extends Error {
  override name = 'ServiceError'
  readonly status: 400 | 403 | 404 | 413
  readonly type: string

  constructor(status: ServiceError['status'], type: string, message: string) {
    super(message)
    this.status = status
    this.type = type
  }
}
