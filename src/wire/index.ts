// wire: consumes messages; produces bytes, and the other way round.
// Owns: the services between processes, gRPC over Unix sockets, SSE and CloudEvents codecs. `#wire/xds` adds Envoy's types.
// Heavy dependencies owned here: @grpc/grpc-js, @bufbuild/protobuf.
export * from './control.ts';
export * from './grpc.ts';
export { createRpcServer, RpcError, status, type CallContext, type Implementation, type RpcServer } from './server.ts';
