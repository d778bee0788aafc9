import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { QUICKSTART } from '../../fixtures/quickstart.ts';
import { PROBE } from './images.ts';

export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; [field: string]: unknown };
  spec: Record<string, unknown>;
}

const API = 'clrk.apoxy.dev/v1alpha1';

/** The manifests of the quickstart as objects. */
export const quickstart = async (): Promise<Manifest[]> => {
  const dir = join(QUICKSTART, 'manifests');
  const texts = await Promise.all((await readdir(dir)).toSorted().map((file) => readFile(join(dir, file), 'utf8')));
  return texts.flatMap((text) => parseAllDocuments(text).map((document) => document.toJS() as Manifest));
};

/** A gateway whose upstream api.openai.com is the fixture, trusted by the certificate in Secret `fixture-ca`. */
export const fixtureGateway = (gateway: Manifest, ip: string): Manifest => ({
  ...gateway,
  spec: { ...gateway.spec, upstreamTLS: { hostAliases: [{ ip, hostnames: ['api.openai.com'] }], additionalTrustBundleSecretRef: { name: 'fixture-ca' } } },
});

/** A TaskAgent of the probe image; `spec` is merged over the defaults. */
export const probeAgent = (name: string, spec: Record<string, unknown> = {}, template: Record<string, unknown> = {}): Manifest => ({
  apiVersion: API,
  kind: 'TaskAgent',
  metadata: { name, namespace: 'default' },
  spec: { workerPoolRef: 'default', timeout: '60s', egressRefs: [{ gatewayRef: 'default' }], template: { spec: { image: PROBE, ...template } }, ...spec },
});

/** An AIProviderRoute of models on a gateway with a day budget. */
export const openaiRoute = (name: string, gateway: string, models: readonly string[], maxTokensPerDay: number): Manifest => ({
  apiVersion: API,
  kind: 'AIProviderRoute',
  metadata: { name, namespace: 'default' },
  spec: {
    parentRefs: [{ group: 'clrk.apoxy.dev', kind: 'EgressGateway', name: gateway }],
    rules: [
      { matches: [{ provider: 'openai', models, endpoints: ['/v1/chat/completions'] }], filters: [{ type: 'TokenBudget', tokenBudget: { maxTokensPerDay } }] },
    ],
  },
});
