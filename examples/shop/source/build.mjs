/** `npm install && npm run build`: the page's scripts, and the licences of what is in them. `node build.mjs FOLDER` writes them elsewhere. */

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const CLIENT = "../../../clients/typescript/src";
const OUT = process.argv[2] ?? "../page";

const { metafile, outputFiles } = await build({
  entryPoints: ["shop.tsx", "analytics.ts"],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  legalComments: "none",
  alias: {
    "@raak/client": `${CLIENT}/index.ts`,
    "@raak/client/react": `${CLIENT}/react.tsx`,
    react: "preact/compat",
    "react/jsx-runtime": "preact/jsx-runtime",
  },
  nodePaths: ["node_modules"],
  external: ["./analytics.js"],
  metafile: true,
  write: false,
  outdir: "out",
});

for (const { path, contents } of outputFiles) {
  const name = path.split("/").at(-1);
  writeFileSync(join(OUT, name), contents);
  console.log(`${name}: ${contents.length} bytes, ${gzipSync(contents).length} with gzip`);
}

const packages = Object.keys(metafile.inputs).map((path) => path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]);
const licences = [...new Set(packages.filter(Boolean))].sort().map((name) => {
  const { version, license } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
  const file = readdirSync(`node_modules/${name}`).find((each) => /^licen[cs]e/i.test(each));
  const text = file ? readFileSync(`node_modules/${name}/${file}`, "utf8").trim() : "(the package has no licence file)";
  return `${name} ${version} (${license})\n\n${text}\n`;
});
writeFileSync(join(OUT, "licenses.txt"), licences.join(`\n${"-".repeat(80)}\n\n`));
