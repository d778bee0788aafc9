import { afterEach, describe, expect, test } from 'vitest';
import type { PolicySet } from '#model';
import { readForm, writeForm } from '../../../src/egress/engine/multipart.ts';
import { budget, compile, route } from '../policy/objects.ts';
import { CHAT, createHarness, policyWith, type Harness } from './harness.ts';

const open: Harness[] = [];
const harness = (policy?: PolicySet): Harness => {
  const made = createHarness(policy && { policy });
  open.push(made);
  return made;
};
afterEach(async () => {
  for (const made of open.splice(0)) await made[Symbol.asyncDispose]();
});

const rules = (...list: object[]): PolicySet => compile({ aiRoutes: [route({ rules: list as never })], credentialPolicies: [] }).policySet;
const GET = { ':method': 'GET', ':path': '/v1/models', 'content-type': '' };

describe('a request without a body', () => {
  test('goes on with its place in the trace, and reserves nothing', async () => {
    const engine = harness(policyWith(1));
    const answer = await engine.send('', GET, { endOfStream: true });
    expect(answer).toMatchObject({ status: 200, text: '', cases: ['requestHeaders'], engine: { operation: 'list_models', stream: false } });
    expect(Object.keys(answer.headers).sort()).toEqual(['traceparent', 'x-clrk-route']);
    expect(answer.engine).not.toHaveProperty('model');
    expect(answer.engine).not.toHaveProperty('reservedInput');
    expect(engine.ledger.counters('demo')).toEqual([]);
    expect(engine.lines).toMatchObject([{ event: 'admit', path: '/v1/models' }]);
  });
  test('may end with an empty one', async () =>
    expect(await harness().send('', GET)).toMatchObject({ status: 200, text: '', cases: ['requestHeaders', 'requestBody'] }));
  test('must have none', async () => expect(await harness().send('{}', GET)).toMatchObject({ status: 400, json: { error: { code: 'UnexpectedBody' } } }));
  test('is refused where a rule asks for a model it does not name', async () => {
    const policy = rules({ matches: [{ provider: 'openai', models: ['gpt-4o*'] }] });
    const of = (path: string) => harness(policy).send('', { ...GET, ':path': path }, { endOfStream: true });
    expect(await of('/v1/models')).toMatchObject({ status: 403, json: { error: { code: 'ModelNotAllowed' } } });
    expect(await of('/v1/models/o3')).toMatchObject({ status: 403, json: { error: { code: 'ModelNotAllowed' } } });
    expect(await of('/v1/models/gpt-4o-mini')).toMatchObject({ status: 200, engine: { model: 'gpt-4o-mini' } });
  });
  test('that has to have one is refused', async () =>
    expect(await harness().send('', {}, { endOfStream: true })).toMatchObject({ status: 400, json: { error: { code: 'InvalidJson' } } }));
});

const BOUNDARY = 'b0undary';
const part = (name: string, value: string, more = ''): string => `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n${value}\r\n`;
const file = (name: string, value: string): string => part(name, value, '; filename="a.wav"\r\nContent-Type: audio/wav');
const end = `--${BOUNDARY}--\r\n`;
const FORM = { ':path': '/v1/audio/transcriptions', 'content-type': `multipart/form-data; boundary=${BOUNDARY}` };
const GOOD = part('model', 'gpt-4o-transcribe') + file('file', 'RIFF\r\n--not it\r\n') + end;

describe('a form', () => {
  test('goes on as it was judged, written anew', async () => {
    const answer = await harness().send(GOOD, FORM);
    expect(answer).toMatchObject({ status: 200, engine: { model: 'gpt-4o-transcribe', operation: 'transcription' } });
    expect(answer.headers['content-length']).toBe(String(Buffer.byteLength(answer.text)));
    const [, boundary = ''] = /^multipart\/form-data; boundary=(clrk-\w+)$/.exec(answer.headers['content-type']!)!;
    const parts = readForm(Buffer.from(answer.text), boundary);
    expect(parts.map(({ data, ...rest }) => ({ ...rest, data: Buffer.from(data).toString() }))).toEqual([
      { name: 'model', data: 'gpt-4o-transcribe' },
      { name: 'file', filename: 'a.wav', type: 'audio/wav', data: 'RIFF\r\n--not it\r\n' },
    ]);
  });
  test('reserves the window of its model for a file, and its whole output', async () => {
    const engine = harness(policyWith(1e6));
    expect((await engine.send(GOOD, FORM)).engine).toMatchObject({ reservedInput: 16_000, reservedOutput: 2_000 });
    expect(await harness(policyWith(17_000)).send(GOOD, FORM)).toMatchObject({ status: 429, json: { error: { code: 'BudgetExhausted' } } });
  });
  test('with a quoted boundary', async () =>
    expect(await harness().send(GOOD, { ...FORM, 'content-type': `Multipart/Form-Data; boundary="${BOUNDARY}"` })).toMatchObject({ status: 200 }));

  test.each<[string, string, string]>([
    ['a field twice', part('model', 'a') + part('model', 'b') + file('file', '') + end, 'DuplicateKey'],
    ['a field in two cases', part('model', 'a') + part('MODEL', 'b') + file('file', '') + end, 'AmbiguousField'],
    ['text before it', `preamble\r\n${GOOD}`, 'InvalidForm'],
    ['an empty line before it', `\r\n${GOOD}`, 'InvalidForm'],
    ['text after it', `${GOOD}epilogue`, 'InvalidForm'],
    ['no end', GOOD.slice(0, -end.length), 'InvalidForm'],
    ['nothing in it', end, 'InvalidRequest'],
    ['padding after a boundary', GOOD.replace(`--${BOUNDARY}\r\n`, `--${BOUNDARY} \r\n`), 'InvalidForm'],
    ['line feeds alone', GOOD.replaceAll('\r\n', '\n'), 'InvalidForm'],
    ['a name in an extended form', GOOD.replace('name="model"', `name*=utf-8''model`), 'InvalidForm'],
    ['two names', GOOD.replace('name="model"', 'name="x"; name="model"'), 'InvalidForm'],
    ['a filename in an extended form', GOOD.replace('filename="a.wav"', `filename="a"; filename*=utf-8''b`), 'InvalidForm'],
    ['a name without quotes', GOOD.replace('name="model"', 'name=model'), 'InvalidForm'],
    ['an escaped quote', GOOD.replace('name="model"', String.raw`name="mo\"del"`), 'InvalidForm'],
    ['a part with two dispositions', GOOD.replace('Content-Disposition', 'Content-Disposition: form-data; name="x"\r\nContent-Disposition'), 'InvalidForm'],
    ['a folded header', GOOD.replace('form-data; name="model"', 'form-data;\r\n name="model"'), 'InvalidForm'],
    ['an encoded part', GOOD.replace('\r\n\r\n', '\r\nContent-Transfer-Encoding: base64\r\n\r\n'), 'InvalidForm'],
    ['a header of another kind', GOOD.replace('\r\n\r\n', '\r\nX-Charset: utf-16\r\n\r\n'), 'InvalidForm'],
    ['a part without name', GOOD.replace('; name="model"', ''), 'InvalidForm'],
    ['a part without empty line', `--${BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n--${BOUNDARY}--`, 'InvalidForm'],
    ['too many parts', `${Array.from({ length: 300 }, (_, i) => part(`f${i}`, '')).join('')}${end}`, 'InvalidForm'],
    ['long headers', part('model', 'a', `; filename="${'x'.repeat(5000)}"`) + end, 'InvalidForm'],
  ])('with %s is refused', async (_, body, code) => expect(await harness().send(body, FORM)).toMatchObject({ status: 400, json: { error: { code } } }));

  test.each([
    'multipart/form-data',
    'multipart/mixed; boundary=x',
    'multipart/form-data; boundary=x; charset=utf-8',
    'multipart/form-data; boundary=""',
    `multipart/form-data; boundary=${'x'.repeat(71)}`,
    'application/json',
  ])('sent as %s is refused', async (type) =>
    expect(await harness().send(GOOD, { ...FORM, 'content-type': type })).toMatchObject({ status: 415, json: { error: { code: 'UnsupportedMediaType' } } }),
  );
  test('a boundary of ours is new each time', () => expect(writeForm([]).contentType).not.toBe(writeForm([]).contentType));
});

describe('provider custom', () => {
  const HOST = { ':authority': 'a.llm.test', 'x-clrk-destination': '198.18.0.4:443' };
  const match = { provider: 'custom', endpoints: ['*.llm.test/v1/*', '*.llm.test/v1/*/*'] };
  test('what nobody understands goes on byte for byte, whatever it is', async () => {
    const bytes = Buffer.from([0, 1, 255]);
    const answer = await harness(rules({ matches: [match] })).send(bytes, {
      ...HOST,
      ':path': '/v1/rerank',
      'content-type': 'x/y',
      'content-encoding': 'gzip',
    });
    expect(answer).toMatchObject({ status: 200, engine: { provider: 'custom', operation: 'custom' } });
    expect(answer.headers['content-length']).toBe('3');
  });
  test('under a limit on tokens it is refused, since nobody can say what it uses', async () => {
    const limited = rules({ matches: [match], filters: [budget(1e6)] });
    const answer = await harness(limited).send('{}', { ...HOST, ':path': '/v1/rerank' });
    expect(answer).toMatchObject({ status: 403, json: { error: { code: 'UnknownBound' } } });
    expect(answer.json.error!['message']).toContain('/v1/rerank');
    const capped = rules({ matches: [match], filters: [{ type: 'TokenBudget', tokenBudget: { maxOutputTokensPerRequest: 5 } }] });
    expect(await harness(capped).send('{}', { ...HOST, ':path': '/v1/rerank' })).toMatchObject({ status: 403, json: { error: { code: 'UnknownBound' } } });
  });
  test('what ends like a call of OpenAI’s API is read as one', async () => {
    const engine = harness(rules({ matches: [{ ...match, models: ['llama*'] }], filters: [budget(1e6)] }));
    const to = { ...HOST, ':path': '/v1/chat/completions' };
    const answer = await engine.send({ ...CHAT, model: 'llama-3' }, to);
    expect(answer).toMatchObject({ status: 200, json: { max_tokens: 8_192 }, engine: { provider: 'custom', model: 'llama-3', reservedOutput: 8_192 } });
    expect(await engine.send({ ...CHAT, model: 'gpt' }, to)).toMatchObject({ status: 403, json: { error: { code: 'ModelNotAllowed' } } });
    expect(await engine.send({ messages: [] }, to)).toMatchObject({ status: 403, json: { error: { code: 'ModelNotAllowed' } } });
    // Spelled otherwise it may still be one for the server, and nobody reads it.
    expect(await engine.send(CHAT, { ...HOST, ':path': '/v1/chat%2fcompletions' })).toMatchObject({
      status: 403,
      json: { error: { code: 'EndpointNotBuilt' } },
    });
  });
});

test('azure-openai: the deployment is the model', async () => {
  const engine = harness(rules({ matches: [{ provider: 'azure-openai', models: ['prod-*'] }] }));
  const at = (deployment: string) =>
    engine.send(CHAT, {
      ':authority': 'a.openai.azure.com',
      'x-clrk-destination': '198.18.0.5:443',
      ':path': `/openai/deployments/${deployment}/chat/completions?api-version=2024-10-21`,
    });
  expect(await at('prod-gpt')).toMatchObject({ status: 200, engine: { provider: 'azure-openai', model: 'prod-gpt' } });
  expect(await at('test-gpt')).toMatchObject({ status: 403, json: { error: { code: 'ModelNotAllowed' } } });
});

test('what is settled knows that a model was asked to think', async () => {
  const engine = harness(rules({ matches: [{ provider: 'bedrock' }], filters: [budget(1e7)] }));
  const send = (more: object) =>
    engine.send(
      { messages: [{ role: 'user', content: [{ text: 'hi' }] }], ...more },
      {
        ':authority': 'bedrock-runtime.us-east-1.amazonaws.com',
        'x-clrk-destination': '198.18.0.6:443',
        ':path': '/model/anthropic.claude-sonnet-4-20250514-v1%3A0/converse-stream',
      },
    );
  const thinking = { type: 'enabled', budget_tokens: 2048 };
  expect(await send({ additionalModelRequestFields: { thinking } })).toMatchObject({ status: 200, engine: { hiddenReasoning: true } });
  expect((await send({})).engine).not.toHaveProperty('hiddenReasoning');
});
