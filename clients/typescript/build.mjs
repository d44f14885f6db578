/** `npm run build`: the client as ES modules with their types, and how large they are. */

import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

rmSync("dist", { recursive: true, force: true });
await build({
  entryPoints: ["src/index.ts", "src/react.tsx"],
  bundle: true,
  splitting: true,
  minify: true,
  format: "esm",
  target: "es2022",
  external: ["react"],
  outdir: "dist",
});
execFileSync("npx", ["tsc", "--project", "tsconfig.build.json"], { stdio: "inherit" });

const { outputFiles: [core] } = await build({
  entryPoints: ["src/index.ts"],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  write: false,
});
console.log(`@raak/client: ${core.contents.length} bytes, ${gzipSync(core.contents).length} with gzip`);
