// One supergraph for all: `node compose.mjs name=url=sdl-file …` prints it.
import { readFileSync } from "node:fs";
import { composeServices } from "@theguild/federation-composition";
import { parse } from "graphql";

const services = process.argv.slice(2).map((argument) => {
  const [name, url, file] = argument.split("=");
  return { name, url, typeDefs: parse(readFileSync(file, "utf8")) };
});
const composed = composeServices(services);
if (composed.errors?.length) throw new Error(composed.errors.map(String).join("\n"));
console.log(composed.supergraphSdl);
