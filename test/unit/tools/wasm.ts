/** WebAssembly of Node.js, whose types TypeScript has among those of browsers only. */
interface Wasm {
  readonly Module: {
    new (bytes: Uint8Array): object;
    exports(module: object): readonly { readonly name: string }[];
  };
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown };
}

export interface Memory {
  readonly buffer: ArrayBuffer;
}

export const { WebAssembly } = globalThis as unknown as { readonly WebAssembly: Wasm };
