import { X509Certificate } from 'node:crypto';
import { parseDuration } from '#lib';
import type { EgressGateway } from '#api';
import type { PolicySet } from '#model';
import { isForbiddenAlias } from './address.ts';
import { keyOf, type SecretLookup } from './attach.ts';
import { canonicalHost } from './host.ts';

export interface CompileProblem {
  /** `SecretNotFound`, `TrustBundleInvalid`, `ForbiddenAddress`, `InvalidHostname`. */
  readonly reason: string;
  readonly message: string;
}

const DEFAULT_TIMEOUT_MS = 300_000;
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/** Certificates of all values of the Secret; a key beside them stays out. */
export const trustBundleOf = (gateway: EgressGateway, secret: SecretLookup, problems: CompileProblem[]): string => {
  const ref = gateway.spec.upstreamTLS?.additionalTrustBundleSecretRef;
  if (!ref) return '';
  if (ref.group || (ref.kind && ref.kind !== 'Secret')) {
    problems.push({ reason: 'InvalidKind', message: 'spec.upstreamTLS.additionalTrustBundleSecretRef must name a Secret.' });
    return '';
  }
  const values = secret(ref.name, keyOf(gateway).namespace);
  if (!values) {
    problems.push({ reason: 'SecretNotFound', message: `There is no Secret ${ref.name} (spec.upstreamTLS.additionalTrustBundleSecretRef).` });
    return '';
  }
  const blocks = Object.entries(values)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, value]) => value.match(CERTIFICATE) ?? []);
  const read = blocks.map((block) => ({ block, ...certificateOf(block) }));
  const broken = read.filter(({ certificate }) => !certificate).length;
  if (broken > 0 || read.length === 0)
    problems.push({ reason: 'TrustBundleInvalid', message: `Secret ${ref.name} has ${broken === read.length ? 'no' : 'a broken'} PEM certificate.` });
  for (const { certificate, weak } of read) {
    if (certificate && weak)
      problems.push({
        reason: 'TrustBundleInvalid',
        message: `Secret ${ref.name}: certificate ${JSON.stringify(certificate.subject)} is not trusted: ${weak}.`,
      });
  }
  return read
    .filter(({ certificate, weak }) => certificate && !weak)
    .map(({ block }) => `${block}\n`)
    .join('');
};

const MIN_RSA_BITS = 2048;

/** What a PEM block holds, and why nothing should be trusted by it: Envoy itself does not look at the strength of keys. */
const certificateOf = (block: string): { readonly certificate?: X509Certificate; readonly weak?: string } => {
  try {
    const certificate = new X509Certificate(block);
    const { asymmetricKeyType: type, asymmetricKeyDetails: details } = certificate.publicKey;
    if (type === 'dsa') return { certificate, weak: 'DSA keys are not accepted' };
    const bits = details?.modulusLength;
    return bits !== undefined && bits < MIN_RSA_BITS
      ? { certificate, weak: `its RSA key has ${bits} bits, and ${MIN_RSA_BITS} are the least` }
      : { certificate };
  } catch {
    return {};
  }
};

export const aliasesOf = (gateway: EgressGateway, problems: CompileProblem[]): PolicySet['hostAliases'] =>
  (gateway.spec.upstreamTLS?.hostAliases ?? []).flatMap(({ ip, hostnames }, index) => {
    const path = `spec.upstreamTLS.hostAliases[${index}]`;
    if (isForbiddenAlias(ip)) {
      problems.push({ reason: 'ForbiddenAddress', message: `${path}: ${ip} is not an address a gateway may dial.` });
      return [];
    }
    const names = hostnames.flatMap((hostname) => {
      const name = canonicalHost(hostname);
      if (name === undefined) problems.push({ reason: 'InvalidHostname', message: `${path}: ${JSON.stringify(hostname)} is not a host name.` });
      return name ?? [];
    });
    return names.length > 0 ? [{ ip, hostnames: names }] : [];
  });

export const timeoutOf = (gateway: EgressGateway): number => {
  const ms = parseDuration(gateway.spec.requestTimeout ?? '') ?? 0;
  return ms > 0 ? ms : DEFAULT_TIMEOUT_MS;
};
