import { expect, test } from 'vitest';
import { fingerprintOf, type Clock } from '#lib';
import type { TrustState } from '#model';
import { createReports } from '../../../src/controllers/reports.ts';
import { LOST_MS, TrustWatch } from '../../../src/controllers/gateway/trust-watch.ts';
import { Recorder } from './cluster.ts';

const [OLD, NEW] = ['b2xk', 'bmV3'];
const state = (roots: readonly string[], sandboxes: number, current = true, gateway = 'default/gw'): TrustState => ({
  gateway,
  roots: roots.map(fingerprintOf),
  sandboxes,
  current,
});
const STARTING = 'workers that have not reported since controller-manager was started';

const create = () => {
  let now = 1_000;
  const clock: Clock = { now: () => now, monotonic: () => now };
  const port = new Recorder();
  const watch = new TrustWatch({ ...createReports(port, clock), clock });
  return {
    port,
    pass: (ms: number) => (now += ms),
    untrusting: () => watch.untrusting('default/gw', NEW),
    unsigning: () => watch.unsigning('default/gw', NEW),
  };
};

test('a root is trusted when every worker gives it to new sandboxes and no older sandbox is left', () => {
  const { port, pass, untrusting } = create();
  expect(untrusting()).toEqual({ sandboxes: 0, who: [STARTING] });
  pass(LOST_MS);
  expect(untrusting()).toEqual({ sandboxes: 0, who: [] });
  port.worker('0', { trust: [state([OLD], 3)] });
  port.worker('1', { trust: [state([OLD, NEW], 1), state([OLD], 2, false)] });
  port.worker('2', { trust: [] });
  // Of another namespace, and of another gateway.
  port.worker('3', { pool: 'other/default', trust: [] });
  port.worker('4', { trust: [state([OLD, NEW], 1), state([OLD], 9, true, 'default/other')] });
  expect(untrusting()).toEqual({ sandboxes: 5, who: ['worker 0', 'worker 1', 'worker 2'] });
  port.worker('0', { trust: [state([OLD, NEW], 0), state([OLD], 1, false)] });
  port.worker('1', { trust: [state([OLD, NEW], 1)] });
  port.worker('2', { trust: [state([OLD, NEW], 0)] });
  expect(untrusting()).toEqual({ sandboxes: 1, who: ['worker 0'] });
  port.worker('0', { trust: [state([NEW], 0)] });
  expect(untrusting()).toEqual({ sandboxes: 0, who: [] });
});

test('a worker whose stream ended counts until it is surely gone, or says itself how it is', () => {
  const { port, pass, untrusting, unsigning } = create();
  pass(LOST_MS);
  port.worker('0', { trust: [state([OLD], 2)] });
  port.worker('0', undefined);
  expect(untrusting()).toEqual({ sandboxes: 2, who: ['worker 0'] });
  port.worker('0', { trust: [state([OLD], 1)] });
  expect(untrusting()).toEqual({ sandboxes: 1, who: ['worker 0'] });
  port.worker('0', undefined);
  pass(LOST_MS - 1);
  expect(untrusting().who).toEqual(['worker 0']);
  expect(unsigning().who).toEqual(['worker 0']);
  pass(1);
  expect(untrusting()).toEqual({ sandboxes: 0, who: [] });
  expect(unsigning().who).toEqual([]);
});

test('a root signs when the egress of every worker says so', () => {
  const { port, pass, unsigning } = create();
  pass(LOST_MS);
  port.worker('0', { trust: [] });
  port.worker('1', { trust: [] });
  const gatewayState = { gateway: 'default/gw', revision: 'r', since: 1, error: '' };
  port.egress('0', [{ ...gatewayState, root: fingerprintOf(OLD) }]);
  expect(unsigning().who).toEqual(['worker 0', 'worker 1']);
  port.egress('0', [{ ...gatewayState, root: fingerprintOf(NEW) }]);
  port.egress('1', [gatewayState]);
  expect(unsigning().who).toEqual(['worker 1']);
  port.egress('1', [{ ...gatewayState, root: fingerprintOf(NEW) }]);
  expect(unsigning().who).toEqual([]);
});
