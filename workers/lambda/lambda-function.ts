/** A function as AWS Lambda's Node runtime calls it. */

/** The second argument: https://docs.aws.amazon.com/lambda/latest/dg/nodejs-context.html */
export type LambdaContext = {
  functionName: string
  functionVersion: string
  invokedFunctionArn: string
  /** A string in AWS's Node runtime. */
  memoryLimitInMB: string
  awsRequestId: string
  logGroupName: string
  logStreamName: string
  identity?: unknown
  clientContext?: unknown
  callbackWaitsForEmptyEventLoop: boolean
  getRemainingTimeInMillis(): number
}

/** The event is unchecked JSON: the function parses it. */
export type LambdaFunction<Result = unknown> = (event: unknown, context: LambdaContext) => Promise<Result>
