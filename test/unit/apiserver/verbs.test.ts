import { afterAll, beforeAll, expect, test } from 'vitest';
import { readGolden } from '../../parity/golden.ts';
import { play, type Said } from '../../parity/play.ts';
import { SCENARIOS } from '../../parity/scenarios.ts';
import { startServer, type TestClient, type TestServer } from './harness.ts';

/** Our server answers as kube-apiserver did, verb by verb. */

let server: TestServer;
let admin: TestClient;
beforeAll(async () => {
  server = await startServer({ keepChanges: 30 });
  admin = await server.client();
});
afterAll(() => server[Symbol.asyncDispose]());

const WHERE = 'we say where the text is broken';
const ONE_REFUSAL = 'kube-apiserver answers 500 or dumps the whole object; we refuse it as we do elsewhere';
const PATH = 'we name the path, it a line of a body the caller never sees';
const FAITHFUL = 'RFC 6902 says that it fails';
const NO_PROTOBUF = 'we write no protobuf';
const EARLIER = 'values are judged by the schema, with their path';
const OWN_WORDS = 'it speaks of types of its language';

/** Where we differ on purpose: scenario and step -> status, beginning of the message, and why. */
const ON_PURPOSE: Readonly<Record<string, readonly [status: number, message: string, why: string]>> = {
  'create, read, replace 12': [409, 'Operation cannot be fulfilled on taskagents.clrk.apoxy.dev "one": the object has been modified', ONE_REFUSAL],
  'unknown and repeated fields 2': [
    400,
    'TaskAgent in version "v1alpha1" cannot be handled as a TaskAgent: strict decoding error: duplicate field',
    ONE_REFUSAL,
  ],
  'unknown and repeated fields 3': [400, 'TaskAgent in version "v1alpha1" cannot be handled as a TaskAgent: strict decoding error: json patch', ONE_REFUSAL],
  'unknown and repeated fields 4': [400, 'TaskAgent in version "v1alpha1" cannot be handled as a TaskAgent: strict decoding error: unknown field', ONE_REFUSAL],
  'unknown and repeated fields 5': [400, 'TaskAgent in version "v1alpha1" cannot be handled as a TaskAgent: strict decoding error: duplicate field', PATH],
  'unknown and repeated fields 11': [400, 'failed to create typed patch object (default/one;', ONE_REFUSAL],
  'unknown and repeated fields 12': [200, '', PATH],
  'unknown and repeated fields 18': [400, 'failed to create typed patch object (default/one;', ONE_REFUSAL],
  'unknown and repeated fields 25': [400, 'failed to create typed patch object (default/one;', ONE_REFUSAL],
  'unknown and repeated fields 26': [200, '', PATH],
  'patches 5': [400, 'error decoding patch: expected a field name at line 1, column 2', WHERE],
  'patches 17': [422, 'the server rejected our request', FAITHFUL],
  'patches 25': [422, 'the server rejected our request', FAITHFUL],
  'patches 29': [400, 'error decoding patch: expected a field name at line 1, column 2', WHERE],
  'apply 15': [422, 'TaskAgent.clrk.apoxy.dev "one" is invalid: [spec.template.spec.env[1].name: Required value', ONE_REFUSAL],
  'apply 16': [422, 'TaskAgent.clrk.apoxy.dev "one" is invalid: spec.template.spec.env[2]: Duplicate value', ONE_REFUSAL],
  'apply 28': [400, "the object provided is unrecognized (must be of type TaskAgent): couldn't get version/kind; yaml parse error", WHERE],
  'apply 29': [400, "the object provided is unrecognized (must be of type TaskAgent): couldn't get version/kind; the body is not an object", OWN_WORDS],
  'scale 6': [400, 'spec.replicas of a Scale must be a whole number', ONE_REFUSAL],
  'delete 6': [400, "couldn't get version/kind; json parse error: expected a field name at line 1, column 2", WHERE],
  'delete 7': [400, "couldn't get version/kind; the DeleteOptions are not an object", OWN_WORDS],
  'delete 8': [400, 'no kind "ConfigMap" is known as the body of a deletion', OWN_WORDS],
  'pages 15': [400, 'invalid continue token: it was not made by this server', OWN_WORDS],
  'pages 24': [400, 'invalid resource version: resourceVersion: Invalid value: "x"', ONE_REFUSAL],
  'watch 16': [400, 'invalid resource version: resourceVersion: Invalid value: "x"', ONE_REFUSAL],
  'media types 0': [415, 'the body of the request was in an unknown format - accepted media types include: application/json, application/yaml', NO_PROTOBUF],
  'media types 1': [415, 'the body of the request was in an unknown format - accepted media types include: application/json, application/yaml', NO_PROTOBUF],
  'media types 3': [406, 'only the following media types are accepted: application/json, application/yaml', NO_PROTOBUF],
  'media types 12': [406, 'only the following media types are accepted: application/json, application/yaml', NO_PROTOBUF],
  ...Object.fromEntries(
    [14, 15, 16, 17, 18].map((step) => [
      `media types ${step}`,
      [400, "the object provided is unrecognized (must be of type TaskAgent): couldn't get version/kind", WHERE],
    ]),
  ),
  'config maps and secrets 2': [422, 'ConfigMap "two" is invalid: data.a: Invalid value: "integer"', EARLIER],
  'config maps and secrets 4': [422, 'ConfigMap "two" is invalid: [data[a]: Invalid value: "a": duplicate of key', EARLIER],
  'config maps and secrets 7': [400, 'Secret in version "v1" cannot be handled as a ConfigMap', OWN_WORDS],
  'config maps and secrets 13': [422, 'Secret "two" is invalid: data[a]: Invalid value: must be base64', EARLIER],
  'config maps and secrets 16': [422, `Namespace "${'x'.repeat(64)}" is invalid: metadata.name: Invalid value`, 'it also judges a label made from the name'],
};

test.each(SCENARIOS.map((scenario) => [scenario.name, scenario] as const))('%s: the same answers', async (name, scenario) => {
  const golden = readGolden(`verbs/${name}`) as Readonly<Record<string, Said>>;
  expect(Object.keys(golden)).toHaveLength(scenario.steps.length);
  const [found, expected]: Record<string, unknown>[] = [{}, {}];
  for (const [index, said] of (await play(admin, scenario)).entries()) {
    const own = ON_PURPOSE[`${name} ${index}`];
    const message = (said.body as { message?: string }).message ?? '';
    if (own) expect(said, `${name} ${index} is no difference`).not.toEqual(golden[index]);
    found![index] = own ? [said.status, message.slice(0, own[1].length)] : said;
    expected![index] = own ? own.slice(0, 2) : golden[index];
  }
  expect(found).toEqual(expected);
});
