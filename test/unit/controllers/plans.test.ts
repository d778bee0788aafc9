import { expect, test } from 'vitest';
import { no, yes, type RouteParent } from '#policy';
import { Plans, type GatewayPlan, type NamespacePlan } from '../../../src/controllers/gateway/plans.ts';

const parent = (name: string, accepted = true): RouteParent => ({
  parentRef: { name },
  accepted: accepted ? yes('Accepted') : no('NotAllowedByListeners', ''),
  resolvedRefs: yes('ResolvedRefs'),
});
/** `gateways`: by name, the routes at it. */
const plan = (gateways: Readonly<Record<string, Readonly<Record<string, RouteParent>>>>): NamespacePlan => ({
  gateways: new Map(
    Object.entries(gateways).map(([name, routes]): [string, GatewayPlan] => [
      name,
      { routes: new Map(Object.entries(routes).map(([route, state]) => [route, [state]])) } as unknown as GatewayPlan,
    ]),
  ),
  policies: new Map(),
  denyPolicies: new Map(),
});

test('a new plan names the routes of which it says something else, also those it says nothing of any more; it is there before anybody hears', async () => {
  const plans = new Plans();
  const heard: (readonly string[])[] = [];
  plans.onChange((namespace, routes) => {
    expect(namespace).toBe('default');
    heard.push(routes.toSorted());
  });
  const set = async (next: NamespacePlan): Promise<readonly string[] | undefined> => {
    plans.set('default', next);
    expect(plans.of('default')).toBe(next);
    expect(heard).toEqual([]);
    await new Promise(setImmediate);
    return heard.splice(0)[0];
  };
  expect(await set(plan({ gw: { a: parent('gw'), b: parent('gw') }, other: { b: parent('other') } }))).toEqual(['a', 'b']);
  expect(await set(plan({ gw: { a: parent('gw'), b: parent('gw') }, other: { b: parent('other') } }))).toEqual([]);
  expect(await set(plan({ gw: { a: parent('gw'), b: parent('gw') }, other: { b: parent('other', false), c: parent('other') } }))).toEqual(['b', 'c']);
  expect(await set(plan({ gw: { b: parent('gw') } }))).toEqual(['a', 'b', 'c']);
  // A gateway without routes is told of too: its own status may be another one.
  expect(await set(plan({}))).toEqual(['b']);
  expect(await set(plan({}))).toEqual([]);
});
