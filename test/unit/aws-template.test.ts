/** The CloudFormation template: held against AWS's own description of its resources, and against what is deployed by it. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { functionTimeoutMs } from '../../src/outbox/timing.ts'
import {
  callsIn,
  danglingNames,
  parseTemplate,
  propertyFaults,
  type TemplateResource,
} from '../support/cloudformation.ts'

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8')
const text = read('deploy/aws/template.yaml')
const template = parseTemplate(text)
const resources = Object.entries(template.Resources)
const ofType = (type: string) => resources.filter(([, { Type }]) => Type === type)

/** Where `Code` is a path still, `aws cloudformation package` puts the place of the upload. */
const packaged = (resource: TemplateResource): TemplateResource =>
  resource.Type === 'AWS::Lambda::Function'
    ? { ...resource, Properties: { ...resource.Properties, Code: { S3Bucket: 'bucket', S3Key: 'key' } } }
    : resource

const change = (from: string, to: string) => {
  expect(text).toContain(from)
  return parseTemplate(text.replace(from, to))
}
const faultsOf = ({ Resources }: typeof template) =>
  Object.entries(Resources).flatMap(([name, resource]) => propertyFaults(name, packaged(resource)))

test('every resource has the properties that its type asks for, and no others, of the right types', () => {
  expect(resources.length).toBeGreaterThan(30)
  expect(faultsOf(template)).toEqual([])
})

test('every name in it is one of its parameters, resources, attributes or conditions', () => {
  expect(danglingNames(template)).toEqual([])
})

test('what is wrong is found', () => {
  expect(danglingNames(change('!Ref FailedEvents\n', '!Ref FailedEvent\n'))).toEqual(['FailedEvent'])
  expect(danglingNames(change('!GetAtt ApiLog.Arn', '!GetAtt ApiLog.Name'))).toEqual(['ApiLog.Name'])
  expect(danglingNames(change('{Database.Endpoint.Address}', '{Database.Endpoint.Host}'))).toEqual([
    'Database.Endpoint.Host',
  ])
  expect(danglingNames(change('Condition: HasStandby', 'Condition: IsStandby'))).toEqual(['IsStandby'])
  expect(faultsOf(change('MemorySize: 256', 'Memory: 256'))).toEqual(['NotifierFunction.Memory is not known'])
  expect(faultsOf(change('      ProtocolType: HTTP\n', ''))).toEqual([])
  expect(faultsOf(change('      GroupDescription: The database\n', ''))).toEqual([
    'DatabaseSecurityGroup.GroupDescription is missing',
  ])
  expect(faultsOf(change('MinCapacity: !Ref', 'LeastCapacity: !Ref'))).toEqual([
    'Database.ServerlessV2ScalingConfiguration.LeastCapacity is not known',
  ])
  expect(faultsOf(change('Timeout: 900', 'Timeout: long'))).toEqual([
    'MigrateFunction.Timeout is no integer: "long"',
  ])
  expect(() =>
    change('      Engine: aurora-postgresql\n', '      Engine: &engine aurora\n      Other: *engine\n'),
  ).toThrow('Alias')
})

test('every parameter is used, and every secret one is shown nowhere', () => {
  for (const [name, { NoEcho }] of Object.entries(template.Parameters)) {
    expect(text, name).toMatch(new RegExp(`!Ref ${name}\\b|\\{${name}\\}`))
    expect(NoEcho ?? false, name).toBe(/(Url|Secret)$/.test(name) && name !== 'PublicUrl')
  }
  const shown = callsIn(template.Outputs).map(({ argument }) => argument)
  for (const secret of ['RedisUrl', 'NotifyWebhookUrl', 'NotifyWebhookSecret', 'DatabaseSecret', 'JwtSecret'])
    expect(shown).not.toContain(secret)
})

test('the functions are the zips that are built, with settings that exist', () => {
  const zips = ofType('AWS::Lambda::Function').map(([, { Properties }]) => Properties?.Code)
  expect(zips.sort()).toEqual(['api', 'migrate', 'notifier'].map((name) => `../../dist/lambda/${name}.zip`))
  const known = new Set(
    [
      ...['src/config/api-settings.ts', 'src/config/settings.ts', 'src/config/notifications.ts']
        .map(read)
        .join()
        .matchAll(/\b[A-Z][A-Z0-9_]{3,}\b/g),
    ].map(([name]) => name),
  )
  for (const [name, { Properties }] of ofType('AWS::Lambda::Function')) {
    expect(Properties, name).toMatchObject({ Handler: 'index.handler', LoggingConfig: { LogFormat: 'Text' } })
    const { Variables = {} } = (Properties?.Environment ?? {}) as { Variables?: Record<string, unknown> }
    expect(Object.keys(Variables), name).toContain('NODE_OPTIONS')
    const settings = Object.keys(Variables).filter((setting) => !setting.startsWith('NODE_'))
    expect(
      settings.filter((setting) => !known.has(setting)),
      name,
    ).toEqual([])
  }
  const { NotifierFunction, NotifierInvocation } = template.Resources
  expect(NotifierFunction?.Properties?.Timeout).toBe(functionTimeoutMs / 1000)
  expect(NotifierInvocation?.Properties?.DestinationConfig).toEqual({
    OnFailure: { Destination: { 'Fn::GetAtt': ['FailedEvents', 'Arn'] } },
  })
})

test('a role may do what its function needs, with one resource each; the API may invoke the notifier alone', () => {
  type Statement = { Effect: string; Action: string | string[]; Resource: unknown }
  const statements = (name: string) => {
    const policies = template.Resources[name]?.Properties?.Policies as unknown as {
      PolicyDocument: { Statement: Statement[] }
    }[]
    return policies.flatMap(({ PolicyDocument }) => PolicyDocument.Statement)
  }
  const writesLog = (log: string) => ({
    Effect: 'Allow',
    Action: ['logs:CreateLogStream', 'logs:PutLogEvents'],
    Resource: { 'Fn::GetAtt': [log, 'Arn'] },
  })
  const may = (Action: string, name: string) => ({
    Effect: 'Allow',
    Action,
    Resource: { 'Fn::GetAtt': [name, 'Arn'] },
  })
  expect(
    ofType('AWS::IAM::Role')
      .map(([name]) => name)
      .sort(),
  ).toEqual(['ApiRole', 'MigrateRole', 'NotifierRole'])
  expect(statements('ApiRole')).toEqual([
    writesLog('ApiLog'),
    may('lambda:InvokeFunction', 'NotifierFunction'),
  ])
  expect(statements('NotifierRole')).toEqual([
    writesLog('NotifierLog'),
    may('sqs:SendMessage', 'FailedEvents'),
  ])
  expect(statements('MigrateRole')).toEqual([writesLog('MigrateLog')])
})

test('nothing of it is open to the internet but the HTTP API, and no log is kept for ever', () => {
  expect(ofType('AWS::EC2::InternetGateway')).toEqual([])
  for (const [name, { Properties }] of ofType('AWS::RDS::DBInstance'))
    expect(Properties?.PubliclyAccessible, name).toBe(false)
  for (const [name, { Properties }] of ofType('AWS::EC2::SecurityGroupIngress'))
    expect(Properties?.SourceSecurityGroupId, name).toEqual({ Ref: 'FunctionSecurityGroup' })
  for (const [name, { Properties }] of ofType('AWS::Logs::LogGroup'))
    expect(Properties?.RetentionInDays, name).toEqual({ Ref: 'LogRetentionDays' })
  expect(template.Resources.Database).toMatchObject({
    DeletionPolicy: 'Snapshot',
    Properties: { StorageEncrypted: true },
  })
})
