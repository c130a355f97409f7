/** AWS's pattern for FunctionName: a name, a partial or a full ARN, each with or without a qualifier. */
const pattern =
  /^(?:arn:aws[a-zA-Z-]*:lambda:)?(?:(?<region>[a-z]{2}(?:-[a-z]+)+-\d):)?(?:(?<account>\d{12}):)?(?:function:)?(?<name>[a-zA-Z0-9-_]{1,64})(?::(?<qualifier>\$LATEST|[a-zA-Z0-9-_]{1,128}))?$/

type FunctionName = { name: string } & { [Part in 'region' | 'account' | 'qualifier']?: string | undefined }

/** Parses `name`, `name:alias`, `123456789012:function:name` or an ARN; undefined for anything else. */
export const parseFunctionName = (text: string) => pattern.exec(text)?.groups as FunctionName | undefined
