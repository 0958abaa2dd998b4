import {join} from 'node:path';
import ts from 'typescript';

const node = [ts.ModuleKind.NodeNext, ts.ModuleResolutionKind.NodeNext];
export const bundled = [ts.ModuleKind.ESNext, ts.ModuleResolutionKind.Bundler];

/** What the compiler says of files in a folder: for programs that Node runs and for bundled ones, or one of these kinds. */
export function typeErrors(dir, names, more = {}, kinds = [node, bundled]) {
  const parsed = new Map(); // both read the same declarations
  const faults = [];
  for (const [module, moduleResolution] of kinds) {
    const options = {noEmit: true, strict: true, skipDefaultLibCheck: true, target: ts.ScriptTarget.ES2022, lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts', 'lib.dom.asynciterable.d.ts'], types: [], module, moduleResolution, ...more};
    const host = ts.createCompilerHost(options);
    const read = host.getSourceFile;
    host.getSourceFile = (name, how) => {
      if (!name.includes('/typescript/lib/')) return read(name, how);
      if (!parsed.has(name)) parsed.set(name, read(name, how));
      return parsed.get(name);
    };
    const program = ts.createProgram(names.map((n) => join(dir, n)), options, host);
    for (const d of ts.getPreEmitDiagnostics(program)) {
      const at = d.file?.getLineAndCharacterOfPosition(d.start);
      faults.push(`${d.file?.fileName.slice(dir.length + 1)}:${at && at.line + 1}: ${ts.flattenDiagnosticMessageText(d.messageText, ' ')}`);
    }
  }
  return faults;
}
