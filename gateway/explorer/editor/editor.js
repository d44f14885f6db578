/** The editors of the explorer: CodeMirror with GraphQL and JSON. `build.mjs` bundles it. */

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { json, jsonParseLinter } from "@codemirror/lang-json";
import {
  HighlightStyle, bracketMatching, foldGutter, foldKeymap, indentOnInput, syntaxHighlighting,
} from "@codemirror/language";
import { lintKeymap, linter } from "@codemirror/lint";
import { EditorState } from "@codemirror/state";
import {
  EditorView, drawSelection, highlightActiveLine, hoverTooltip, keymap, lineNumbers, placeholder,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { getSchema, graphql, offsetToPos, updateSchema } from "cm6-graphql";
import { buildClientSchema } from "graphql";
import { getHoverInformation } from "graphql-language-service";

const THEME = EditorView.theme({
  "&": { height: "100%", color: "var(--ink)", backgroundColor: "var(--paper)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { font: "var(--code)", overflow: "auto" },
  ".cm-content": { caretColor: "var(--ink)", padding: ".5rem 0" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
  ".cm-gutters": { color: "var(--soft)", backgroundColor: "var(--paper)", border: "0", paddingLeft: ".25rem" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "transparent" },
  "&.cm-focused .cm-activeLine, &.cm-focused .cm-activeLineGutter": { backgroundColor: "var(--active)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    background: "var(--selection)",
  },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--selection)", color: "inherit" },
  ".cm-placeholder": { color: "var(--soft)" },
  ".cm-foldPlaceholder": { color: "var(--soft)", backgroundColor: "var(--ground)", borderColor: "var(--line)" },
  ".cm-tooltip": {
    color: "var(--ink)", backgroundColor: "var(--paper)", border: "1px solid var(--line)", borderRadius: "6px",
    boxShadow: "0 4px 16px rgb(0 0 0 / .18)", overflow: "hidden",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { font: "var(--code)", maxHeight: "16rem" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: ".15rem .6rem" },
  ".cm-tooltip-autocomplete > ul > li[aria-selected]": { color: "var(--paper)", backgroundColor: "var(--accent)" },
  ".cm-tooltip-autocomplete > ul > li[aria-selected] .cm-completionDetail": { color: "inherit" },
  ".cm-completionDetail": { color: "var(--soft)", fontStyle: "normal" },
  ".cm-completionMatchedText": { textDecoration: "none", fontWeight: "700" },
  ".cm-tooltip.cm-completionInfo, .cm-hover": {
    padding: ".4rem .7rem", maxWidth: "28rem", whiteSpace: "pre-wrap", font: "13px/1.45 system-ui, sans-serif",
  },
  ".cm-diagnostic": { font: "13px/1.45 system-ui, sans-serif", padding: ".4rem .7rem" },
  ".cm-diagnostic-error": { borderLeft: "3px solid var(--wrong)" },
}, {});

const COLOURS = syntaxHighlighting(HighlightStyle.define([
  { tag: [tags.keyword, tags.definitionKeyword, tags.modifier], color: "var(--code-keyword)" },
  { tag: tags.propertyName, color: "var(--code-field)" },
  { tag: tags.attributeName, color: "var(--code-argument)" },
  { tag: tags.variableName, color: "var(--code-variable)" },
  { tag: tags.atom, color: "var(--code-type)" },
  { tag: [tags.string, tags.special(tags.name)], color: "var(--code-string)" },
  { tag: [tags.number, tags.integer, tags.float, tags.bool, tags.null], color: "var(--code-number)" },
  { tag: [tags.comment, tags.lineComment], color: "var(--soft)" },
  { tag: [tags.punctuation, tags.paren, tags.brace, tags.separator], color: "var(--soft)" },
]));

/** What the schema says of the field, argument or type under the pointer. */
const FIELD_HOVER = hoverTooltip((view, position) => {
  const schema = getSchema(view.state);
  const text = schema && getHoverInformation(schema, view.state.doc.toString(), offsetToPos(view.state.doc, position));
  if (typeof text !== "string" || !text.trim()) return null;
  const dom = Object.assign(document.createElement("div"), { className: "cm-hover", textContent: text.trim() });
  return { pos: position, create: () => ({ dom }) };
});

const LANGUAGES = {
  graphql: ({ onShowInDocs }) => [graphql(undefined, { onShowInDocs }), FIELD_HOVER],
  json: ({ isReadOnly }) => [json(), isReadOnly ? [] : linter(lintVariables)],
};

const lintJson = jsonParseLinter();

/** No variables are fine as well. */
function lintVariables(view) {
  return view.state.doc.toString().trim() ? lintJson(view) : [];
}

/** Keys, without the one the page runs an operation by; Tab leaves the editor, as it leaves a field. */
const KEYS = [closeBracketsKeymap, defaultKeymap, historyKeymap, foldKeymap, completionKeymap, lintKeymap]
  .flat().filter(({ key }) => key !== "Mod-Enter");

/**
 * An editor in `parent`, which gets a shadow root: there styles need no permission of the page's policy.
 * `language` is `graphql` or `json`.
 */
export function createEditor({ parent, text, language, label, hint = "", isReadOnly = false, onChange, onShowInDocs }) {
  const root = parent.attachShadow({ mode: "open" });
  const editing = [history(), indentOnInput(), closeBrackets(), autocompletion(), highlightActiveLine()];
  const view = new EditorView({
    parent: root,
    root,
    state: EditorState.create({
      doc: text,
      extensions: [
        isReadOnly ? [] : lineNumbers(), foldGutter(), drawSelection(), bracketMatching(), EditorView.lineWrapping, keymap.of(KEYS),
        isReadOnly ? EditorState.readOnly.of(true) : editing,
        LANGUAGES[language]({ isReadOnly, onShowInDocs }), COLOURS, THEME, placeholder(hint),
        EditorView.contentAttributes.of({ "aria-label": label }),
        EditorView.updateListener.of((update) => update.docChanged && onChange?.(update.state.doc.toString())),
      ],
    }),
  });
  return {
    getText: () => view.state.doc.toString(),
    getCursor: () => view.state.selection.main.head,
    setText: (to) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: to }, selection: { anchor: 0 } }),
    /** Complete and check by the schema that an introspection query answered with. */
    setSchema: (introspection) => updateSchema(view, buildClientSchema(introspection)),
    focus: () => view.focus(),
  };
}
