// wire/xds: consumes resources written like Envoy's own YAML; produces the bytes of xDS, and the ext_proc messages.
// Owns: Envoy's types, generated from the descriptors inside the pinned binary (tools/gen-xds.ts). A front door of its own:
// only `egress` loads them.
import { createRegistry, fromJson, toBinary, type DescFile, type JsonObject, type MessageInitShape } from '@bufbuild/protobuf';
import { AnySchema, file_google_protobuf_struct, file_google_protobuf_wrappers, type Any } from '@bufbuild/protobuf/wkt';
import { DeltaDiscoveryRequestSchema } from './gen/xds/envoy/service/discovery/v3/discovery_pb.js';
import { StatusSchema } from './gen/xds/google/rpc/status_pb.js';
import { files } from './gen/xds/index.js';

export { ENVOY_VERSION } from './gen/xds/index.js';
import type { AggregatedDiscoveryService } from './gen/xds/envoy/service/discovery/v3/ads_pb.js';

export { AggregatedDiscoveryService } from './gen/xds/envoy/service/discovery/v3/ads_pb.js';
export { DeltaDiscoveryRequestSchema, type DeltaDiscoveryRequest, type DeltaDiscoveryResponse } from './gen/xds/envoy/service/discovery/v3/discovery_pb.js';
export {
  CommonResponse_ResponseStatus,
  ExternalProcessor,
  ProcessingRequestSchema,
  ProcessingResponseSchema,
  type BodyResponse,
  type CommonResponse,
  type HeaderMutation,
  type HttpBody,
  type HttpHeaders,
  type ImmediateResponse,
  type ProcessingRequest,
  type ProcessingResponse,
} from './gen/xds/envoy/service/ext_proc/v3/external_processor_pb.js';
export { ProcessingMode_BodySendMode } from './gen/xds/envoy/extensions/filters/http/ext_proc/v3/processing_mode_pb.js';
export { HeaderValueOption_HeaderAppendAction, type HeaderMap, type HeaderValue } from './gen/xds/envoy/config/core/v3/base_pb.js';

/**
 * Envoy asks for names as clients sent them, and a server name can be any bytes. One that is no UTF-8 would be an error of the whole
 * stream, again with every new one: it is read with U+FFFD instead, and Envoy hears nothing of it.
 */
for (const { fields } of [DeltaDiscoveryRequestSchema, StatusSchema]) for (const field of fields) Object.assign(field, { utf8Validation: false });

/** What a delta ADS server answers. */
export type DeltaResponse = MessageInitShape<(typeof AggregatedDiscoveryService)['method']['deltaAggregatedResources']['output']>;

/** An encoded resource, ready to be sent. */
export type Encoded = Any;

/** A resource as Envoy's YAML has it, `@type` included; field names are the proto's own (snake_case). */
export type ResourceJson = { readonly '@type': string } & { readonly [field: string]: unknown };

const registry = createRegistry(...(files as readonly DescFile[]), file_google_protobuf_struct, file_google_protobuf_wrappers);

/**
 * Encodes a resource literal; messages inside `Any` are literals with `@type` as well. Throws when a field or type is unknown,
 * so a misspelt field fails here and not by being ignored.
 */
export const encodeResource = (resource: ResourceJson): Any => {
  const { '@type': typeUrl, ...fields } = resource;
  const schema = registry.getMessage(typeUrl.slice(typeUrl.lastIndexOf('/') + 1));
  if (!schema) throw new Error(`unknown type ${typeUrl}: add its file to ROOTS of tools/gen-xds.ts`);
  return { $typeName: AnySchema.typeName, typeUrl, value: toBinary(schema, fromJson(schema, fields as JsonObject, { registry })) };
};
