import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { fingerprintOf } from '#lib';
import { certificatesIn, createAuthority, loadSigner, type CertifiedKey } from '#lib/x509';
import { eventually, showLogOnFailure, startStack, type ProbeAnswer, type TestStack } from '../e2e/harness.ts';
import { probeAgent, type Manifest } from '../e2e/support/manifests.ts';
import { ask, startRun, type StartedRun } from '../e2e/support/runs.ts';

/** Authorities of gateways on the whole stack: what sandboxes see of them, and that a change of one hurts nobody. */

const DAY = 86_400_000;
const HOST = 'api.openai.com';
const BUNDLE = '/etc/ssl/certs/ca-certificates.crt';
const GATEWAYS = '/apis/clrk.apoxy.dev/v1alpha1/namespaces/default/egressgateways';

let stack: TestStack;
/** A root that stays elsewhere, and an authority below it whose key the gateway gets. */
let root: CertifiedKey;
let issuing: CertifiedKey;
beforeAll(async () => {
  const valid = { notBefore: new Date(Date.now() - DAY), notAfter: new Date(Date.now() + 365 * DAY) };
  root = await createAuthority({ subject: 'CN=Example Root, O="Example, Inc."', ca: { pathLength: 2 }, ...valid });
  issuing = await (await loadSigner(root)).issue({ subject: 'CN=Example Gateways', ca: { pathLength: 1 }, ...valid });
  stack = await startStack();
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

interface Handshake {
  readonly authorized: boolean;
  readonly reason: string | null;
  /** SHA-256 of the certificates, leaf first, root last. */
  readonly chain: readonly string[];
}
const handshakeOf = (result: unknown): Handshake => {
  const { chain, ...rest } = result as { authorized: boolean; reason: string | null; chain: { sha256: string }[] };
  return { ...rest, chain: chain.map(({ sha256 }) => sha256.replaceAll(':', '').toLowerCase()) };
};
const resultsOf = async ({ answer }: StartedRun): Promise<ProbeAnswer['results']> => {
  const { status, text, json } = await answer;
  expect(status, text).toBe(200);
  return (json() as ProbeAnswer).results;
};
const expectWholeStream = (result: unknown): void => {
  expect(result).toMatchObject({ status: 200 });
  expect((result as { body: string }).body).toContain('[DONE]');
};
/** Handshake, a stream of some seconds, handshake. */
const longRun = (tokens: number, streams = 1): StartedRun =>
  startRun(stack, [{ handshake: HOST }, ...Array.from({ length: streams }, () => ask('gpt-4.1-slow', tokens)), { handshake: HOST }]);

/** What a sandbox that is made now sees: the chain, and what it trusts; roots of gateways are the last in the file. */
const look = async (agent = 'probe') => {
  const { results } = await stack.probe(agent, { handshake: HOST }, { tail: BUNDLE });
  const roots = certificatesIn(String(results[1]));
  return { ...handshakeOf(results[0]), trusts: new Set(roots.map(fingerprintOf)), roots };
};
const rotating = (status: 'True' | 'False', reason: string, ms = 15_000, gateway = 'default') =>
  eventually(
    `CertificateRotating=${status}/${reason}`,
    async () => {
      const { conditions } = (await stack.get('egressgateways', gateway)).status ?? {};
      const found = conditions?.find(({ type }) => type === 'CertificateRotating');
      if (found?.status !== status || found.reason !== reason) throw new Error(JSON.stringify(found));
      return found;
    },
    ms,
  );
const patchGateway = (patch: object, gateway = 'default') =>
  stack.api('PATCH', `${GATEWAYS}/${gateway}`, patch, { 'content-type': 'application/merge-patch+json' });

test('an authority of the user replaces the one that was made, while older sandboxes work: streams go on, every handshake is believed', async () => {
  const ownRoot = fingerprintOf(root.certPem);
  const before = await look();
  const oldRoot = before.chain.at(-1)!;
  expect(before).toMatchObject({ authorized: true });
  expect(before.chain).toHaveLength(3);
  expect(before.trusts.has(oldRoot)).toBe(true);

  const older = longRun(60);
  await stack.seenOf(older.traceId);
  await stack.secret('own-ca', { 'tls.crt': issuing.certPem + root.certPem, 'tls.key': issuing.keyPem });
  await patchGateway({ spec: { listeners: [{ name: 'inspected', protocol: 'TLS', tls: { mode: 'Terminate', caCertRef: { name: 'own-ca' } } }] } });
  expect((await rotating('True', 'NewRootTrusted')).message).toMatch(/1 older sandbox trusts only the old one|not confirmed yet/);
  await eventually('the older sandbox is counted', async () => /1 older sandbox /.test((await rotating('True', 'NewRootTrusted')).message) || undefined);

  // In the middle of it, what makes the authorities dies.
  await stack.restarted('controller-manager', await stack.kill('controller-manager'));
  const both = await look();
  expect(both).toMatchObject({ authorized: true });
  expect(both.chain.at(-1)).toBe(oldRoot);
  expect([both.trusts.has(oldRoot), both.trusts.has(ownRoot)]).toEqual([true, true]);

  let between: 'open' | 'over' = 'open';
  const newer = longRun(80, 3);
  void newer.answer.finally(() => (between = 'over')).catch(() => {});
  await stack.seenOf(newer.traceId);
  const [first, stream, last] = await resultsOf(older);
  expectWholeStream(stream);
  for (const handshake of [first, last].map(handshakeOf)) {
    expect(handshake).toMatchObject({ authorized: true });
    expect(handshake.chain.at(-1)).toBe(oldRoot);
  }

  const { message } = await rotating('False', 'RootInForce', 60_000);
  expect(message).toContain(ownRoot);
  expect(between).toBe('open');
  const after = await look();
  expect(after).toMatchObject({ authorized: true });
  expect(after.chain.slice(2)).toEqual([fingerprintOf(issuing.certPem), ownRoot]);
  expect([after.trusts.has(oldRoot), after.trusts.has(ownRoot)]).toEqual([false, true]);
  expect(between).toBe('open');

  const results = await resultsOf(newer);
  results.slice(1, -1).forEach(expectWholeStream);
  const [start, end] = [handshakeOf(results[0]), handshakeOf(results.at(-1))];
  expect([start.authorized, end.authorized]).toEqual([true, true]);
  expect([start.chain.at(-1), end.chain.at(-1)]).toEqual([oldRoot, ownRoot]);
  const { status } = await stack.get('egressgateways', 'default');
  expect(status!['listeners']).toMatchObject([{ conditions: expect.arrayContaining([expect.objectContaining({ type: 'ResolvedRefs', status: 'True' })]) }]);
});

test('a new intermediate, as the annotation asks for: an open stream goes on, the next handshake shows it below the same root', async () => {
  const run = longRun(60);
  await stack.seenOf(run.traceId);
  const before = await look();
  await patchGateway({ metadata: { annotations: { 'clrk.apoxy.dev/rotate': 'now' } } });
  const after = await eventually('handshakes show another intermediate', async () => {
    const seen = await look();
    expect(seen).toMatchObject({ authorized: true });
    return seen.chain[1] === before.chain[1] ? undefined : seen;
  });
  expect(after.chain.at(-1)).toBe(before.chain.at(-1));
  const [first, stream, last] = await resultsOf(run);
  expectWholeStream(stream);
  expect([handshakeOf(first), handshakeOf(last)].map(({ authorized, chain }) => [authorized, chain[1]])).toEqual([
    [true, before.chain[1]],
    [true, after.chain[1]],
  ]);
});

test('a sandbox trusts its own gateway alone: what another one signs is not believed there', async () => {
  const gateway = await stack.get('egressgateways', 'default');
  const other: Manifest = {
    apiVersion: gateway.apiVersion,
    kind: gateway.kind,
    metadata: { name: 'other', namespace: 'default' },
    spec: { ...gateway.spec, listeners: [{ name: 'inspected', protocol: 'TLS', tls: { mode: 'Terminate' } }] },
  };
  const elsewhere = probeAgent('elsewhere', { egressRefs: [{ gatewayRef: 'other' }] });
  await stack.apply(other, elsewhere);
  await stack.programmed('other');
  await stack.condition('taskagents', 'elsewhere', 'Ready', 'True', 60_000);

  const mine = await look();
  const theirs = await look('elsewhere');
  // No route admits the name there: the leaf is that of the refusal, and believed all the same.
  expect([mine.authorized, theirs.authorized]).toEqual([true, true]);
  const [myRoot, theirRoot] = [mine.chain.at(-1)!, theirs.chain.at(-1)!];
  expect(theirRoot).not.toBe(myRoot);
  expect([mine.trusts.has(theirRoot), theirs.trusts.has(myRoot)]).toEqual([false, false]);
  const signedBy = (pem: string, roots: readonly string[]): boolean =>
    roots.some(
      (root) => new X509Certificate(pem).checkIssued(new X509Certificate(root)) && new X509Certificate(pem).verify(new X509Certificate(root).publicKey),
    );
  const { results } = await stack.probe('probe', { handshake: HOST });
  const top = (results[0] as { chain: { pem: string }[] }).chain[1]!.pem;
  const intermediate = `-----BEGIN CERTIFICATE-----\n${top.replaceAll(/(.{64})/g, '$1\n')}\n-----END CERTIFICATE-----\n`;
  expect(signedBy(intermediate, [...mine.roots, issuing.certPem])).toBe(true);
  expect(signedBy(intermediate, theirs.roots)).toBe(false);
});

test('sandboxes that wait for a run do not hold up a new root: they are replaced', async () => {
  await stack.apply(probeAgent('waiting', { egressRefs: [{ gatewayRef: 'other' }], warmPoolSize: 1 }));
  const warm = () =>
    eventually('one sandbox waits', async () => ((await stack.get('taskagents', 'waiting')).status?.['warmSandboxes'] === 1 ? true : undefined), 40_000);
  await warm();
  const before = await look('elsewhere');
  await patchGateway({ metadata: { annotations: { 'clrk.apoxy.dev/rotate': 'root-2' } } }, 'other');
  const after = await eventually('another root signs', async () => {
    const seen = await look('elsewhere');
    expect(seen).toMatchObject({ authorized: true });
    return seen.chain.at(-1) === before.chain.at(-1) ? undefined : seen;
  });
  const { message } = await rotating('False', 'RootInForce', 15_000, 'other');
  expect(message).toContain(after.chain.at(-1)!);
  await warm();
  const waited = await look('waiting');
  expect(waited).toMatchObject({ authorized: true });
  expect([waited.trusts.has(before.chain.at(-1)!), waited.trusts.has(after.chain.at(-1)!)]).toEqual([false, true]);
});
