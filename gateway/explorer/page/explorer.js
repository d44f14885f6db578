const $ = (id) => document.getElementById(id);
const TYPE = "kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } }";
const INPUT = `name description defaultValue type { ${TYPE} }`;
const SCHEMA = `query Schema { __schema {
  queryType { name } mutationType { name } subscriptionType { name }
  types { kind name description specifiedByURL
    fields(includeDeprecated: true) { name description isDeprecated deprecationReason
      args { ${INPUT} } type { ${TYPE} } }
    inputFields { ${INPUT} } interfaces { ${TYPE} } possibleTypes { ${TYPE} }
    enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } }
  directives { name description locations args { ${INPUT} } } } }`;

const ROOTS = ["Query", "Mutation", "Subscription"];
const ROLES_OF_ONE_CUSTOMER = ["visitor", "app"];
const MAX_RESPONSES = 200;
const PANES = {
  query: { language: "graphql", label: "Operation", hint: "query { … }", onShowInDocs: showInDocs },
  variables: { language: "json", label: "Variables", hint: '{ "name": "value" }' },
  answer: { language: "json", label: "Answer", hint: "No data yet.", isReadOnly: true },
};

let types = new Map();
let examples = [];
let subscription = null;
const panes = {};

// --- panes -------------------------------------------------------------------------------------

/** A plain field that can what the page needs of an editor. */
function createField({ parent, text, label, hint = "", isReadOnly = false, onChange }) {
  const field = element("textarea", { className: "code", value: text, placeholder: hint, spellcheck: false, readOnly: isReadOnly });
  field.setAttribute("aria-label", label);
  field.addEventListener("input", () => onChange?.(field.value));
  parent.append(field);
  return {
    getText: () => field.value,
    getCursor: () => field.selectionStart,
    setText: (to) => { field.value = to; onChange?.(to); },
    setSchema: () => {},
    focus: () => field.focus(),
  };
}

async function loadEditor() {
  try {
    return (await import($("editor").href)).createEditor;
  } catch (error) {
    notify(`The editor has not loaded, so there is neither completion nor colour; all else works. (${error.message})`);
    return createField;
  }
}

async function openPanes() {
  const createEditor = await loadEditor();
  for (const [id, options] of Object.entries(PANES)) {
    const key = `raak.${id}`;
    const onChange = options.isReadOnly ? undefined : (text) => localStorage.setItem(key, text);
    const text = options.isReadOnly ? "" : localStorage.getItem(key) ?? "";
    panes[id] = createEditor({ parent: $(id), text, onChange, ...options });
  }
}

function notify(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

// --- requests ----------------------------------------------------------------------------------

function send(body, accept, { plan, signal } = {}) {
  const headers = { "Content-Type": "application/json", Accept: accept, "X-Raak-Cost": "1" };
  if (plan) headers["Apollo-Expose-Query-Plan"] = plan;
  const token = $("token").value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  return fetch(location.pathname, { method: "POST", headers, body: JSON.stringify(body), signal });
}

async function execute(body, plan) {
  const started = performance.now();
  const response = await send(body, "application/graphql-response+json", { plan });
  const answer = await response.json();
  return { answer, status: `${response.status} · ${Math.round(performance.now() - started)} ms` };
}

function operationAtCursor(text, cursor) {
  const operations = [...text.matchAll(/(?:^|[\s}])(query|mutation|subscription)(?:\s+([_A-Za-z]\w*))?\s*[({@]/g)];
  const [, kind, name] = operations.filter((match) => match.index <= cursor).pop() ?? operations[0] ?? [];
  return { isSubscription: kind === "subscription", name: operations.length > 1 ? name : undefined };
}

/** Show the responses of a subscription, the latest first, until it ends or is stopped. */
async function subscribe(body) {
  subscription = new AbortController();
  $("run").textContent = "Stop";
  $("run").disabled = false;
  display({}, "subscribed: waiting for the first response");
  const responses = [];
  try {
    const response = await send(body, "text/event-stream", { signal: subscription.signal });
    if (!response.headers.get("Content-Type").startsWith("text/event-stream")) {
      return display(await response.json(), `${response.status}`);
    }
    for await (const answer of readEvents(response.body.pipeThrough(new TextDecoderStream()))) {
      responses.unshift(`"${new Date().toLocaleTimeString()}"\n${JSON.stringify(answer, null, 2)}`);
      responses.length = Math.min(responses.length, MAX_RESPONSES);
      panes.answer.setText(responses.join("\n\n"));
      showErrors(answer.errors);
      $("status").textContent = `subscribed · ${responses.length} received`;
    }
    $("status").textContent = "ended by the gateway";
  } catch (error) {
    if (error.name !== "AbortError") throw error;
    $("status").textContent = "stopped";
  } finally {
    subscription = null;
    $("run").textContent = "Run";
  }
}

/** The responses in a stream of server-sent events. */
async function* readEvents(stream) {
  const reader = stream.getReader();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const events = (text + part.value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (data) yield JSON.parse(data.slice(6));
    }
  }
}

/** Run the operation, or only explain it: then nothing of it is executed. */
async function run({ isDry = false } = {}) {
  if (subscription && !isDry) return subscription.abort();
  const query = panes.query.getText();
  try {
    const text = panes.variables.getText().trim();
    const variables = text ? JSON.parse(text) : {};
    const { isSubscription, name } = operationAtCursor(query, panes.query.getCursor());
    const body = { query, variables, operationName: name };
    const isPlanOnly = isDry || isSubscription;
    $("run").disabled = true;
    const { answer, status } = await execute(body, isPlanOnly ? "dry-run" : "true");
    const { rest, plan, cost } = takeExtensions(answer);
    showPlan(plan);
    if (isSubscription && !isDry) return await subscribe(body);
    const spent = cost ? ` · cost ${cost.requested}` : "";
    $("status").title = cost ? `${cost.dearestCost} of it for ${cost.dearest}` : "";
    if (!isDry || rest.errors) return display(rest, status + spent);
    display({}, `planned, not run${spent}`);
  } catch (error) {
    const isJson = error instanceof SyntaxError;
    display({ errors: [{ message: error.message, extensions: isJson ? { code: "VARIABLES", hint: "They must be JSON, or empty." } : { code: "NO ANSWER" } }] }, "");
  } finally {
    $("run").disabled = false;
  }
}

/** Plan and cost come with a response, and are not part of what was asked. */
function takeExtensions({ extensions: { apolloQueryPlan: plan, cost, ...others } = {}, ...answer }) {
  return { plan, cost, rest: Object.keys(others).length ? { ...answer, extensions: others } : answer };
}

// --- answers -----------------------------------------------------------------------------------

function display(answer, status) {
  panes.answer.setText("data" in answer ? JSON.stringify({ ...answer, errors: undefined }, null, 2) : "");
  showErrors(answer.errors);
  $("status").textContent = status;
}

function showPlan(plan) {
  $("plan").textContent = plan?.text ?? "No query plan came: it takes a token, and an operation that may be answered.";
  $("plan").className = plan ? "" : "soft";
}

function showErrors(errors = []) {
  $("errors").hidden = !errors.length;
  $("errors").replaceChildren(...errors.map(errorItem));
}

function errorItem({ message, path, locations = [], extensions: { code, hint, service } = {} }) {
  const where = [path?.join("."), ...locations.map(({ line, column }) => `line ${line}, column ${column}`), service];
  const text = where.filter(Boolean).join(" · ");
  return element("li", {},
    element("code", { textContent: code ?? "ERROR" }), ` ${message}`,
    ...(hint ? [element("p", { textContent: hint })] : []),
    ...(text ? [element("div", { className: "where", textContent: text })] : []));
}

// --- tokens ------------------------------------------------------------------------------------

/** What a token says of itself; it is only shown, the gateway checks it. */
function readClaims(token) {
  try {
    const [, claims] = token.split(".");
    return JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return null;
  }
}

function showToken(token) {
  sessionStorage.setItem("raak.token", token);
  $("token").value = token;
  const claims = readClaims(token);
  const ends = claims && new Date(claims.exp * 1000);
  const time = ends?.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  $("owner").textContent = claims ? `${claims.role} until ${time}` : "";
}

async function makeToken(event) {
  event.preventDefault();
  const [type, value] = [$("identity-type").value.trim(), $("identity-value").value.trim()];
  const role = $("role").value;
  const body = ROLES_OF_ONE_CUSTOMER.includes(role) ? { role, customer: { type, value } } : { role };
  $("token-problem").textContent = "";
  try {
    const response = await fetch(`${location.pathname}/token`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    const { token, error } = await response.json();
    if (error) {
      $("token-problem").textContent = `${error.problem} ${error.hint}`;
      return;
    }
    showToken(token);
    $("token-form").hidePopover();
    if (!types.size) readSchema();
  } catch (error) {
    $("token-problem").textContent = `No answer: ${error.message}`;
  }
}

// --- examples ----------------------------------------------------------------------------------

async function readExamples() {
  examples = await (await fetch($("examples-file").href)).json();
  for (const role of new Set(examples.map((example) => example.role))) {
    const options = examples.flatMap((example, index) => example.role === role
      ? [element("option", { value: index, textContent: titleOf(example) })] : []);
    $("examples").append(element("optgroup", { label: `As ${role}` }, ...options));
  }
  if (!panes.query.getText().trim()) showExample(examples[0]);
}

function titleOf({ operation }) {
  return operation.match(/(?:query|mutation|subscription)\s+(\w+)/)[1].replaceAll(/(?<=[a-z])(?=[A-Z])/g, " ");
}

function showExample({ operation, variables, role }) {
  panes.query.setText(operation.trimEnd());
  panes.variables.setText(variables.trimEnd());
  $("role").value = role;
  showCustomer();
}

function showCustomer() {
  $("customer").hidden = !ROLES_OF_ONE_CUSTOMER.includes($("role").value);
}

// --- schema ------------------------------------------------------------------------------------

function typeLink(type) {
  if (type.kind === "NON_NULL") return [...typeLink(type.ofType), "!"];
  if (type.kind === "LIST") return ["[", ...typeLink(type.ofType), "]"];
  return [element("button", { className: "link", textContent: type.name, onclick: () => show([type.name]) })];
}

function description(item) {
  const deprecated = item.isDeprecated ? `Deprecated: ${item.deprecationReason}` : "";
  return [item.description, deprecated].filter(Boolean).map((textContent) => element("p", { textContent }));
}

function withComma(parts, index) {
  return index ? [", ", ...parts] : parts;
}

function signature(item) {
  const args = (item.args ?? []).flatMap((argument, index) => withComma(signature(argument), index));
  const defaultValue = [null, undefined, "null"].includes(item.defaultValue) ? [] : [` = ${item.defaultValue}`];
  const type = item.type ? [": ", ...typeLink(item.type), ...defaultValue] : [];
  return [item.name, ...(args.length ? ["(", ...args, ")"] : []), ...type];
}

function member(item) {
  return element("li", {}, element("code", {}, ...signature(item)), ...description(item));
}

function membersOf(type) {
  return type.fields ?? type.inputFields ?? type.enumValues ?? [];
}

function typeSection(name, isWanted = () => true) {
  const type = types.get(name);
  const possible = (type.possibleTypes ?? []).map((each) => element("li", {}, ...typeLink(each)));
  const list = element("ul", {}, ...membersOf(type).filter(isWanted).map(member), ...possible);
  return element("div", {}, element("h3", { textContent: name }), ...description(type), list);
}

function show(names) {
  $("filter").value = "";
  $("docs").replaceChildren(...names.filter((name) => types.has(name)).map((name) => typeSection(name)));
  $("docs").scrollTop = 0;
}

/** Where Ctrl + click in the operation leads: the field, and its type. */
function showInDocs(field, type = "", parentType = "") {
  const [parent, name] = [parentType, type].map((each) => each.replaceAll(/[[\]!]/g, ""));
  const sections = [
    ...(types.has(parent) ? [typeSection(parent, (item) => item.name === field)] : []),
    ...(types.has(name) ? [typeSection(name)] : []),
  ];
  if (sections.length) $("docs").replaceChildren(...sections);
  $("docs").scrollTop = 0;
}

function find() {
  const text = $("filter").value.trim().toLowerCase();
  if (!text) return show(ROOTS);
  const matches = (item) => item.name.toLowerCase().includes(text);
  const sections = [...types.values()].flatMap((type) => {
    if (matches(type)) return [typeSection(type.name)];
    return membersOf(type).some(matches) ? [typeSection(type.name, matches)] : [];
  });
  const nothing = element("p", { textContent: "Nothing in the schema is called so." });
  $("docs").replaceChildren(...(sections.length ? sections.slice(0, 40) : [nothing]));
}

function setEditorSchema(introspection) {
  try {
    panes.query.setSchema(introspection);
  } catch (error) {
    notify(`The editor cannot read this schema, so it neither completes nor checks. (${error.message})`);
  }
}

async function readSchema() {
  try {
    const { answer } = await execute({ query: SCHEMA });
    types = new Map(answer.data.__schema.types.filter(({ name }) => !name.startsWith("__")).map((type) => [type.name, type]));
    show(ROOTS);
    setEditorSchema(answer.data);
  } catch {
    $("docs").replaceChildren(element("p", { className: "wrong",
      textContent: "The schema cannot be read. Clear a token that has expired, and reload." }));
  }
}

// --- the page ----------------------------------------------------------------------------------

$("loading").hidden = true;
await openPanes();
showToken(sessionStorage.getItem("raak.token") ?? "");
$("token").oninput = () => showToken($("token").value.trim());
$("token-form").onsubmit = makeToken;
$("role").onchange = showCustomer;
$("examples").onchange = () => {
  if ($("examples").value) showExample(examples[$("examples").value]);
  $("examples").value = "";
};
$("run").onclick = () => run();
$("explain").onclick = () => run({ isDry: true });
$("home").onclick = () => show(ROOTS);
$("filter").oninput = find;
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter") { event.preventDefault(); run(); }
});
await Promise.all([readExamples(), readSchema()]);
panes.query.focus();
