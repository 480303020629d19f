/** Serves the files of a folder: `node server.js PORT FOLDER`. */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { basename, join } from "node:path";

const [port, folder] = process.argv.slice(-2);

const server = createServer(async (request, response) => {
  const name = basename(request.url ?? "") || "index.html";
  try {
    response.end(await readFile(join(folder, name)));
  } catch {
    response.writeHead(404).end("not here\n");
  }
});
server.listen(Number(port), "127.0.0.1", () => console.log(`serving ${folder} on port ${port}`));
