import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { ApiError, createClient, createInformer, type Client } from '#kube';
import { workerPools, type WorkerPool } from '#api';
import { silentLogger } from '#lib';

/** A scripted API server: its answers are what Kubernetes would say, byte for byte, also in the ways that are hard to provoke. */
type Answer = (request: IncomingMessage & { url: string; text: string }, response: ServerResponse) => void;
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const serve = async (answer: Answer): Promise<Client> => {
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    answer(Object.assign(request, { url: request.url ?? '', text }), response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const client = createClient({ server: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  cleanups.push(() => client[Symbol.asyncDispose]());
  return client;
};

const pool = (name: string, resourceVersion: string): WorkerPool => ({
  apiVersion: 'clrk.apoxy.dev/v1alpha1',
  kind: 'WorkerPool',
  metadata: { name, namespace: 'a', resourceVersion, uid: `uid-${name}` },
  spec: { template: { image: 'w' } } as WorkerPool['spec'],
});
const json = (response: ServerResponse, body: unknown, status = 200): void => {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
};
const event = (type: string, object: unknown): string => `${JSON.stringify({ type, object })}\n`;
const bookmark = (resourceVersion: string) => ({ kind: 'WorkerPool', metadata: { resourceVersion } });

test('calls have the paths, methods and media types of Kubernetes', async () => {
  const seen: string[] = [];
  const client = await serve((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers['content-type'] ?? ''} ${request.text}`.trim());
    json(response, pool('p', '1'));
  });
  await client.get(workerPools, 'a', 'p');
  await client.patchStatus(workerPools, 'a', 'p', { readyReplicas: 1 });
  await client.apply(workerPools, { metadata: { name: 'p', namespace: 'a' }, spec: {} }, { fieldManager: 'me', force: true });
  await client.delete(workerPools, 'a', 'p');
  const root = '/apis/clrk.apoxy.dev/v1alpha1/namespaces/a/workerpools/p';
  expect(seen).toEqual([
    `GET ${root}`,
    `PATCH ${root}/status application/merge-patch+json {"status":{"readyReplicas":1}}`,
    `PATCH ${root}?fieldManager=me&force=true&fieldValidation=Strict application/apply-patch+yaml {"metadata":{"name":"p","namespace":"a"},"spec":{},"apiVersion":"clrk.apoxy.dev/v1alpha1","kind":"WorkerPool"}`,
    `DELETE ${root}`,
  ]);
});

test('a refusal carries the Status; only a 404 of get and delete is an answer', async () => {
  const status = {
    kind: 'Status',
    code: 422,
    reason: 'Invalid',
    message: 'WorkerPool "p" is invalid',
    details: { causes: [{ field: 'spec.replicas', message: 'no', reason: 'FieldValueInvalid' }] },
  };
  const client = await serve((request, response) =>
    request.method === 'POST' ? json(response, status, 422) : json(response, { kind: 'Status', code: 404, reason: 'NotFound' }, 404),
  );
  const refused = await client.create(workerPools, pool('p', '')).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(ApiError);
  expect(refused).toMatchObject({ code: 422, reason: 'Invalid', causes: [{ field: 'spec.replicas' }] });
  expect(await client.get(workerPools, 'a', 'p')).toBeUndefined();
  expect(await client.delete(workerPools, 'a', 'p')).toBe(false);
  await expect(client.list(workerPools)).rejects.toMatchObject({ code: 404 });
});

test('a server that is not there is ApiUnreachable', async () => {
  const client = createClient({ server: 'http://127.0.0.1:1' });
  await expect(client.get(workerPools, 'a', 'p')).rejects.toMatchObject({ code: 'ApiUnreachable' });
});

test('an informer lists, follows, survives cut streams and lists again after 410', async () => {
  let lists = 0;
  const watches: string[] = [];
  const client = await serve(({ url }, response) => {
    const query = new URL(url, 'http://x').searchParams;
    if (!query.has('watch')) {
      lists++;
      return json(response, {
        metadata: { resourceVersion: lists === 1 ? '10' : '20' },
        items: lists === 1 ? [pool('old', '1'), pool('kept', '2')] : [pool('kept', '2'), pool('new', '19')],
      });
    }
    watches.push(query.get('resourceVersion')!);
    response.writeHead(200, { 'content-type': 'application/json' });
    if (watches.length === 1) {
      // A whole event in two chunks, a bookmark, then a cut in the middle of an event, which must not count.
      const line = event('MODIFIED', pool('kept', '11'));
      response.write(line.slice(0, 20));
      setImmediate(() => {
        response.write(line.slice(20) + event('BOOKMARK', bookmark('15')) + event('DELETED', pool('old', '16')).slice(0, 40));
        setImmediate(() => response.destroy());
      });
    } else if (watches.length === 2) response.end(event('ERROR', { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version' }));
    else response.write(event('ADDED', pool('last', '21')));
  });
  const informer = createInformer(client, workerPools, { log: silentLogger, indexes: { version: ({ metadata }) => [metadata.resourceVersion!] } });
  cleanups.push(() => informer[Symbol.asyncDispose]());
  const changes: string[] = [];
  const done = new Promise<void>((resolve) =>
    informer.onChange((key, current, previous) => {
      changes.push(`${key} ${previous?.metadata.resourceVersion ?? '-'}>${current?.metadata.resourceVersion ?? '-'}`);
      if (key === 'a/last') resolve();
    }),
  );
  await informer.synced;
  await done;
  expect(watches).toEqual(['10', '15', '20']);
  expect(changes).toEqual(['a/old ->1', 'a/kept ->2', 'a/kept 2>11', 'a/kept 11>2', 'a/new ->19', 'a/old 1>-', 'a/last ->21']);
  expect(informer.list('a').map(({ metadata }) => metadata.name)).toEqual(['kept', 'new', 'last']);
  expect(informer.index('version', '19').map(({ metadata }) => metadata.name)).toEqual(['new']);
  expect(informer.index('version', '1')).toEqual([]);
  expect(informer.get('a', 'old')).toBeUndefined();
});
