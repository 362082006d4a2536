// Checks Flux by InfluxData's own parser and type checker (npm @influxdata/flux-lsp-browser, WASM).
//   node flux.mjs NODE_MODULES < questions      one JSON string a line in, `valid` or `invalid` a line out
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const home = join(process.argv[2], '@influxdata/flux-lsp-browser');
// The package is made for bundlers, which import WASM; node is given it by hand.
const glue = readFileSync(join(home, 'flux-lsp-browser_bg.js'), 'utf8').replace(
  /^import \* as wasm from .*$/m,
  'let wasm = { memory: new WebAssembly.Memory({ initial: 1 }) };\n' +
    'export function attach(w) { wasm = w; cachedInt32Memory0 = new Int32Array(w.memory.buffer); cachedUint8Memory0 = new Uint8Array(w.memory.buffer); }',
);
const folder = mkdtempSync(join(tmpdir(), 'tramuntana-flux-'));
try {
  writeFileSync(join(folder, 'glue.mjs'), glue);
  const js = await import(pathToFileURL(join(folder, 'glue.mjs')));
  const bytes = readFileSync(join(home, 'flux-lsp-browser_bg.wasm'));
  const { instance } = await WebAssembly.instantiate(bytes, { './flux-lsp-browser_bg.js': js });
  js.attach(instance.exports);
  for (const line of readFileSync(0, 'utf8').split('\n').filter((l) => l)) {
    const question = new js.Flux(JSON.parse(line));
    console.log(question.is_valid() ? 'valid' : 'invalid');
    question.free();
  }
} finally {
  rmSync(folder, { recursive: true });
}
