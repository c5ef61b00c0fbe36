/**
 * Builds dist/ from src/: `node build.mjs`. With --check nothing is written, and a difference to
 * dist/ or a broken size budget is an error. Models are embedded by `mnistc widget`.
 */
import { build } from "esbuild";
import { minify } from "terser";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
const TARGET = ["safari13.1", "chrome80", "firefox78"];
const CODE_BUDGET = 12_000; // bytes, gzipped

const BANNER = "/*! mnistc, MIT */\n";

const options = {
  absWorkingDir: here, bundle: true, write: false, legalComments: "none",
  minifySyntax: true, minifyWhitespace: true, // names are left to Terser
  // What Safari lacked before 14.1 are corners of destructuring that are not used here.
  target: TARGET, supported: { destructuring: true }, charset: "ascii", outdir: dist,
  // Private by name, or used among these files only.
  mangleProps: /^(_[a-z].*|border|stride|ends|page|past|future|finish|put|ink|tell|thank|isEmpty|show|update|canvas|element|discard)$/,
};

/** Terser names variables so that gzip finds more to share: 5 % less. */
async function squeeze({ text }) {
  const compress = {
    passes: 5, unsafe: true, unsafe_arrows: true, pure_getters: true, conditionals: false,
  };
  const { code } = await minify(text, {
    ecma: 2018, compress, toplevel: true, module: true,
    format: { ascii_only: true },
  });
  return BANNER + code + "\n";
}

/** Scripts and the style sheet, name -> contents. */
async function bundle() {
  const plugins = [minifiedCss];
  const results = await Promise.all([
    build({ ...options, plugins, format: "esm",
      entryPoints: { core: "src/core.ts", mnistc: "src/mnistc.ts" } }),
    build({ ...options, plugins, format: "iife", entryPoints: { "mnistc.global": "src/global.ts" } }),
  ]);
  const files = { "mnistc.css": await minifyCss(join(here, "src", "mnistc.css")) + "\n" };
  for (const file of results.flatMap((result) => result.outputFiles)) {
    files[basename(file.path)] = await squeeze(file);
  }
  return files;
}

async function minifyCss(path) {
  const css = await build({ entryPoints: [path], minify: true, write: false, target: TARGET });
  return css.outputFiles[0].text.trim().replace(/([:,]) /g, "$1").replace(/"(\w+)"/g, "$1")
    .replace(/--(?!mnistc)(\w)\w+/g, "--$1");
}

/** The style sheet as a string, minified. */
const minifiedCss = {
  name: "minified-css",
  setup({ onLoad }) {
    onLoad({ filter: /\.css$/ }, async ({ path }) => {
      return { contents: await minifyCss(path), loader: "text" };
    });
  },
};

/** Files that are as they are in dist. */
const STATIC = ["core.d.ts", "mnistc.d.ts", "custom-elements.json", "index.html", "demo.js", "demo.css"];

async function outputs() {
  const files = await bundle();
  for (const name of STATIC) files[name] = await readFile(join(here, "src", "static", name), "utf8");
  return files;
}

function checkSizes(files) {
  let ok = true;
  for (const name of Object.keys(files).filter((file) => file.endsWith(".js"))) {
    const size = gzipSync(files[name], { level: 9 }).length;
    const good = size <= CODE_BUDGET;
    ok = ok && good;
    console.log(`${name}: ${files[name].length} bytes, ${size} gzipped${good ? "" : " (too big)"}`);
  }
  return ok;
}

async function sameAsDist(files) {
  const there = await readdir(dist);
  const wrong = there.filter((name) => !(name in files));
  for (const name of Object.keys(files)) {
    const old = await readFile(join(dist, name), "utf8").catch(() => null);
    if (old !== files[name]) wrong.push(name);
  }
  if (wrong.length) console.error(`dist differs from src: ${wrong.join(", ")} (npm run build)`);
  return !wrong.length;
}

async function main(args) {
  const files = await outputs();
  const ok = checkSizes(files);
  if (args.includes("--check")) {
    process.exitCode = (await sameAsDist(files)) && ok ? 0 : 1;
    return;
  }
  await mkdir(dist, { recursive: true });
  for (const name of Object.keys(files)) await writeFile(join(dist, name), files[name]);
  if (!ok) process.exitCode = 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));
