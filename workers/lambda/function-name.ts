/** Which function a caller means. */
import { parseFunctionName } from '../../src/core/lambda-function-name.ts'
import { ServiceError } from './service-error.ts'

/** Qualifiers that exist. A number would be a published version, and none is. */
const known = /^(?:\$LATEST|(?!\d+$)[a-zA-Z0-9-_]{1,128})$/

const standInAccount = '000000000000'

/**
 * Finds the one function there is, by what a caller calls it. Any alias runs the one version there is: aliases are
 * AWS's to keep, and a name with one that is right there must work here too.
 * @returns the ARN as the function sees it
 * @throws ServiceError 404 when it is another function, 400 when two different qualifiers are given
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
  const unqualified = `arn:aws:lambda:${region}:${asked?.account ?? standInAccount}:function:${asked?.name ?? text}`
  const arn = qualifier === undefined ? unqualified : `${unqualified}:${qualifier}`
  const elsewhere = asked?.region !== undefined && asked.region !== region
  if (asked?.name !== functionName || elsewhere || (qualifier !== undefined && !known.test(qualifier))) {
    throw new ServiceError(404, 'ResourceNotFoundException', `Function not found: ${arn}`)
  }
  return arn
}
