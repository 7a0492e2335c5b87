// The driver starts no worker, so what a worker could do is only of interest to code that has taken a driver over. That code's attempts are in
// `attempts_process.ts`; here is that the product itself has none.

import { assert, assertEquals } from "@std/assert";
import { readText, sourceFiles } from "../repo/repository.ts";

Deno.test("no file of the product starts a worker", () => {
  const product =
    /^(mod\.ts|(protocol|permissions|replication|voice|session|engine|transport|driver)\/.*\.ts)$/;
  const starts = /\bnew\s+(globalThis\.)?(Shared)?Worker\b|worker_threads|navigator\.serviceWorker/;
  assert(starts.test('new Worker(new URL("./w.ts", import.meta.url))'), "it would be found");
  const found: string[] = [];
  let count = 0;
  for (const path of sourceFiles()) {
    if (!product.test(path)) continue;
    count += 1;
    if (starts.test(readText(path))) found.push(path);
  }
  assertEquals(found, []);
  assert(count > 150, `${count} files were looked at`);
});
