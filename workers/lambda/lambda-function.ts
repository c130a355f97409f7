/** A function of Lambda on Node: https://docs.aws.amazon.com/lambda/latest/dg/nodejs-context.html */
import type { Context } from 'aws-lambda'

/** Without the callbacks, which current runtimes do not have. */
export type LambdaContext = Omit<Context, 'done' | 'fail' | 'succeed' | 'clientContext'> & {
  clientContext?: unknown
}

/** The event is unchecked JSON: the function parses it. */
export type LambdaFunction<Result = unknown> = (event: unknown, context: LambdaContext) => Promise<Result>
