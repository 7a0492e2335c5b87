// Attempts on the file system: by path, by another name for the same path, through /proc, through the Node layer, through databases and
// the runtime's own stores.

import fs from "node:fs";
import fsPromises from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import v8 from "node:v8";
import { type Attempt, firstEvent, Refused } from "./attempt.ts";

/** A path beside the manifest that no one else uses. */
let fresh = 0;
function freshPath(folder: string): string {
  return `${folder}/made_${fresh++}`;
}

/** All of them; each leaves the folder as it found it. */
export const FILE_ATTEMPTS: readonly Attempt[] = [
  {
    does: "reading a file beside the manifest",
    run: (t) => Deno.readTextFile(`${t.folder}/secret.txt`),
  },
  {
    does: "reading it synchronously",
    run: (t) => Deno.readTextFileSync(`${t.folder}/secret.txt`),
  },
  {
    does: "reading it by URL",
    run: (t) => Deno.readFile(new URL(`file://${t.folder}/secret.txt`)),
  },
  { does: "reading /etc/passwd", run: () => Deno.readFile("/etc/passwd") },
  {
    does: "opening a file to read",
    run: async (t) => (await Deno.open(`${t.folder}/secret.txt`)).close(),
  },
  {
    does: "reading the manifest again after start-up",
    late: true,
    run: (t) => Deno.readFile(t.manifest),
  },
  {
    does: "reading the manifest through a symbolic link",
    run: (t) => Deno.readFile(`${t.folder}/alias.jsonc`),
  },
  {
    does: "reading through a path that leaves a folder by dots",
    run: (t) => Deno.readFile(`${t.folder}/sub/../secret.txt`),
  },
  {
    does: "reading the manifest through /proc/self/root",
    run: (t) => Deno.readFile(`/proc/self/root${t.manifest}`),
  },
  {
    does: "reading /proc/self/environ",
    run: () => Deno.readFile("/proc/self/environ"),
  },
  { does: "reading /proc/self/cmdline", run: () => Deno.readFile("/proc/self/cmdline") },
  { does: "reading /proc/self/maps", run: () => Deno.readFile("/proc/self/maps") },
  {
    does: "opening /proc/self/mem to write",
    run: () => Deno.openSync("/proc/self/mem", { read: true, write: true }).close(),
  },
  { does: "reading /proc/net/tcp", run: () => Deno.readFile("/proc/net/tcp") },
  { does: "listing /proc/self/fd", run: () => [...Deno.readDirSync("/proc/self/fd")] },
  { does: "opening /dev/fd/0", run: () => Deno.openSync("/dev/fd/0").close() },
  { does: "reading /dev/null", run: () => Deno.readFile("/dev/null") },
  { does: "listing the folder", run: (t) => [...Deno.readDirSync(t.folder)] },
  { does: "asking what a file is", run: (t) => Deno.stat(`${t.folder}/secret.txt`) },
  {
    does: "asking what the engine's socket is after start-up",
    late: true,
    run: (t) => Deno.lstat(t.engineSocket),
  },
  { does: "resolving a path", run: (t) => Deno.realPath(`${t.folder}/secret.txt`) },
  { does: "reading a symbolic link", run: (t) => Deno.readLink(`${t.folder}/alias.jsonc`) },
  {
    does: "writing a file beside the socket",
    run: async (t) => {
      const path = freshPath(t.folder);
      await Deno.writeTextFile(path, "x");
      await Deno.remove(path);
    },
  },
  {
    does: "writing to shared memory",
    run: () => {
      const path = `/dev/shm/syncra_escape_${Deno.pid}`;
      Deno.writeTextFileSync(path, "x");
      Deno.removeSync(path);
    },
  },
  {
    does: "appending to the manifest",
    run: (t) => Deno.writeTextFile(t.manifest, "\n", { append: true }),
  },
  {
    does: "making a folder",
    run: async (t) => {
      const path = freshPath(t.folder);
      await Deno.mkdir(path);
      await Deno.remove(path);
    },
  },
  {
    does: "making a temporary file",
    run: async () => Deno.remove(await Deno.makeTempFile()),
  },
  {
    does: "making a temporary folder beside the manifest",
    run: (t) => Deno.removeSync(Deno.makeTempDirSync({ dir: t.folder })),
  },
  {
    does: "making a symbolic link from the granted socket's path to a secret",
    run: async (t) => {
      const path = `${t.engineSocket}.link`;
      await Deno.symlink(`${t.folder}/secret.txt`, path);
      await Deno.remove(path);
    },
  },
  {
    does: "making a hard link",
    run: async (t) => {
      const path = freshPath(t.folder);
      await Deno.link(`${t.folder}/secret.txt`, path);
      await Deno.remove(path);
    },
  },
  {
    does: "copying a secret over a file",
    run: (t) => Deno.copyFile(`${t.folder}/secret.txt`, `${t.folder}/victim.txt`),
  },
  {
    does: "moving the engine's socket away after start-up",
    late: true,
    run: (t) => {
      Deno.renameSync(t.engineSocket, `${t.engineSocket}.away`);
      Deno.renameSync(`${t.engineSocket}.away`, t.engineSocket);
    },
  },
  {
    does: "touching the engine's socket after start-up",
    late: true,
    run: (t) => Deno.utime(t.engineSocket, 1, 1),
  },
  { does: "changing a mode", run: (t) => Deno.chmod(`${t.folder}/victim.txt`, 0o600) },
  { does: "truncating a file", run: (t) => Deno.truncate(`${t.folder}/victim.txt`, 0) },
  {
    does: "removing a file",
    run: (t) => Deno.removeSync(`${t.folder}/removable.txt`),
  },
  { does: "watching the folder", run: (t) => Deno.watchFs(t.folder).close() },
  {
    does: "changing the current folder",
    run: (t) => {
      const before = Deno.cwd();
      Deno.chdir(t.folder);
      Deno.chdir(before);
    },
  },
  { does: "changing it through Node", run: () => process.chdir(process.cwd()) },
  {
    does: "reading by node:fs",
    run: (t) => fs.readFileSync(`${t.folder}/secret.txt`),
  },
  {
    does: "asking node:fs whether a file exists",
    run: (t) => {
      if (!fs.existsSync(`${t.folder}/secret.txt`)) throw new Refused("it says no");
    },
  },
  {
    does: "writing by node:fs/promises",
    run: async (t) => {
      const path = freshPath(t.folder);
      await fsPromises.writeFile(path, "x");
      await fsPromises.rm(path);
    },
  },
  {
    does: "streaming a file by node:fs",
    run: (t) => {
      const stream = fs.createReadStream(`${t.folder}/secret.txt`);
      stream.resume();
      return firstEvent(stream, "end");
    },
  },
  {
    does: "listing a folder by node:fs",
    run: (t) => fs.readdirSync(t.folder),
  },
  {
    does: "copying a folder by node:fs",
    run: (t) => {
      const path = freshPath(t.folder);
      fs.cpSync(`${t.folder}/sub`, path, { recursive: true });
      fs.rmSync(path, { recursive: true });
    },
  },
  {
    does: "fetching a file by its URL",
    run: async (t) => await (await fetch(`file://${t.folder}/secret.txt`)).text(),
  },
  {
    does: "opening a database file by node:sqlite",
    run: (t) => {
      const path = freshPath(t.folder);
      new DatabaseSync(path).close();
      Deno.removeSync(path);
    },
  },
  {
    does: "attaching a file to a database in memory",
    refusal: /too many attached databases/,
    run: (t) => {
      const path = freshPath(t.folder);
      const database = new DatabaseSync(":memory:");
      try {
        database.exec(`ATTACH '${path}' AS a; CREATE TABLE a.t (x)`);
      } finally {
        database.close();
      }
      Deno.removeSync(path);
    },
  },
  {
    does: "writing a database in memory into a file",
    refusal: /too many attached databases/,
    run: (t) => {
      const path = freshPath(t.folder);
      const database = new DatabaseSync(":memory:");
      try {
        database.exec(`CREATE TABLE t (x); VACUUM INTO '${path}'`);
      } finally {
        database.close();
      }
      Deno.removeSync(path);
    },
  },
  {
    does: "opening a key-value store at a path",
    refusal: /openKv is not a function/,
    run: async (t) => {
      const path = freshPath(t.folder);
      (await openKv(path)).close();
      for (const end of ["", "-shm", "-wal"]) {
        try {
          Deno.removeSync(path + end);
        } catch {
          // Not every store leaves all three.
        }
      }
    },
  },
  {
    does: "opening the key-value store at the runtime's own path",
    refusal: /openKv is not a function/,
    run: async () => (await openKv()).close(),
  },
  {
    does: "writing the heap into a file",
    run: (t) => {
      const path = freshPath(t.folder);
      v8.writeHeapSnapshot(path);
      Deno.removeSync(path);
    },
  },
  {
    does: "loading variables from a file",
    run: (t) => (process as unknown as NodeProcess).loadEnvFile(`${t.folder}/sub/variables`),
  },
  {
    does: "storing in localStorage, which the runtime keeps on disk",
    late: true,
    refusal: /localStorage is not defined/,
    run: () => {
      localStorage.setItem("escape", "x");
      localStorage.clear();
    },
  },
  {
    does: "storing in the HTTP cache, which the runtime keeps on disk",
    late: true,
    refusal: /caches is not defined/,
    run: async () => {
      await caches.open("escape");
      await caches.delete("escape");
    },
  },
];

interface NodeProcess {
  loadEnvFile(path: string): void;
}

function openKv(path?: string): Promise<{ close(): void }> {
  const { openKv } = Deno as unknown as {
    openKv?: (path?: string) => Promise<{ close(): void }>;
  };
  if (openKv === undefined) throw new TypeError("openKv is not a function");
  return openKv(path);
}
