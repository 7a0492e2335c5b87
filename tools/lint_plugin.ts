// The house rules that need a syntax tree, as a plugin of `deno lint`: no I/O, clock or chance in core files, and the import order of
// the rooms. The tables are in house_rules.ts.

import { isCoreFile, judgeImport, OUTER_GLOBALS } from "./house_rules.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** Path relative to the repository root; lint gives absolute names, tests give relative ones. */
function relative(filename: string): string {
  return filename.startsWith(ROOT) ? filename.slice(ROOT.length) : filename;
}

/** True where an identifier only names a member, key or label and so refers to nothing outside. */
function isMereName(node: Deno.lint.Identifier): boolean {
  const parent = node.parent as {
    type: string;
    computed?: boolean;
    property?: unknown;
    key?: unknown;
    right?: unknown;
    value?: unknown;
    imported?: unknown;
    local?: unknown;
    exported?: unknown;
  };
  switch (parent.type) {
    case "MemberExpression":
      return parent.property === node && parent.computed !== true;
    case "TSQualifiedName":
      return parent.right === node;
    case "Property":
      return parent.key === node && parent.computed !== true &&
        parent.value !== node;
    case "MethodDefinition":
    case "PropertyDefinition":
    case "TSPropertySignature":
    case "TSMethodSignature":
    case "TSAbstractMethodDefinition":
    case "AccessorProperty":
      return parent.key === node && parent.computed !== true;
    case "TSEnumMember":
    case "LabeledStatement":
      return true;
    case "ExportSpecifier":
      return parent.exported === node && parent.local !== node;
    case "ImportSpecifier":
      return parent.imported === node && parent.local !== node;
    default:
      return false;
  }
}

/** True for `Math.floor` and its like; false for `Math.random` and for every form that could hide it. */
function isPlainMath(node: Deno.lint.Identifier): boolean {
  const parent = node.parent;
  return parent.type === "MemberExpression" && parent.object === node && !parent.computed &&
    parent.property.type === "Identifier" && parent.property.name !== "random";
}

/** The plugin; `deno.json` names it under `lint.plugins`. */
const plugin: Deno.lint.Plugin = {
  name: "syncra",
  rules: {
    "core-is-pure": {
      create(context) {
        if (!isCoreFile(relative(context.filename))) return {};
        return {
          Identifier(node) {
            if (isMereName(node)) return;
            if (node.name === "Math" && !isPlainMath(node)) {
              context.report({
                node,
                message: "core files must not use Math.random",
                hint:
                  "Take a seeded generator as an argument, and name the members of Math plainly.",
              });
            }
            if (!OUTER_GLOBALS.includes(node.name)) return;
            // The one of these words that is a usual name for a variable; a file that declares it does not mean the global.
            if (node.name === "self" && /\b(const|let) self\b/.test(context.sourceCode.text)) {
              return;
            }
            context.report({
              node,
              message: `core files must not use ${node.name}`,
              hint: "Take the time, a random number or the function as an argument.",
            });
          },
          ImportExpression(node) {
            context.report({
              node,
              message: "core files must not import while running",
              hint: "Import at the head of the file.",
            });
          },
        };
      },
    },
    "import-order": {
      create(context) {
        const from = relative(context.filename);
        function judge(node: Deno.lint.Node, source: Deno.lint.Expression | null): void {
          if (source?.type !== "Literal" || typeof source.value !== "string") return;
          const message = judgeImport(from, source.value);
          if (message !== undefined) context.report({ node, message });
        }
        return {
          ImportDeclaration: (node) => judge(node, node.source),
          ExportNamedDeclaration: (node) => judge(node, node.source),
          ExportAllDeclaration: (node) => judge(node, node.source),
          ImportExpression: (node) => judge(node, node.source),
        };
      },
    },
  },
};

export default plugin;
