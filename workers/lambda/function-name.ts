/** Resolves the function that a caller names. */
import { parseFunctionName } from '../../src/core/lambda-function-name.ts'
import { ServiceError } from './service-error.ts'

/** `$LATEST` and any alias. A number would be a published version, and there are none. */
const knownQualifier = /^(?:\$LATEST|(?!\d+$)[a-zA-Z0-9-_]{1,128})$/

/**
 * Any alias runs the only version there is, so that a name with an alias that exists on AWS works here too.
 * @returns the ARN as the function sees it
 * @throws ServiceError 404 for another function, 400 for two different qualifiers
 */
export function resolveFunction(text: string, qualifiers: string[], functionName: string, region: string) {
  const asked = parseFunctionName(text)
  const [qualifier = asked?.qualifier, ...more] = qualifiers
  if (more.length > 0 || (asked?.qualifier ?? qualifier) !== qualifier) {
    throw new ServiceError(
      400,
      'InvalidParameterValueException',
      'The derived qualifier from the function name does not match the specified qualifier.',
    )
  }
  const { name = text, account = '000000000000' } = asked ?? {}
  const unqualified = `arn:aws:lambda:${region}:${account}:function:${name}`
  const arn = qualifier === undefined ? unqualified : `${unqualified}:${qualifier}`
  const isElsewhere = asked?.region !== undefined && asked.region !== region
  const isUnknown = qualifier !== undefined && !knownQualifier.test(qualifier)
  if (asked?.name !== functionName || isElsewhere || isUnknown)
    throw new ServiceError(404, 'ResourceNotFoundException', `Function not found: ${arn}`)
  return arn
}
