/**
 * xDS and ext_proc types of exactly the pinned Envoy, from the descriptors linked into its binary: no .proto files, no
 * protoc. Extract -> trim to what ROOTS need -> fill in json_name -> protoc-gen-es.
 */
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import { create, fromBinary, isMessage, type Message } from '@bufbuild/protobuf';
import { protoCamelCase } from '@bufbuild/protobuf/reflect';
import { CodeGeneratorRequestSchema, FileDescriptorProtoSchema, type DescriptorProto, type FileDescriptorProto } from '@bufbuild/protobuf/wkt';
import { run } from '../src/lib/index.ts';

const OUT = 'src/wire/gen/xds';

/** Files whose messages we write or read; their imports come along. Add a line to use another extension. */
const ROOTS = [
  'envoy/config/accesslog/v3/accesslog.proto',
  'envoy/config/cluster/v3/cluster.proto',
  'envoy/config/listener/v3/listener.proto',
  'envoy/config/route/v3/route.proto',
  'envoy/extensions/access_loggers/file/v3/file.proto',
  'envoy/extensions/access_loggers/filters/cel/v3/cel.proto',
  'envoy/extensions/content_parsers/json/v3/json_content_parser.proto',
  'envoy/extensions/filters/http/aws_eventstream_parser/v3/aws_eventstream_parser.proto',
  'envoy/extensions/filters/http/aws_request_signing/v3/aws_request_signing.proto',
  'envoy/extensions/filters/http/credential_injector/v3/credential_injector.proto',
  'envoy/extensions/filters/http/ext_proc/v3/ext_proc.proto',
  'envoy/extensions/filters/http/header_mutation/v3/header_mutation.proto',
  'envoy/extensions/filters/http/json_to_metadata/v3/json_to_metadata.proto',
  'envoy/extensions/filters/http/on_demand/v3/on_demand.proto',
  'envoy/extensions/filters/http/lua/v3/lua.proto',
  'envoy/extensions/filters/http/rbac/v3/rbac.proto',
  'envoy/extensions/filters/http/router/v3/router.proto',
  'envoy/extensions/filters/http/sse_to_metadata/v3/sse_to_metadata.proto',
  'envoy/extensions/filters/http/upstream_codec/v3/upstream_codec.proto',
  'envoy/extensions/filters/listener/original_dst/v3/original_dst.proto',
  'envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto',
  'envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto',
  'envoy/extensions/filters/network/rbac/v3/rbac.proto',
  'envoy/extensions/filters/network/set_filter_state/v3/set_filter_state.proto',
  'envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto',
  'envoy/extensions/filters/network/wasm/v3/wasm.proto',
  'envoy/extensions/filters/udp/udp_proxy/v3/route.proto',
  'envoy/extensions/filters/udp/udp_proxy/v3/udp_proxy.proto',
  'envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation.proto',
  'envoy/extensions/http/injected_credentials/generic/v3/generic.proto',
  'envoy/extensions/matching/common_inputs/network/v3/network_inputs.proto',
  'envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver.proto',
  'envoy/extensions/rbac/matchers/upstream_ip_port/v3/upstream_ip_port_matcher.proto',
  'envoy/extensions/transport_sockets/tls/cert_mappers/sni/v3/config.proto',
  'envoy/extensions/transport_sockets/tls/cert_selectors/on_demand_secret/v3/config.proto',
  'envoy/extensions/transport_sockets/tls/v3/tls.proto',
  'envoy/extensions/upstreams/http/v3/http_protocol_options.proto',
  'envoy/service/discovery/v3/ads.proto',
  'envoy/service/ext_proc/v3/external_processor.proto',
  'xds/type/matcher/v3/domain.proto',
  'xds/type/matcher/v3/ip.proto',
  'xds/type/matcher/v3/matcher.proto',
];

/** The bytes of a section of a 64-bit little-endian ELF file. */
const elfSection = (elf: Buffer, wanted: string): Buffer => {
  if (elf.readUInt32BE(0) !== 0x7f454c46) throw new Error('not an ELF file');
  const [at, size, count, namesIndex] = [Number(elf.readBigUInt64LE(0x28)), elf.readUInt16LE(0x3a), elf.readUInt16LE(0x3c), elf.readUInt16LE(0x3e)];
  const sections = Array.from({ length: count }, (_, i) => {
    const header = at + i * size;
    const offset = Number(elf.readBigUInt64LE(header + 0x18));
    return { name: elf.readUInt32LE(header), bytes: elf.subarray(offset, offset + Number(elf.readBigUInt64LE(header + 0x20))) };
  });
  const names = sections[namesIndex]!.bytes;
  const found = sections.find(({ name }) => names.toString('latin1', name, names.indexOf(0, name)) === wanted);
  if (!found) throw new Error(`this Envoy has no section ${wanted}`);
  return found.bytes;
};

/** Serialized FileDescriptorProtos lie one after the other with padding between; a file starts with field 1, its name. */
const extract = (bytes: Buffer): Map<string, FileDescriptorProto> => {
  const varint = (at: number): [value: number, next: number] | undefined => {
    for (let value = 0, shift = 0, p = at; shift < 35 && p < bytes.length; shift += 7) {
      const byte = bytes[p++]!;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return [value, p];
    }
    return undefined;
  };
  /** End of the message that starts at `from`: fields 2 to 14 as a file has them, up to padding or the next file. */
  const endOf = (from: number): number => {
    let end = from;
    for (;;) {
      const tag = varint(end);
      if (!tag) return end;
      const [field, wire] = [tag[0] >>> 3, tag[0] & 7];
      const next = varint(tag[1]);
      if (!next) return end;
      if (wire === 2 && [2, 3, 4, 5, 6, 7, 8, 9, 12].includes(field) && next[1] + next[0] <= bytes.length) end = next[1] + next[0];
      else if (wire === 0 && [10, 11, 14].includes(field)) end = next[1];
      else return end;
    }
  };
  const files = new Map<string, FileDescriptorProto>();
  for (let p = 0; p < bytes.length;) {
    const length = bytes[p] === 0x0a ? varint(p + 1) : undefined;
    const name = length && length[0] > 6 && length[0] < 200 ? bytes.toString('latin1', length[1], length[1] + length[0]) : '';
    if (!/^[\w/.-]+\.proto$/.test(name)) {
      p++;
      continue;
    }
    const end = endOf(length![1] + length![0]);
    files.set(name, fromBinary(FileDescriptorProtoSchema, bytes.subarray(p, end)));
    p = end;
  }
  return files;
};

/** Options of validate, udpa and the like are for other code generators: without them their files are not needed. */
const dropForeignOptions = (message: Message): void => {
  if (message.$typeName.endsWith('Options')) delete message.$unknown;
  for (const value of Object.values(message)) {
    for (const item of Array.isArray(value) ? value : [value]) if (isMessage(item)) dropForeignOptions(item);
  }
};

const ANNOTATIONS = /^(validate|udpa\/annotations|xds\/annotations|envoy\/annotations|google\/api\/annotations)\//;

/** protoc fills in `json_name`; the descriptors inside a C++ binary lack it. */
const fillJsonNames = (messages: readonly DescriptorProto[]): void => {
  for (const message of messages) {
    for (const field of message.field) field.jsonName ||= protoCamelCase(field.name);
    fillJsonNames(message.nestedType);
  }
};

/** ROOTS and all they import, imports first. */
const trim = (files: Map<string, FileDescriptorProto>): FileDescriptorProto[] => {
  const sorted = new Map<string, FileDescriptorProto>();
  const visit = (name: string): void => {
    if (sorted.has(name)) return;
    const file = files.get(name);
    if (!file) throw new Error(`this Envoy has no ${name}`);
    const kept = file.dependency.map((dependency, index) => ({ dependency, index })).filter(({ dependency }) => !ANNOTATIONS.test(dependency));
    file.publicDependency = file.publicDependency.map((index) => kept.findIndex((entry) => entry.index === index)).filter((index) => index >= 0);
    file.weakDependency = [];
    file.dependency = kept.map(({ dependency }) => dependency);
    file.dependency.forEach(visit);
    dropForeignOptions(file);
    fillJsonNames(file.messageType);
    sorted.set(name, file);
  };
  ROOTS.forEach(visit);
  return [...sorted.values()];
};

interface Plugin {
  run(request: ReturnType<typeof create<typeof CodeGeneratorRequestSchema>>): { error?: string; file: { name?: string; content?: string }[] };
}

/** protoc-gen-es as a function; as a program it would speak bytes on stdout. */
const protocGenEs = (): Plugin => {
  const require = createRequire(import.meta.url);
  return (require('../node_modules/@bufbuild/protoc-gen-es/dist/cjs/src/protoc-gen-es-plugin.js') as { protocGenEs: Plugin }).protocGenEs;
};

/** Every file descriptor in one array, for a registry, and the Envoy they came from. */
const indexFiles = (version: string, files: readonly FileDescriptorProto[]): [path: string, content: string][] => {
  const modules = files.filter((file) => !file.name.startsWith('google/protobuf/')).map(({ name }) => name.replace(/\.proto$/, ''));
  const symbol = (name: string): string => `file_${name.replaceAll(/[^\w]/g, '_')}`;
  const js = [
    `// Generated by tools/gen-xds.ts from the descriptors of Envoy ${version}. Do not edit.`,
    ...modules.map((name) => `import { ${symbol(name)} } from "./${name}_pb.js";`),
    `export const ENVOY_VERSION = ${JSON.stringify(version)};`,
    'export const files = [',
    ...modules.map((name) => `  ${symbol(name)},`),
    '];',
    '',
  ];
  const dts = [
    `// Generated by tools/gen-xds.ts from the descriptors of Envoy ${version}. Do not edit.`,
    'import type { DescFile } from "@bufbuild/protobuf";',
    '/** The Envoy these types were made from: what `envoy --version` prints. */',
    'export declare const ENVOY_VERSION: string;',
    '/** Descriptors of all files, imports first. */',
    'export declare const files: readonly DescFile[];',
    '',
  ];
  return [
    [`${OUT}/index.js`, js.join('\n')],
    [`${OUT}/index.d.ts`, dts.join('\n')],
  ];
};

/** Files under `src/wire/gen/xds`, from an Envoy binary. */
export const genXds = async (envoyBinary: string): Promise<Map<string, string>> => {
  const version = /version: (\S+)/.exec((await run(envoyBinary, ['--version'])).stdout)?.[1];
  if (!version) throw new Error(`${envoyBinary} does not say its version`);
  const files = trim(extract(elfSection(await readFile(envoyBinary), 'protodesc_cold')));
  const request = create(CodeGeneratorRequestSchema, {
    fileToGenerate: files.map(({ name }) => name).filter((name) => !name.startsWith('google/protobuf/')),
    parameter: 'target=js+dts,import_extension=js',
    protoFile: files,
  });
  const response = protocGenEs().run(request);
  if (response.error) throw new Error(response.error);
  return new Map([...response.file.map((file): [string, string] => [`${OUT}/${file.name!}`, file.content!]), ...indexFiles(version, files)]);
};
