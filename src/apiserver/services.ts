import type { ExtraGroup } from '#api';

/**
 * Services of the core group, of which there are none here: what is reached over the network is named in dev.json. They can be
 * listed because kubectl asks for them (`kubectl cluster-info`).
 */
export const SERVICES: ExtraGroup = {
  group: '',
  version: 'v1',
  resources: [
    {
      name: 'services',
      singular: 'service',
      kind: 'Service',
      namespaced: true,
      shortNames: ['svc'],
      verbs: ['get', 'list'],
      schema: { type: 'object', description: 'A network service of a cluster; there are none here.' },
      handle: async ({ verb, name }) =>
        verb === 'list' ? { list: [] } : { failure: { code: 404, reason: 'NotFound', message: `services ${JSON.stringify(name)} not found` } },
    },
  ],
};
