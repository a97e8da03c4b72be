// Compiles WGSL with Tint, with no GPU driver: Dawn's null backend reports the errors that Chrome would.
// node tint.mjs FILE_OR_FOLDER...   or, without arguments, {"files": [...], "features": [...], "limited": true} on stdin.
// Prints {path: ["line:column message", ...]}; an empty list is a good shader. Limits are WebGPU's defaults, if it is limited.

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);
const gpu = (globalThis.dawn = create(['backend=null'])); // collected while in use, it aborts

const shaders = (path) =>
  statSync(path).isDirectory()
    ? readdirSync(path, { recursive: true }).filter((name) => name.endsWith('.wgsl')).sort().map((name) => join(path, name))
    : [path];

async function errors(device, code) {
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  await device.popErrorScope();
  const found = messages.filter((m) => m.type === 'error').map((m) => `${m.lineNum}:${m.linePos} ${m.message}`);
  if (found.length || !limited) return found;
  try {
    // Binding counts, workgroup sizes and workgroup memory are known only here.
    await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
    return [];
  } catch (error) {
    return [error.message.split('\n')[0]];
  }
}

const given = process.argv.slice(2);
const { files, features = [], enables = [], limited = true } = given.length ? { files: given.flatMap(shaders) } : JSON.parse(readFileSync(0, 'utf8'));
const adapter = await gpu.requestAdapter();
const device = await adapter.requestDevice({ requiredFeatures: features });

const report = {};
for (const file of files) {
  const text = readFileSync(file, 'utf8');
  // naga refuses these lines and Tint requires them, so kernels leave them out and a loader puts them where wanted.
  report[file] = await errors(device, [...enables, text].join(' '));
}
process.stdout.write(`${JSON.stringify(report, null, 1)}\n`);
