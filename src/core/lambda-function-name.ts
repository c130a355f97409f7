/** AWS's pattern for FunctionName: a name, a partial or a full ARN, each with or without a qualifier. */
const pattern =
  /^(?:arn:aws[a-zA-Z-]*:lambda:)?(?:(?<region>[a-z]{2}(?:-[a-z]+)+-\d):)?(?:(?<account>\d{12}):)?(?:function:)?(?<name>[a-zA-Z0-9-_]{1,64})(?::(?<qualifier>\$LATEST|[a-zA-Z0-9-_]{1,128}))?$/

export type FunctionName = { name: string; region?: string; account?: string; qualifier?: string }

/** Parses `name`, `name:alias`, `123456789012:function:name` or an ARN; undefined for anything else. */
export function parseFunctionName(text: string): FunctionName | undefined {
  const groups = pattern.exec(text)?.groups
  if (!groups?.name) return undefined
  const { name, region, account, qualifier } = groups
  return { name, ...(region && { region }), ...(account && { account }), ...(qualifier && { qualifier }) }
}
