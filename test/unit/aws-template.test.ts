/** Parts of the CloudFormation template that cfn-lint cannot check. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { settingNames } from '../../src/config/api-settings.ts'
import { functionTimeoutMs } from '../../src/outbox/timing.ts'
import { root } from '../support/directories.ts'

type Statement = { Action: string | string[]; Resource: string }
type Properties = {
  Code: string
  Handler: string
  Timeout: number
  Environment: { Variables: Record<string, unknown> }
  Policies: { PolicyDocument: { Statement: Statement[] } }[]
  PubliclyAccessible: boolean
  SourceSecurityGroupId: string
}
type Template = {
  Parameters: Record<string, { NoEcho?: boolean }>
  Resources: Record<string, { Type: string; Properties: Properties }>
  Outputs: Record<string, unknown>
}

const read = (path: string) => readFileSync(join(root, path), 'utf8')
// Unknown tags such as !Ref are warned about, and leave the value behind them.
const template: Template = parse(read('deploy/aws/template.yaml'), { logLevel: 'error' })
const ofType = (type: string) =>
  Object.values(template.Resources).flatMap(({ Type, Properties }) => (Type === type ? [Properties] : []))

test('the functions are the zips that are built, and their environment has settings of the program', () => {
  const built = [...read('scripts/build-lambda.mjs').matchAll(/^ {2}(\w+): \{ entry: '(.+?)'/gm)]
  for (const [, , entry = ''] of built) expect(existsSync(join(root, entry)), entry).toBe(true)
  const functions = ofType('AWS::Lambda::Function')
  expect(functions.map(({ Code }) => Code).sort()).toEqual(
    built.map(([, name]) => `../../dist/lambda/${name}.zip`).sort(),
  )
  const known = [...settingNames, 'NODE_OPTIONS', 'NODE_EXTRA_CA_CERTS']
  for (const { Handler, Environment } of functions) {
    expect(Handler).toBe('index.handler')
    expect(Object.keys(Environment.Variables).filter((name) => !known.includes(name))).toEqual([])
  }
  expect(template.Resources.NotifierFunction?.Properties.Timeout).toBe(functionTimeoutMs / 1000)
})

test('secret parameters are shown nowhere', () => {
  const secrets = ['NotifyWebhookSecret', 'NotifyWebhookUrl', 'RedisUrl']
  const hidden = Object.entries(template.Parameters).filter(([, { NoEcho }]) => NoEcho)
  expect(hidden.map(([name]) => name).sort()).toEqual(secrets)
  expect(JSON.stringify(template.Outputs)).not.toMatch(
    new RegExp(`${secrets.join('|')}|DatabaseSecret|JwtSecret`),
  )
})

test('no role has a wildcard, and only the HTTP API can be reached from the internet', () => {
  const statements = ofType('AWS::IAM::Role').flatMap(({ Policies }) =>
    Policies.flatMap(({ PolicyDocument }) => PolicyDocument.Statement),
  )
  expect(statements.length).toBeGreaterThan(3)
  expect(JSON.stringify(statements)).not.toContain('*')
  expect(ofType('AWS::EC2::InternetGateway')).toEqual([])
  for (const { PubliclyAccessible } of ofType('AWS::RDS::DBInstance')) expect(PubliclyAccessible).toBe(false)
  for (const { SourceSecurityGroupId } of ofType('AWS::EC2::SecurityGroupIngress'))
    expect(SourceSecurityGroupId).toBe('FunctionSecurityGroup')
})
