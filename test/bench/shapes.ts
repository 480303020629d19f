/** The graphs that are measured. Names have one length, so that sizes can be compared. */

export interface Shape {
  name: string;
  /** What each resource depends on, by name. */
  nodes: ReadonlyMap<string, readonly string[]>;
}

const treeWidth = 10;
const dagLayers = 10;
const dagRequirements = 3;

export function nameOf(i: number): string {
  return `n${String(i).padStart(7, "0")}`;
}

/** Each node depends on its ten children, as in a flow: the leaves come first, the root last. */
export function tree(size: number): Shape {
  const nodes = new Map<string, string[]>();
  for (let i = 0; i < size; i += 1) {
    const first = treeWidth * i + 1;
    const children = Array.from({ length: Math.max(0, Math.min(treeWidth, size - first)) }, (_, k) =>
      nameOf(first + k),
    );
    nodes.set(nameOf(i), children);
  }
  return { name: "tree", nodes };
}

/** Ten layers; each node depends on three of the layer before. */
export function dag(size: number): Shape {
  const width = Math.max(dagRequirements, Math.floor(size / dagLayers));
  const nodes = new Map<string, string[]>();
  for (let i = 0; i < width * dagLayers; i += 1) {
    const layer = Math.floor(i / width);
    const before = Array.from({ length: layer === 0 ? 0 : dagRequirements }, (_, k) =>
      nameOf((layer - 1) * width + ((i * 7 + k * Math.ceil(width / dagRequirements)) % width)),
    );
    nodes.set(nameOf(i), [...new Set(before)]);
  }
  return { name: "DAG", nodes };
}

/** `changed`: the resource whose property is another than before. */
export function templateOf(shape: Shape, changed?: string): string {
  const resources: Record<string, object> = {};
  for (const [name, depends_on] of shape.nodes) {
    resources[name] = {
      type: "Bench::Nothing",
      properties: { text: name === changed ? "changed" : "as declared" },
      ...(depends_on.length === 0 ? {} : { depends_on }),
    };
  }
  return JSON.stringify({ resources });
}

/** A leaf of the tree. */
export function lastOf(shape: Shape): string {
  return nameOf(shape.nodes.size - 1);
}
