// Writes a .br and a .gz beside each asset, so that the backend sends bytes as they lie and never compresses at run time.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const dist = fileURLToPath(new URL("../dist", import.meta.url));
const textual = new Set([".html", ".js", ".css", ".svg", ".json"]);
const firstLoad = { raw: 0, br: 0, gz: 0 };

for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !textual.has(extname(entry.name))) continue;
  const path = join(entry.parentPath, entry.name);
  const raw = readFileSync(path);
  const br = brotliCompressSync(raw, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: raw.length },
  });
  const gz = gzipSync(raw, { level: 9 });
  writeFileSync(`${path}.br`, br);
  writeFileSync(`${path}.gz`, gz);
  firstLoad.raw += raw.length;
  firstLoad.br += br.length;
  firstLoad.gz += gz.length;
}

const kb = (bytes) => `${(bytes / 1000).toFixed(0)} kB`;
console.log(`all assets: ${kb(firstLoad.raw)}, brotli ${kb(firstLoad.br)}, gzip ${kb(firstLoad.gz)}`);
const limit = 300_000;
if (firstLoad.gz > limit) {
  console.error(`the assets are larger than ${kb(limit)} after gzip: find what grew before raising the limit`);
  process.exit(1);
}
