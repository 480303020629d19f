import { describe, expect, test } from "vitest";
import { attr, file, listJoin, param, ref, stackTemplate, strReplace } from "../../src/template/builder.js";
import { parseTemplateValue } from "../../src/template/template.js";
import { template } from "./refusals.js";

describe("a template built in code", () => {
  const document = stackTemplate("a site")
    .parameter("port", { type: "number", default: 8080, label: "Port" })
    .parameter("secret", { type: "string", hidden: true })
    .resource("dir", "Local::Directory", { path: "/srv" }, { deletionPolicy: "Retain" })
    .resource("page", "Local::File", {
      path: listJoin("/", [attr("dir", "path"), "index.html"]),
      content: strReplace(file("page.html"), { $port: param("port"), $name: param("OS::stack_name") }),
    })
    .resource(
      "server",
      "Local::Process",
      { env: { PORT: param("port") }, files: [ref("page")] },
      { dependsOn: ["dir"] },
    )
    .output("url", strReplace("http://h:$p/", { $p: param("port") }), "where it is")
    .build();

  test("is the template that the same YAML is", () => {
    const files = { "page.html": "<p>" };
    const yaml = template(
      `
description: a site
parameters:
  port: {type: number, default: 8080, label: Port}
  secret: {type: string, hidden: true}
resources:
  dir: {type: Local::Directory, properties: {path: /srv}, deletion_policy: Retain}
  page:
    type: Local::File
    properties:
      path: {list_join: [/, [{get_attr: [dir, path]}, index.html]]}
      content:
        str_replace:
          template: {get_file: page.html}
          params: {$port: {get_param: port}, $name: {get_param: "OS::stack_name"}}
  server:
    type: Local::Process
    properties: {env: {PORT: {get_param: port}}, files: [{get_resource: page}]}
    depends_on: dir
outputs:
  url:
    value: {str_replace: {template: "http://h:$p/", params: {$p: {get_param: port}}}}
    description: where it is
`,
      files,
    );
    const built = parseTemplateValue(document, "site", files);
    expect({ ...built, locate: undefined }).toEqual({ ...yaml, locate: undefined });
  });

  test("an empty one is valid", () => {
    expect(parseTemplateValue(stackTemplate().build(), "empty").resources.size).toBe(0);
  });

  test("a name declared twice is refused rather than lost", () => {
    const twice = stackTemplate().resource("a", "T").resource("a", "U");
    expect(() => twice.build()).toThrow(new TypeError('"a" is declared twice'));
  });

  test("the compiler refuses names that are not declared", () => {
    const base = stackTemplate().parameter("p", { type: "string" }).resource("a", "T");
    base.resource("b", "T", { x: [ref("a"), { y: attr("a", "z", 0) }, param("p", "q")] });
    // @ts-expect-error there is no resource c
    base.resource("b", "T", { x: ref("c") });
    // @ts-expect-error nor deeper down
    base.resource("b", "T", { x: [{ y: attr("c", "z") }] });
    // @ts-expect-error nor within a function
    base.resource("b", "T", { x: strReplace("t", { t: ref("c") }) });
    // @ts-expect-error there is no parameter q
    base.output("o", listJoin("", [param("q")]));
    // @ts-expect-error there is no resource c to wait for
    base.resource("b", "T", {}, { dependsOn: ["c"] });
    // @ts-expect-error a function is no value
    base.resource("b", "T", { x: () => 1 });
  });
});
