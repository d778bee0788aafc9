import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '#lib';
import { eventually } from '../e2e/harness.ts';
import { EgressLab, OPENAI } from '../e2e/support/egress-lab.ts';

/** What a scanner says of the TLS that agents meet where the gateway ends it. */

let lab: EgressLab;
beforeAll(async () => {
  lab = await EgressLab.start();
  await eventually('the claim is granted', async () => ((await lab.claim()).refused === '' ? true : undefined));
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'testssl.sh', 'bsdextrautils'], { env, timeoutMs: 300_000 });
}, 330_000);
afterAll(() => lab?.[Symbol.asyncDispose]());

/** Findings that are no fault, with the reason. */
const ACCEPTED: Readonly<Record<string, string>> = {
  cert_expirationStatus: 'leaves live for a day, and are made anew before they end',
  cert_notAfter: 'the same',
  cert_revocation: 'a leaf ends before anybody could look it up in a list',
  cert_crlDistributionPoints: 'the same',
  cert_ocspURL: 'the same',
  cert_chain_of_trust: 'the authority is the gateway’s own: agents trust it, the stores of the scanner do not',
};

test('testssl.sh finds nothing of medium severity or worse', { timeout: 600_000 }, async () => {
  const ca = join(lab.state, 'root.pem');
  await writeFile(ca, lab.rootPem);
  const report = join(lab.state, 'testssl.json');
  const checks = ['--protocols', '--std', '--fs', '--server-preference', '--server-defaults', '--vulnerable'];
  const how = ['--quiet', '--color', '0', '--warnings', 'off', '--nodns', 'none', '--add-ca', ca, '--ip', await lab.addressOf(OPENAI), '--jsonfile', report];
  // Its exit code counts warnings; what it found is in the report.
  await run('testssl', [...how, ...checks, `${OPENAI}:443`], { netns: lab.sandbox.netns, timeoutMs: 580_000 }).catch(() => {});
  const findings = JSON.parse(await readFile(report, 'utf8')) as { readonly id: string; readonly severity: string; readonly finding: string }[];
  const of = (id: string) => findings.find((finding) => finding.id === id);
  // It has come to the end of what it was asked.
  expect(of('TLS1_3')?.finding).toMatch(/^offered/);
  expect(of('TLS1_1')?.finding).toMatch(/^not offered/);
  for (const id of ['heartbleed', 'ROBOT', 'RC4']) expect([id, of(id)?.severity]).toEqual([id, 'OK']);
  const bad = findings.filter(({ id, severity }) => ['MEDIUM', 'HIGH', 'CRITICAL', 'FATAL'].includes(severity) && !(id in ACCEPTED));
  expect(bad).toEqual([]);
});
