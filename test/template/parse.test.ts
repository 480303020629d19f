import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { InvalidError } from "../../src/errors.js";
import { parseTemplateValue } from "../../src/template/template.js";
import { problemsOf, template } from "./refusals.js";

describe("what HOT allows is read as HOT means it", () => {
  test("a template with everything", () => {
    const parsed = template(
      `
heat_template_version: 2018-08-31
description: all of it
parameters:
  port: {type: number, default: "8080", label: Port, description: where it listens}
  secret: {type: string, hidden: true}
resources:
  base:
    type: Local::Directory
  site:
    type: Local::File
    description: the page
    depends_on: base
    deletion_policy: retain
    metadata: {owner: [me, {team: us}]}
    properties:
      path:
        str_replace:
          template: $dir/index-$port.html
          params:
            $dir: {get_attr: [dir, paths, 0]}
            $port: {get_param: port}
      content: {get_file: page.html}
      peers: [{list_join: [",", [{get_resource: other}], {get_param: [secret, a]}]}]
  dir: {type: Local::Directory, depends_on: []}
  other: {type: Local::File, depends_on: [dir, base, dir], deletion_policy: Delete}
outputs:
  where: {value: {get_attr: [site, path]}, description: the path}
`,
      { "page.html": "{get_param: port}" },
    );
    expect(parsed.description).toBe("all of it");
    expect(parsed.parameters.get("port")).toEqual({
      name: "port",
      type: "number",
      default: 8080,
      label: "Port",
      description: "where it listens",
      hidden: false,
    });
    expect(parsed.parameters.get("secret")).toEqual({ name: "secret", type: "string", hidden: true });
    expect([...parsed.resources.keys()]).toEqual(["base", "site", "dir", "other"]);
    expect(parsed.resources.get("site")).toMatchObject({
      type: "Local::File",
      dependsOn: ["base"],
      dependencies: ["base", "dir", "other"],
      deletionPolicy: "Retain",
      metadata: { owner: ["me", { team: "us" }] },
      properties: { content: "{get_param: port}" },
    });
    expect(parsed.resources.get("other")).toMatchObject({
      dependsOn: ["dir", "base"],
      dependencies: ["base", "dir"],
      deletionPolicy: "Delete",
    });
    expect(parsed.outputs.get("where")).toEqual({
      name: "where",
      description: "the path",
      value: { get_attr: ["site", "path"] },
    });
  });

  test.each([
    ["resources: {}", "an empty map"],
    ["resources:", "nothing after the colon"],
    ["resources: ~\nparameters:\noutputs: null", "null sections"],
    ["heat_template_version: 2013\nresources: {}", "a version that reads as a number"],
    ['{"resources": {}}', "JSON"],
    ['\uFEFF{\r\n\t"resources"\t: {}\r\n}\r\n', "JSON with a byte order mark, tabs and CRLF"],
    ["%YAML 1.2\n---\nresources: {}\n...\n", "explicit document markers"],
  ])("an empty template is valid: %j (%s)", (text) => {
    expect(template(text).resources.size).toBe(0);
  });

  test.each<[string, unknown, string]>([
    ["0644", "0644", "leading zero: YAML's versions disagree about its value, so it stays text"],
    ["007", "007", "the same without octal meaning"],
    ["0", 0, "zero has no leading zero"],
    ["0.5", 0.5, "nor has a fraction"],
    ["0o17", 15, "octal of YAML 1.2"],
    ["yes", "yes", "only true and false are booleans in YAML 1.2"],
    ["2018-08-31", "2018-08-31", "a date is text"],
    ["1e300", 1e300, "large, but not an integer that lost digits"],
    ["|\n        a\n        b", "a\nb\n", "a block"],
    ["{filter: x, if: y}", { filter: "x", if: "y" }, "names of functions beside each other are data"],
    ["{get_params: x}", { get_params: "x" }, "not a function's name"],
    ["[]", [], "empty list"],
  ])("a property %s is %j: %s", (text, value) => {
    const parsed = template(`resources:\n  a:\n    type: T\n    properties:\n      x: ${text}\n`);
    expect(parsed.resources.get("a")?.properties.x).toEqual(value);
  });

  test("YAML anchors are followed", () => {
    const parsed = template(`
resources:
  a: {type: T, properties: &p {x: [1, {get_resource: c}]}}
  b: {type: T, properties: *p}
  c: {type: T}
`);
    expect(parsed.resources.get("b")?.properties).toEqual({ x: [1, { get_resource: "c" }] });
    expect(parsed.resources.get("b")?.dependencies).toEqual(["c"]);
  });

  test.each([
    "constructor",
    "toString",
    "hasOwnProperty",
    "a b",
    "ü→",
    "0",
    "true",
    "a.b[0]",
    "x".repeat(255),
  ])("a resource may be called %s", (name) => {
    const text = JSON.stringify({
      resources: {
        [name]: { type: "T" },
        z: { type: "T", depends_on: name, properties: { a: { get_attr: [name, "x"] } } },
      },
      parameters: { [name]: { type: "string" } },
      outputs: { [name]: { value: { get_param: name } } },
    });
    expect(template(text).resources.get("z")?.dependencies).toEqual([name]);
  });

  test("dependencies are found wherever a function can stand", () => {
    const parsed = template(`
resources:
  a:
    type: T
    properties:
      deep: {x: [{y: {get_attr: [r1, p, {get_attr: [r2, q]}]}}]}
      text:
        str_replace:
          template: {list_join: ["", [{get_resource: r3}]]}
          params: {a: {str_replace: {template: x, params: {x: {get_resource: r4}}}}}
      path: {get_param: [m, {get_attr: [r5, key]}]}
  ${["r1", "r2", "r3", "r4", "r5"].map((name) => `${name}: {type: T}`).join("\n  ")}
parameters: {m: {type: json}}
`);
    expect(parsed.resources.get("a")?.dependencies).toEqual(["r1", "r2", "r3", "r4", "r5"]);
  });
});

describe("each problem is told with its line and column", () => {
  const inProperty = (value: string) => `resources:\n  a:\n    type: T\n    properties:\n      x: ${value}\n`;
  const property = "5:10";

  test.each([
    ["", ["1:1 a template must be a map, not nothing"], "no document at all"],
    ["just text", ["1:1 a template must be a map, not text"], "not a map"],
    ["[1]", ["1:1 a template must be a map, not a list"], "a list"],
    [
      "description: x",
      ['1:1 the template has no "resources" ("resources: {}" declares an empty stack)'],
      "none",
    ],
    ["resources: []", ["1:12 resources must be a map, not a list"], "a list of resources"],
    ["resources:\n  a:", ['2:3 resource "a" must be a map, not nothing'], "a resource without a body"],
    ["resources:\n  a: {}", ['2:3 resource "a" needs a type'], "no type"],
    ["resources:\n  a: {type: [T]}", ["2:13 the type of a resource must be a name"], "type of a wrong kind"],
    ["resource: {}\nresources:", ['1:1 unknown key "resource"; did you mean "resources"?'], "misspelt"],
    [
      "resources:\n  a:\n    type: T\n    propertys: {}",
      ['4:5 unknown key "propertys"; did you mean "properties"?'],
      "misspelt within a resource",
    ],
    ["resources: {}\nzzz: 1", ['2:1 unknown key "zzz"'], "unknown, with nothing near"],
    ["resources:\n  a: {type: T}\n  a: {type: T}", ['3:3 "a" is there twice'], "a duplicate key"],
    [
      '{"resources": {"a": {"type": "T", "type": "U"}}}',
      ['1:35 "type" is there twice'],
      "a duplicate key in JSON",
    ],
    ["resources:\n  1: {type: T}", ["2:3 a key must be text: put 1 in quotes"], "a number as key"],
    ["resources:\n  ? [a]\n  : {type: T}", ["2:5 a key must be text"], "a list as key"],
    ["resources:\n  __proto__: {type: T}", ["2:3 __proto__ cannot be used as a key"], "prototype"],
    ['{"resources": {"__proto__": {}}}', ["1:16 __proto__ cannot be used as a key"], "prototype in JSON"],
    ["resources:\n  <<: {}", ["2:3 merge keys (<<) are not supported yet"], "a merge key of YAML 1.1"],
    ["resources:\n  a/b: {type: T}", ["2:3 a name must not contain a slash"], "slash"],
    ['resources:\n  "": {type: T}', ["2:3 a name must not be empty"], "empty name"],
    [
      'resources:\n  "a\\nb": {type: T}',
      ["2:3 a name must not contain control characters"],
      "control character",
    ],
    [
      `resources:\n  ${"x".repeat(256)}: {type: T}`,
      ["2:3 a name must not be longer than 255 characters"],
      "one character too many",
    ],
    [
      '{"resources": {"\\ud800": {"type": "T"}}}',
      ["1:16 a name must be well-formed Unicode"],
      "half a character",
    ],
    [
      "resources:\n  a: {type: T, depends_on: bc}\n  bb: {type: T}",
      ['2:28 there is no resource "bc"; did you mean "bb"?'],
      "depends_on what is not there",
    ],
    [
      "resources:\n  a: {type: T, depends_on: [a, {get_param: x}]}",
      [
        '2:29 resource "a" refers to itself: a → a',
        "2:32 depends_on must be the name of a resource, or a list of names",
      ],
      "depends_on itself, and a function",
    ],
    [
      "resources:\n  a: {type: T, deletion_policy: Snapshot}\n  b: {type: T, deletion_policy: Keep}",
      [
        "2:33 deletion policy Snapshot is not supported yet",
        "3:33 the deletion policy must be Delete or Retain",
      ],
      "deletion policies",
    ],
    [
      "resources:\n  a:\n    type: T\n    metadata: {x: [{get_param: p}]}",
      ["4:21 get_param in metadata is not supported yet"],
      "a function in metadata",
    ],
    [
      "resources:\n  a:\n    type: T\n    properties: {get_param: p}",
      ["4:18 get_param for all properties is not supported yet"],
      "a function in place of the properties",
    ],
    ["resources:\noutputs:\n  o: {}", ['3:3 output "o" needs a value'], "an output without value"],
    ["resources:\nparameters:\n  p:", ['3:3 parameter "p" must be a map, not nothing'], "an empty parameter"],
    [
      "resources:\nparameters:\n  p: {type: strng}",
      [
        '3:13 "strng" is not one of string, number, boolean, json, comma_delimited_list; did you mean "string"?',
      ],
      "an unknown parameter type",
    ],
    [
      "resources:\nparameters:\n  p: {default: 1}",
      ["3:3 a parameter needs a type: string, number, boolean, json, comma_delimited_list"],
      "no parameter type",
    ],
    [
      "resources:\nparameters:\n  p: {type: number, default: x}",
      ["3:30 the default is not a number"],
      "a default of the wrong type",
    ],
    [
      "resources:\nparameters:\n  p: {type: string, default: 1.10}",
      ["3:30 the default is a number: put it in quotes"],
      "a text that YAML took for a number, and shortened",
    ],
    [
      "resources:\nparameters:\n  OS::p: {type: string}",
      ["3:3 names with OS:: are reserved"],
      "a pseudo parameter's name",
    ],
    [
      "resources:\n  a: {type: T\n",
      ["3:1 Flow map in block collection must be sufficiently indented and end with a }"],
      "YAML",
    ],
    [
      "resources: {}\n---\na: 1",
      ["2:1 a template is one YAML document: there is a second one here"],
      "two documents",
    ],
    ["resources: *x", ["1:12 there is no anchor &x before this"], "an alias of nothing"],
    [inProperty("&x [*x]"), ["5:14 *x contains itself"], "an alias within its anchor"],
    [inProperty("!secret x"), [`${property} Unresolved tag: !secret`], "a tag of one's own"],
    [
      inProperty("!!binary aGk="),
      ["5:19 this YAML value has no counterpart in JSON: put it in quotes"],
      "a binary",
    ],
    [inProperty(".inf"), [`${property} .inf is not a number that JSON can hold`], "infinity"],
    [
      inProperty("12345678901234567890"),
      [`${property} 12345678901234567890 is too large to be kept exactly: put it in quotes`],
      "an integer that would lose digits",
    ],
    [inProperty("{get_param: p}"), ['5:22 parameter "p" is not declared'], "an undeclared parameter"],
    [
      inProperty("{get_param: [OS::stack_nam, 0]}"),
      ['5:23 parameter "OS::stack_nam" is not declared; did you mean "OS::stack_name"?'],
      "a misspelt pseudo parameter",
    ],
    [
      inProperty("{get_param: OS::project_id}"),
      ["5:22 OS::project_id is not supported yet"],
      "no projects here",
    ],
    [
      inProperty("{get_param: []}"),
      ["5:22 get_param needs the name of a parameter, or a list of the name and a path"],
      "no parameter name",
    ],
    [
      inProperty("{get_param: [OS::stack_id, [a], 1.5]}"),
      [
        "5:37 a step of a path must be a key or the index of a list",
        "5:42 a step of a path must be a key or the index of a list",
      ],
      "steps of wrong kinds",
    ],
    [inProperty("{get_resource: a}"), ['5:25 resource "a" refers to itself: a → a'], "self reference"],
    [inProperty("{get_resource: [a]}"), ["5:25 get_resource needs the name of a resource"], "wrong argument"],
    [
      inProperty("{get_attr: a}"),
      ["5:21 get_attr needs a list: the name of a resource, an attribute, and possibly a path"],
      "get_attr with a name alone",
    ],
    [inProperty("{get_attr: [b, x]}"), ['5:22 there is no resource "b"'], "attribute of what is not there"],
    [inProperty("{get_file: f.txt}"), ['5:21 file "f.txt" is not there'], "a file that was not bundled"],
    [
      inProperty("{get_file: {get_param: OS::stack_id}}"),
      ["5:21 get_file needs the name of a file"],
      "computed",
    ],
    [
      inProperty("{str_replace: {template: [x], param: {}, params: [1]}}"),
      [
        "5:35 the template of str_replace must be text",
        '5:40 unknown key "param"; did you mean "params"?',
        "5:59 the params of str_replace must be a map",
      ],
      "str_replace: all at once",
    ],
    [inProperty("{str_replace: x}"), ["5:24 str_replace needs a map with template and params"], "not a map"],
    [
      inProperty('{str_replace: {template: x, params: {"": y}}}'),
      ["5:47 str_replace cannot replace the empty text"],
      "the empty placeholder",
    ],
    [
      inProperty("{list_join: [[], {a: b}, 3]}"),
      [
        "5:23 the delimiter of list_join must be text",
        "5:27 list_join joins lists: this is none",
        "5:35 list_join joins lists: this is none",
      ],
      "list_join: all at once",
    ],
    [
      inProperty("\n        get_param: p\n        other: 1"),
      ["6:9 get_param is a function: it must be the only key of its map"],
      "a function beside data, as bad indentation makes it",
    ],
  ])("%j", (text, expected, _reason) => {
    expect(problemsOf(() => template(text))).toEqual(expected);
  });

  test("all problems at once, in the order of the file", () => {
    const text = `
outputs:
  o: {value: {get_resource: nothing}}
parameters:
  p: {type: number, default: x}
resources:
  a: {type: T, propertys: {}}
  b:
    type: T
    3: x
    properties: {x: {yaql: 1}, y: {get_param: q}}
`;
    expect(problemsOf(() => template(text))).toEqual([
      '3:29 there is no resource "nothing"',
      "5:30 the default is not a number",
      '7:16 unknown key "propertys"; did you mean "properties"?',
      "10:5 a key must be text: put 3 in quotes",
      "11:22 yaql is not supported yet",
      '11:47 parameter "q" is not declared',
    ]);
  });

  test("JSON gives the same places", () => {
    const text =
      '{\n  "resources": {\n    "a": {"type": "T", "properties": {"x": {"get_param": "no"}}}\n  }\n}';
    expect(problemsOf(() => template(text))).toEqual(['3:58 parameter "no" is not declared']);
  });

  test("a problem within an alias is told where the anchor is", () => {
    const text = "resources:\n  a: &a {type: T, properties: {n: .nan}}\n  b: *a\n";
    expect(problemsOf(() => template(text))).toEqual(["2:35 .nan is not a number that JSON can hold"]);
  });

  test("later checks can ask for a place, of a value and of its key", () => {
    const { locate } = template(
      "resources:\n  a:\n    type: T\n    properties:\n      x:\n        - 1\n        - two\n",
    );
    const path = ["resources", "a", "properties", "x"];
    expect(locate(path)).toEqual({ file: "t.yaml", line: 6, column: 9 });
    expect(locate(path, "key")).toEqual({ file: "t.yaml", line: 5, column: 7 });
    expect(locate([...path, 1])).toEqual({ file: "t.yaml", line: 7, column: 11 });
    expect(locate([...path, 7, "nowhere"]), "the nearest that there is").toEqual(locate(path));
    expect(locate([])).toEqual({ file: "t.yaml", line: 1, column: 1 });
  });
});

describe("whatever else HOT knows is refused by name", () => {
  const functions = [
    "and",
    "contains",
    "digest",
    "equals",
    "filter",
    "if",
    "list_concat",
    "list_concat_unique",
    "make_url",
    "map_merge",
    "map_replace",
    "not",
    "or",
    "repeat",
    "resource_facade",
    "str_replace_strict",
    "str_replace_vstrict",
    "str_split",
    "yaql",
    "Ref",
    "Fn::GetAtt",
    "Fn::Join",
    "Fn::Whatever",
  ];
  test.each(functions)("function %s", (name) => {
    const value = `resources:\n  a:\n    type: T\n    properties:\n      x: [{y: {"${name}": [1]}}]`;
    expect(problemsOf(() => template(value))).toEqual([`5:16 ${name} is not supported yet`]);
    const output = `resources:\noutputs:\n  o:\n    value: {"${name}": {}}`;
    expect(problemsOf(() => template(output))).toEqual([`4:13 ${name} is not supported yet`]);
    const metadata = `resources:\n  a:\n    type: T\n    metadata: {x: {"${name}": {}}}`;
    expect(problemsOf(() => template(metadata))).toEqual([`4:20 ${name} is not supported yet`]);
    const properties = `resources:\n  a:\n    type: T\n    properties: {"${name}": {}}`;
    expect(problemsOf(() => template(properties))).toEqual([`4:18 ${name} is not supported yet`]);
  });

  test.each([
    ["conditions: {}\nresources:", "1:1 conditions"],
    ["parameter_groups: []\nresources:", "1:1 parameter_groups"],
    ["resource_registry: {}\nresources:", "1:1 resource_registry"],
    ["resources:\n  a:\n    type: T\n    condition: c", "4:5 condition"],
    ["resources:\n  a:\n    type: T\n    update_policy: {}", "4:5 update_policy"],
    ["resources:\n  a:\n    type: T\n    external_id: x", "4:5 external_id"],
    ["resources:\n  a:\n    type: T\n    Fn::Transform: x", "4:5 Fn::Transform"],
    ["resources:\noutputs:\n  o:\n    value: 1\n    condition: c", "5:5 condition"],
    ["resources:\nparameters:\n  p:\n    type: string\n    constraints: []", "5:5 constraints"],
    ["resources:\nparameters:\n  p:\n    type: string\n    immutable: true", "5:5 immutable"],
    ["resources:\nparameters:\n  p:\n    type: string\n    tags: []", "5:5 tags"],
  ])("%j", (text, expected) => {
    expect(problemsOf(() => template(text))).toEqual([`${expected} is not supported yet`]);
  });
});

describe("a template's document as a value is checked as its text is", () => {
  test("problems name the path", () => {
    const document = {
      resources: {
        "a.b": { type: "T", properties: { list: [1, { get_param: "p" }], n: Number.NaN, f: () => 1 } },
      },
    };
    expect(problemsOf(() => parseTemplateValue(document, "stack"))).toEqual([
      'stack: resources["a.b"].properties.n: NaN is not a JSON value',
      'stack: resources["a.b"].properties.f: function is not a JSON value',
      'stack: resources["a.b"].properties.list[1].get_param: parameter "p" is not declared',
    ]);
  });

  test("undefined counts as absent, a date as its day", () => {
    const document = { heat_template_version: new Date("2018-08-31"), description: undefined, resources: {} };
    expect(parseTemplateValue(document, "stack").description).toBeUndefined();
  });

  test("the same document gives the same template in all three forms", () => {
    const document = {
      parameters: { p: { type: "json", default: { a: [1, true, null] } } },
      resources: { a: { type: "T", properties: { x: { get_attr: ["b", "y", 0] } } }, b: { type: "T" } },
      outputs: { o: { value: { get_param: ["p", "a", 1] } } },
    };
    const strip = (parsed: object) => ({ ...parsed, locate: undefined });
    const json = JSON.stringify(document);
    expect(strip(template(json))).toEqual(strip(parseTemplateValue(document, "v")));
    expect(strip(template(`# YAML\n${json}`))).toEqual(strip(template(json)));
  });
});

describe("hostile input is refused in bounded time", () => {
  const levels = Array.from({ length: 40 }, (_, level) => level);

  test("an alias bomb", () => {
    const lines = levels.map(
      (level) => `    k${level}: &a${level} [${level === 0 ? "x" : `*a${level - 1}, *a${level - 1}`}]`,
    );
    const text = `resources:\n  a:\n    type: T\n    properties:\n${lines.map((line) => `  ${line}`).join("\n")}`;
    expect(problemsOf(() => template(text)).join()).toMatch(/aliases expand to more than 1000000 values/);
  });

  test("a value that shares itself exponentially, and one that contains itself", () => {
    const bomb = levels.reduce<unknown>((value) => [value, value], ["x"]);
    const problems = problemsOf(() => parseTemplateValue({ resources: {}, x: bomb }, "v"));
    expect(problems.join()).toMatch(/shared objects expand to more than 1000000 values/);
    const loop: { self?: unknown } = {};
    loop.self = loop;
    expect(problemsOf(() => parseTemplateValue(loop, "v")).join()).toMatch(/nested deeper than 100 levels/);
  });

  test.each([
    ["[".repeat(1000) + "]".repeat(1000), "lists"],
    ["[".repeat(100_000), "lists without end"],
    [`${'{"a":'.repeat(50_000)}1${"}".repeat(50_000)}`, "JSON"],
    ["- ".repeat(20_000), "block lists"],
  ])("deep nesting %#", (text) => {
    expect(problemsOf(() => template(text))).not.toEqual([]);
  });

  test("100,000 unknown references", () => {
    const names = Array.from({ length: 100_000 }, (_, index) => [
      `r${index}`,
      { type: "T", depends_on: `q${index}` },
    ]);
    const text = JSON.stringify({ resources: Object.fromEntries(names) });
    expect(problemsOf(() => template(text))).toHaveLength(100_000);
  });
});

describe("nothing but InvalidError ever comes out", () => {
  const snippets = fc.constantFrom(
    "resources",
    "parameters",
    "outputs",
    "type",
    "properties",
    "depends_on",
    "default",
    "value",
    "hidden",
    "get_param",
    "get_attr",
    "get_resource",
    "get_file",
    "str_replace",
    "list_join",
    "template",
    "params",
    "if",
    ": ",
    ":",
    "\n",
    "\n  ",
    "\n    ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "- ",
    "? ",
    "&a ",
    "*a",
    "|",
    ">",
    "'",
    '"',
    "#",
    "!!str ",
    "!x ",
    "%YAML 1.1\n",
    "---\n",
    "...\n",
    "~",
    "0644",
    ".inf",
    "\t",
    "\u0000",
    "\ud800",
    "a",
    "1",
    "<<",
  );

  function survives(action: () => unknown): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      for (const problem of error.problems) expect(problem.file).toBeTruthy();
    }
  }

  test("from YAML-like text", () => {
    const text = fc.array(snippets, { maxLength: 60 }).map((parts) => parts.join(""));
    fc.assert(
      fc.property(text, (each) => survives(() => template(each))),
      { numRuns: 3000 },
    );
  });

  test("from any text", () => {
    const text = fc.string({ unit: "binary", maxLength: 200 });
    fc.assert(
      fc.property(text, (each) => survives(() => template(each))),
      { numRuns: 1000 },
    );
  });

  test("from any value, nor from its text, where each problem has a line", () => {
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: "medium" },
        fc.jsonValue(),
        tie("map"),
        fc.array(tie("value"), { maxLength: 3 }),
      ),
      map: fc.dictionary(fc.oneof(snippets, fc.string()), tie("value"), { maxKeys: 4 }),
    }));
    const shaped = fc.record(
      {
        resources: fc.dictionary(
          fc.string(),
          fc.record({ type: fc.string(), properties: value, depends_on: value }, { requiredKeys: [] }),
        ),
        outputs: value,
        parameters: value,
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(shaped, value, fc.anything()), (each) => {
        survives(() => parseTemplateValue(each, "value"));
        const text = JSON.stringify(each);
        if (text === undefined) return;
        for (const problem of problemsOf(() => template(text))) expect(problem).toMatch(/^\d+:\d+ /);
      }),
      { numRuns: 1000 },
    );
  });
});
