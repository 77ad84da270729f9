import path from 'node:path';

// Next looks for lockfiles, and would take the outermost folder with one for its root.
export default { turbopack: { root: path.join(import.meta.dirname, '..') } };
