/** Strongly connected components: nodes that share a number lie on a common cycle. Tarjan's algorithm, iterative. */
export function componentOf(
  nodes: Iterable<string>,
  successors: (node: string) => Iterable<string>,
): Map<string, number> {
  const order = new Map<string, number>();
  const low = new Map<string, number>();
  const component = new Map<string, number>();
  const open: string[] = [];
  let components = 0;

  for (const root of nodes) {
    if (order.has(root)) continue;
    const path: { node: string; rest: Iterator<string> }[] = [];
    const enter = (node: string) => {
      order.set(node, order.size);
      low.set(node, order.size - 1);
      open.push(node);
      path.push({ node, rest: successors(node)[Symbol.iterator]() });
    };
    enter(root);
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const { node } = top;
      const next = top.rest.next();
      if (next.done !== true) {
        if (!order.has(next.value)) enter(next.value);
        else if (!component.has(next.value)) lower(low, node, order.get(next.value));
        continue;
      }
      path.pop();
      const parent = path.at(-1);
      if (parent !== undefined) lower(low, parent.node, low.get(node));
      if (low.get(node) !== order.get(node)) continue;
      for (let member = open.pop(); member !== undefined; member = open.pop()) {
        component.set(member, components);
        if (member === node) break;
      }
      components += 1;
    }
  }
  return component;
}

function lower(low: Map<string, number>, node: string, value: number | undefined): void {
  if (value !== undefined && value < (low.get(node) ?? Number.POSITIVE_INFINITY)) low.set(node, value);
}
