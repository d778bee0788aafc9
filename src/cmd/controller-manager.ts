import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { taskAgents } from '#api';
import { createApiServer, type ApiServer, type ApiServerOptions } from '#apiserver';
import { startControllers, type Controllers } from '#controllers';
import { createClient, type Client } from '#kube';
import { readIfExists, runProgram, systemClock, systemCode, writeFileAtomic, type Program } from '#lib';
import { layout, type CapsPort, type ExplainPort } from '#model';
import { runtimeGroups } from '#runtime';
import { otlpLogs } from '#telemetry';
import { connect, createRpcServer, Desired, Runs, Store } from '#wire';
import { createDesiredService } from './controller-manager/desired-service.ts';
import { remoteCounters, remoteRuns, remoteStore } from './controller-manager/remote.ts';

/** Starts the API server on the port of last time, so that kubeconfigs stay valid, or on a free one when that is taken. */
const listen = async (server: ApiServer, portFile: string): Promise<number> => {
  const last = Number(await readIfExists(portFile)) || 0;
  const port = await server.listen(last).catch((error: unknown) => {
    if (last === 0 || systemCode(error) !== 'EADDRINUSE') throw error;
    return server.listen(0);
  });
  if (port !== last) await writeFileAtomic(portFile, `${port}\n`);
  return port;
};

/** The embedded API server, the runtime API, the controllers, and service `Desired` for `clrk dev`, workers and egresses. */
const main = async (program: Program): Promise<void> => {
  const { state, run, log, signal, resources } = program;
  const at = layout(state, run);
  const pem = (file: string): Promise<string> => readFile(join(at.pki, file), 'utf8');
  const [ca, cert, key, ownCert, ownKey] = await Promise.all(
    ['ca.crt', 'server.crt', 'server.key', 'controller-manager.crt', 'controller-manager.key'].map(pem),
  );

  // Consumes calls of the runtime API; produces calls to dispatcher and store, which may be away.
  const runsClient = connect(Runs, at.runsSocket);
  resources.defer(() => runsClient.close());
  const storeClient = connect(Store, at.storeQuerySocket);
  resources.defer(() => storeClient.close());
  const runs = remoteRuns(runsClient);

  // Consumes manifests of people and statuses of controllers; produces stored objects and watches.
  const tls: ApiServerOptions['tls'] = { ca: ca!, cert: cert!, key: key! };
  const own = Promise.withResolvers<Client>();
  const agents = { exists: async (namespace: string, name: string) => (await (await own.promise).get(taskAgents, namespace, name)) !== undefined };
  const controllers = Promise.withResolvers<Controllers>();
  let started: Controllers | undefined;
  const explain: ExplainPort = { explain: async (question) => (await controllers.promise).explain(question) };
  const caps: CapsPort = { caps: (namespace) => started?.caps(namespace) };
  const counters = remoteCounters(runsClient);
  const extraGroups = runtimeGroups({ runs, counters, store: remoteStore(storeClient), agents, explain, caps, now: systemClock.now, encodeLogs: otlpLogs });
  const api = resources.use(createApiServer({ database: at.apiDb, tls, extraGroups, log }));
  const port = await listen(api, at.apiPort);

  // Consumes desired state and reports; produces streams to workers, egresses and `clrk dev`.
  const { port: desired, service } = createDesiredService();
  const hosts = resources.use(createRpcServer().add(Desired, service, (method) => method !== 'egress'));
  const egresses = resources.use(createRpcServer().add(Desired, service, (method) => method === 'egress'));
  await Promise.all([hosts.listen(at.desiredSocket), egresses.listen(at.desiredEgressSocket)]);

  // Consumes objects and reports; produces desired state, revisions, gateway roots and statuses.
  const client = resources.use(createClient({ server: `https://127.0.0.1:${port}`, ca, cert: ownCert, key: ownKey, userAgent: program.name }));
  own.resolve(client);
  started = resources.use(startControllers({ client, desired, runs, log, signal }));
  controllers.resolve(started);

  program.ready({ ports: { api: port } });
};

await runProgram('controller-manager', main);
