/** A web server of the widget's files (MNISTC_SITE) and of pages that the tests make up. */
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

export const folder = process.env.MNISTC_SITE;
export const noSite = folder && existsSync(join(folder, "mnistc.global.js")) ? undefined
  : "MNISTC_SITE is not a folder that `mnistc widget` wrote";

const TYPES = { ".js": "text/javascript", ".css": "text/css", ".json": "application/json",
  ".html": "text/html; charset=utf-8" };

export const page = (body, head = '<script src="/mnistc.global.js"></script>') =>
  `<!doctype html><html lang="en"><meta charset="utf-8"><title>Test</title>
   <meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
   ${head}<body>${body}</body></html>`;

/** serve({"/path": {body, headers, type}}) -> {url, requests, close()}. */
export async function serve(pages = {}) {
  const requests = [];
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () =>
      requests.push({ path: pathname, method: request.method, body: String(Buffer.concat(chunks)) }));
    const made = pages[pathname];
    const file = join(folder, normalize(pathname));
    if (made) {
      response.writeHead(made.status || 200, { "Content-Type": made.type || TYPES[".html"],
        ...made.headers });
      if (made.stream) made.stream(response);
      else response.end(made.body);
    } else if (existsSync(file) && statSync(file).isFile()) {
      response.writeHead(200, { "Content-Type": TYPES[extname(file)] || "application/octet-stream" });
      createReadStream(file).pipe(response);
    } else {
      response.writeHead(404).end("not found");
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  return { url, pages, requests, close: () => { server.closeAllConnections(); server.close(); } };
}
