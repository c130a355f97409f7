/** Writes the OpenAPI document of a service without PUBLIC_URL to a file. */
import { writeFileSync } from 'node:fs'
import { operations } from '../../src/app.ts'
import { describeOperations } from '../../src/http/openapi.ts'

const [, , file = 'openapi.json'] = process.argv
writeFileSync(file, JSON.stringify(describeOperations(operations, ''), null, 2))
