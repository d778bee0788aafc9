import { expect, test } from 'vitest';
import { resourceErrors, runResources, taskAgents, type Resources } from '#api';
import { validate } from '../../../src/admission/structural.ts';

const MI = 2 ** 20;

test.each<[string, Resources | undefined, number, number, number]>([
  ['nothing', undefined, 1, 512, 256],
  ['no quantities', {}, 1, 512, 256],
  ['some', { memory: '1Gi' }, 1, 1024, 512],
  ['all', { cpu: '1500m', memory: '256Mi', ephemeralStorage: '1Gi' }, 1.5, 256, 1024],
  ['plain numbers', { cpu: 2, memory: 64 * MI }, 2, 64, 32],
])('resources of %s', (_, asked, cpus, memory, storage) => {
  expect(resourceErrors(asked, 'r')).toEqual([]);
  expect(runResources(asked)).toEqual({ cpus, memoryBytes: memory * MI, storageBytes: storage * MI });
});

test.each<[Resources, string]>([
  [{ memory: '512m' }, 'r.memory: Invalid value: "512m": must be at least 32Mi: the sandbox itself needs about 32Mi'],
  [{ memory: '512MB' }, 'r.memory: Invalid value: "512MB": must be a quantity such as 500m, 2 or 512Mi'],
  [{ cpu: 0 }, 'r.cpu: Invalid value: 0: must be at least 10m: the kernel gives no smaller share'],
  [{ cpu: '-1' }, 'r.cpu: Invalid value: "-1": must be at least 10m: the kernel gives no smaller share'],
  [{ cpu: '5k' }, 'r.cpu: Invalid value: "5k": must be at most 4096'],
  [{ ephemeralStorage: '1' }, 'r.ephemeralStorage: Invalid value: "1": must be at least 64Ki: files in memory come in pages'],
])('%j is refused', (asked, message) => {
  expect(resourceErrors(asked, 'r').map((error) => `${error.field}: ${error.message}`)).toEqual([message]);
  const agent = { apiVersion: '', kind: '', metadata: { name: 'a' }, spec: { resources: asked } };
  expect(taskAgents.admission!(agent as never).map(({ field }) => field)).toEqual([message.split(':', 1)[0]!.replace(/^r/, 'spec.resources')]);
});

test.each<[unknown, string[]]>([
  ['1', []],
  [1, []],
  [1.5, ['spec.resources.cpu in body must be of type integer,string: "number"']],
  [true, ['spec.resources.cpu in body must be of type integer,string: "boolean"']],
  [{}, ['spec.resources.cpu in body must be of type integer,string: "object"']],
  ['one', ["spec.resources.cpu in body should match '"]],
])('the schema takes text and integers: %j', (cpu, messages) => {
  const spec = { workerPoolRef: 'p', template: { spec: { image: 'i' } }, timeout: '1s', resources: { cpu } };
  const found = validate(taskAgents.schema, { spec }).map(({ message }) => message);
  expect(found).toHaveLength(messages.length);
  for (const [index, message] of messages.entries()) expect(found[index]).toContain(message);
});
