/** The ways in which a caller of AWS Lambda may name a function. */
import { ServiceError } from './service-error.ts'

/** AWS's own pattern for FunctionName, which lets through names, partial and full ARNs, each with or without a qualifier. */
const pattern =
  /^(?:arn:aws[a-zA-Z-]*:lambda:)?(?:(?<region>[a-z]{2}(?:-[a-z]+)+-\d):)?(?:(?<account>\d{12}):)?(?:function:)?(?<name>[a-zA-Z0-9-_]{1,64})(?::(?<qualifier>\$LATEST|[a-zA-Z0-9-_]{1,128}))?$/

/** Qualifiers that exist. A number would be a published version, and none is. */
const known = /^(?:\$LATEST|(?!\d+$)[a-zA-Z0-9-_]{1,128})$/

const standInAccount = '000000000000'

export type FunctionName = { name: string; region?: string; account?: string; qualifier?: string }

/** `name`, `name:alias`, `123456789012:function:name`, `arn:aws:lambda:eu-west-1:123456789012:function:name:alias`; undefined for anything else. */
export function parseFunctionName(text: string): FunctionName | undefined {
  const groups = pattern.exec(text)?.groups
  if (!groups?.name) return undefined
  const { name, region, account, qualifier } = groups
  return { name, ...(region && { region }), ...(account && { account }), ...(qualifier && { qualifier }) }
}

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
