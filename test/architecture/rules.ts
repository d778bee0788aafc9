/**
 * Who may import whom (the module table of ARCHITECTURE.md), with the reason for each rule. A failing import is reported
 * with its reason, so the person who meets it knows what would be lost.
 */

interface ModuleRule {
  /** Modules it may import by their front doors, besides itself. */
  readonly may: readonly string[];
  readonly why: string;
}

const STAGE = ['lib', 'api', 'model', 'policy', 'wire'];
const STAGE_WHY =
  'a stage gets records and ports of `model`, never another stage or Kubernetes: stages can then run in other processes, and each can be tested alone';

export const MODULES: Readonly<Record<string, ModuleRule>> = {
  lib: { may: [], why: 'it has no domain, so that everything may build on it' },
  api: { may: ['lib'], why: 'the kinds are a contract: what follows from them must not leak back into them' },
  model: { may: ['lib', 'api'], why: 'records and ports are what stages share; with code of a stage in them, stages would share that too' },
  policy: { may: ['lib', 'api', 'model'], why: 'compiling and deciding are pure functions, the same for Envoy, engine, `explain` and tests' },
  wire: { may: ['lib', 'model'], why: 'codecs map the records of `model` and know nothing of who sends them' },
  admission: { may: ['lib', 'api'], why: 'an object is judged by its kind alone, so that server and command line come to the same verdict' },
  kube: { may: ['lib', 'api'], why: 'client and server of the API test each other, so neither may lean on the other' },
  apiserver: {
    may: ['lib', 'api', 'admission'],
    why: 'a generic server of kinds: client and server test each other, and what handlers do is given to it by `cmd`',
  },
  image: { may: ['lib', 'model'], why: 'images are built and unpacked without a stack' },
  trigger: { may: STAGE, why: STAGE_WHY },
  scheduler: { may: STAGE, why: STAGE_WHY },
  ledger: { may: STAGE, why: STAGE_WHY },
  sandbox: { may: [...STAGE, 'image'], why: STAGE_WHY },
  egress: { may: STAGE, why: STAGE_WHY },
  telemetry: { may: STAGE, why: STAGE_WHY },
  controllers: { may: ['lib', 'api', 'model', 'policy', 'kube'], why: 'they hand desired state to a port of `model`; `cmd` joins it to the wire' },
  runtime: { may: ['lib', 'api', 'model', 'wire'], why: 'handlers of the runtime API read through ports, whatever serves them' },
  supervisor: { may: ['lib', 'api', 'model', 'kube', 'wire'], why: 'it starts programs by path; with their code in it, it would load what they load' },
  cli: {
    may: ['lib', 'api', 'admission', 'kube', 'policy', 'image', 'supervisor'],
    why: 'the command line is a client of the API: what it could do beside it, kubectl could not',
  },
  cmd: { may: ['*'], why: 'composition roots are where modules meet' },
};

interface DoorRule {
  /** File or folder behind the door, below src. */
  readonly path: string;
  readonly by: readonly string[];
  readonly why: string;
}

/** Front doors beside a module's main one: they exist to keep something out of programs that do not need it. */
export const SIDE_DOORS: Readonly<Record<string, DoorRule>> = {
  '#lib/x509': { path: 'lib/x509.ts', by: ['supervisor', 'controllers', 'egress', 'cmd'], why: 'only programs that sign certificates load the library for it' },
  '#policy/prices': { path: 'policy/prices', by: ['egress', 'cmd'], why: 'the price list is large, and only what asks for a price loads it' },
  '#wire/xds': { path: 'wire/xds.ts', by: ['egress', 'cmd'], why: "Envoy's types are large, and only egress speaks to Envoy" },
  '#egress/front': { path: 'egress/front', by: ['cmd'], why: 'hostile packets are parsed in a program that holds no route and no secret' },
  '#telemetry/store': { path: 'telemetry/store', by: ['cmd'], why: 'ClickHouse is half a gigabyte and has one writer: program `store`' },
};

interface PackageRule {
  /** Modules (or paths below src) that may import it. */
  readonly owners: readonly string[];
  /** Importing only its types is free. */
  readonly typesFree?: boolean;
  readonly why: string;
}

const oneOwner = (module: string): PackageRule => ({ owners: [module], why: 'one module owns each heavy dependency, so that it can be replaced' });

/** Every package used in src, and the Node modules that are owned. */
export const PACKAGES: Readonly<Record<string, PackageRule>> = {
  '@bufbuild/cel': oneOwner('admission'),
  '@bufbuild/protobuf': oneOwner('wire'),
  '@bufbuild/re2': oneOwner('lib'),
  croner: oneOwner('lib'),
  'fast-json-patch': oneOwner('apiserver'),
  '@peculiar/x509': oneOwner('lib/x509.ts'),
  '@pydantic/genai-prices': oneOwner('policy/prices'),
  'reflect-metadata': oneOwner('lib/x509.ts'),
  chdb: oneOwner('telemetry/store'),
  commander: oneOwner('cli'),
  pino: oneOwner('lib'),
  undici: oneOwner('kube'),
  yaml: {
    owners: ['admission', 'apiserver', 'cli', 'kube', 'supervisor'],
    why: 'YAML is for manifests and kubeconfig files; between our processes goes protobuf or JSON',
  },
  'node:sqlite': oneOwner('lib'),
  'node:child_process': {
    owners: ['lib'],
    typesFree: true,
    why: 'children are started by one helper, which makes them die with their parent and takes no shell strings',
  },
};

/** Node modules a pure module may use; others may use all that PACKAGES does not own. */
export const PURE: Readonly<Record<string, { readonly may: readonly string[]; readonly why: string }>> = {
  api: { may: [], why: 'the kinds are data' },
  model: { may: ['node:path'], why: 'records and ports are data' },
  admission: { may: [], why: 'a verdict is a function of a document and its kind' },
  policy: { may: ['node:crypto', 'node:net'], why: 'what decides has no clock, file or socket' },
};

export const MAX_LINES = 450;
export const MAX_PROGRAM_LINES = 150;
