import { afterEach, beforeEach, expect, test } from 'vitest';
import { taskAgents, type TaskAgent } from '#api';
import { foldConditions, Statuses } from '../../../src/controllers/status.ts';
import { startCluster, type Cluster } from './cluster.ts';
import { agent } from './objects.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await startCluster({ controllers: false });
});
afterEach(() => cluster[Symbol.asyncDispose]());

const condition = (status: 'True' | 'False') => ({ type: 'Ready', status, reason: 'R', message: '' });
const at = (second: number): string => `2026-01-01T00:00:0${second}Z`;
const get = async (): Promise<TaskAgent> => (await cluster.client.get(taskAgents, 'default', 'a'))!;
const transition = ({ status }: TaskAgent): string => status!.conditions![0]!.lastTransitionTime;

test('a cache that is behind our own write does not make a condition change twice', async () => {
  const statuses = new Statuses(cluster.client);
  const write = (from: TaskAgent, status: 'True' | 'False', second: number) =>
    statuses.write(taskAgents, from, (current) => ({ conditions: foldConditions(current.status?.conditions, [condition(status)], at(second)) }));
  const cached = await cluster.client.create<TaskAgent>(taskAgents, agent('a'));
  await write(cached, 'False', 1);
  const written = await get();
  await write(cached, 'False', 2);
  expect(await get()).toEqual(written);
  // Two writes ahead, and the cache has seen the first.
  await write(cached, 'True', 3);
  await write(written, 'True', 4);
  expect(transition(await get())).toBe(at(3));
  expect((await get()).status!.conditions).toHaveLength(1);
  // Once it is level, what stands there counts, whoever wrote it.
  await cluster.client.patchStatus(taskAgents, 'default', 'a', { conditions: [{ ...condition('False'), lastTransitionTime: at(5) }] });
  await write(await get(), 'False', 6);
  expect(transition(await get())).toBe(at(5));
});

test('fields that are absent go away, and an object that is gone is left alone', async () => {
  const statuses = new Statuses(cluster.client);
  await cluster.client.create(taskAgents, agent('a'));
  await statuses.write(taskAgents, await get(), () => ({ activeExecutions: 1, warmSandboxes: 2 }));
  await statuses.write(taskAgents, await get(), () => ({ activeExecutions: 1 }));
  const left = await get();
  expect(left.status).toEqual({ activeExecutions: 1 });
  await cluster.client.delete(taskAgents, 'default', 'a');
  await statuses.write(taskAgents, left, () => ({ activeExecutions: 5 }));
  expect(await cluster.client.get(taskAgents, 'default', 'a')).toBeUndefined();
});
