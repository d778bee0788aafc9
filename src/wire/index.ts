// wire: consumes messages; produces bytes, and the other way round.
// Owns: the services between processes, gRPC over Unix sockets, SSE and CloudEvents codecs. `#wire/xds` adds Envoy's types.
// Heavy dependency owned here: @bufbuild/protobuf.
export * from './control.ts';
export { connect, type Client } from './client.ts';
export { createRpcServer, type CallContext, type Implementation, type RpcServer } from './server.ts';
export { exchangeBatch } from './exchanges.ts';
export { RpcError, status } from './status.ts';
