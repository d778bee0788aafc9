// image: consumes directories and image names; produces manifest digests, sealed root directories and OCI runtime configurations.
// Owns: the local image store (an OCI layout), building without a daemon, unpacking once per digest, mount points.
// Programs used here and nowhere else: tar, umoci, flock, ldd, and the Python that goes into images.
export { buildImage, type BuildOptions } from './build.ts';
export { bundleSpec, processArgs, type BundleOptions, type Mount } from './bundle.ts';
export { resolveImage, type ImageConfig, type ResolvedImage } from './config.ts';
export { parseImageReference, type ImageReference } from './name.ts';
export { isRuntime, type Runtime } from './runtimes.ts';
export { CA_BUNDLE_PATHS, ensureUnpacked, HOSTS, RESOLV_CONF, sweepStore } from './unpack.ts';
