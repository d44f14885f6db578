/** `npm install --no-package-lock && npm run build`: the editors as one file, its hash, and the licences in it. */

import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const OUT = new URL("../page/", import.meta.url);
const { dependencies } = JSON.parse(readFileSync("package.json", "utf8"));

const { metafile, outputFiles: [bundle] } = await build({
  entryPoints: ["editor.js"],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  define: { "process.env.NODE_ENV": '"production"' },
  metafile: true,
  write: false,
  outdir: "out",
});

const inputs = Object.keys(metafile.inputs).map((path) => path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]);
const names = [...new Set(inputs.filter(Boolean))].sort();
const licences = names.map((name) => {
  const { version, license } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
  if (dependencies[name] !== version) throw new Error(`${name} is ${version}: pin it in package.json.`);
  const file = readdirSync(`node_modules/${name}`).find((each) => /^licen[cs]e/i.test(each));
  const text = file ? readFileSync(`node_modules/${name}/${file}`, "utf8").trim() : "(the package has no licence file)";
  return `${name} ${version} (${license})\n\n${text}\n`;
});

const hash = createHash("sha256").update(bundle.contents).digest("hex");
writeFileSync(new URL("editor.js", OUT), bundle.contents);
writeFileSync(new URL("editor.js.sha256", OUT), `${hash}  editor.js\n`);
writeFileSync(new URL("editor.js.licenses.txt", OUT), licences.join(`\n${"-".repeat(80)}\n\n`));
console.log(`editor.js: ${bundle.contents.length} bytes, sha256 ${hash}, of ${names.length} packages`);
