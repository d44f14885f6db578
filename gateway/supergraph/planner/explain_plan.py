"""A query plan to look at: Sequence, Parallel, Flatten and Fetch, as Apollo and Hive show it.

The JSON is that of Apollo's `QueryPlan`, the text that of its `prettyFormatQueryPlan`. One thing is
ours: one request may fetch entities of several paths or types. Each of these is a Fetch, and those
with one `id` are one request; `alias` is the response key of its `_entities`.
"""

from collections.abc import Iterable
from itertools import count
from textwrap import indent
from typing import Any, TypeAlias

from graphql import (
    DocumentNode,
    FieldNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    print_ast,
)

from gateway.supergraph.planner.fetch_nodes import (
    FetchNode,
    RepresentationField,
    RepresentationSource,
)
from gateway.supergraph.planner.query_plan import PlanStage, PlanVariant
from gateway.supergraph.planner.selection_tree import Branch
from gateway.supergraph.supergraph import Supergraph
from gateway.supergraph.syntax import TYPENAME

JSON: TypeAlias = dict[str, Any]
TYPENAME_FIELD: JSON = {"kind": "Field", "name": TYPENAME}


def explain_plan(supergraph: Supergraph, variant: PlanVariant) -> JSON:
    """A plan as Apollo's JSON: nodes by their `kind`."""
    explainer = _Explainer(supergraph)
    primary = explainer.explain_fetch(variant.source_fetch) if variant.source_fetch else None
    node = _join("Sequence", [explainer.explain_stage(stage) for stage in variant.stages])
    if primary:
        node = {"kind": "Subscription", "primary": primary} | ({"rest": node} if node else {})
    return {"kind": "QueryPlan"} | ({"node": node} if node else {})


class _Explainer:
    def __init__(self, supergraph: Supergraph) -> None:
        self._supergraph = supergraph
        self._ids = count()

    def explain_stage(self, stage: PlanStage) -> JSON | None:
        """The fetches of a stage, each after those it depends on, and otherwise at once."""
        dependencies: dict[FetchNode, set[FetchNode]] = {fetch: set() for fetch in stage.fetches}
        for fetch in stage.fetches:
            for dependent in fetch.dependents:
                dependencies[dependent].add(fetch)
        done: set[FetchNode] = set()

        def explain_from(fetch: FetchNode) -> JSON | None:
            """A fetch, and after it those that depend on nothing else."""
            done.add(fetch)
            first = self.explain_fetch(fetch)
            own = [dependent for dependent in fetch.dependents if len(dependencies[dependent]) == 1]
            return _join("Sequence", [first, _join("Parallel", map(explain_from, own))])

        steps: list[JSON | None] = []
        while ready := [f for f in stage.fetches if f not in done and dependencies[f] <= done]:
            steps.append(_join("Parallel", map(explain_from, ready)))
        return _join("Sequence", steps)

    def explain_fetch(self, fetch: FetchNode) -> JSON | None:
        """One request to a subgraph: a Fetch at its path, or one for each source of entities."""
        operation = _operation_of(parse(fetch.operation))
        node: JSON = {
            "kind": "Fetch",
            "serviceName": fetch.subgraph,
            "variableUsages": list(fetch.variables),
            "operation": fetch.operation,
            "operationKind": operation.operation.value,
            "operationName": operation.name.value if operation.name else None,
        }
        if fetch.path:
            return self._flatten(fetch.path.branch, node)
        sources = [(found.alias, s) for found in fetch.entity_fetches for s in found.sources]
        if len(sources) > 1:
            node["id"] = next(self._ids)
        return _join("Parallel", [self._explain_source(node, *source) for source in sources])

    def _explain_source(self, node: JSON, alias: str, source: RepresentationSource) -> JSON:
        branch = source.path.branch
        types = (source.typename,) if source.typename else branch.types
        fields = [TYPENAME_FIELD, *map(_explain_field, source.fields)]
        requires = [_on_type(type_name, fields) for type_name in types]
        return self._flatten(branch, node | {"alias": alias, "requires": requires})

    def _flatten(self, branch: Branch, node: JSON) -> JSON:
        path = self._path_to(branch)
        return {"kind": "Flatten", "path": path, "node": node} if path else node

    def _path_to(self, branch: Branch) -> list[str]:
        """The keys to a branch, `@` for the items of a list, and its types if there are others."""
        position = branch.position
        parent = position.parent
        if parent is None:
            return []
        depth = self._supergraph.list_depth(parent.branch.types[0], parent.name)
        path = [*self._path_to(parent.branch), parent.subgraph_key, *("@" * depth)]
        if len(position.branches) > 1 and not branch.is_generic:
            path[-1] += f"|[{','.join(branch.types)}]"
        return path


def _join(kind: str, nodes: Iterable[JSON | None]) -> JSON | None:
    """Nodes in a Sequence or Parallel, unless there is only one; None if there is none."""
    parts = [
        part
        for node in nodes
        if node
        for part in (node["nodes"] if node["kind"] == kind else [node])
    ]
    return {"kind": kind, "nodes": parts} if len(parts) > 1 else parts[0] if parts else None


def _explain_field(field: RepresentationField) -> JSON:
    explained: JSON = {"kind": "Field", "name": field.name}
    if field.subgraph_key != field.name:
        explained["alias"] = field.subgraph_key
    if field.fields_by_type is not None:
        selections: list[JSON] = []
        for type_name, fields in field.fields_by_type.items():
            inner = [*map(_explain_field, fields)]
            selections += [_on_type(type_name, [TYPENAME_FIELD, *inner])] if type_name else inner
        explained["selections"] = selections
    return explained


def _on_type(type_name: str, selections: list[JSON]) -> JSON:
    return {"kind": "InlineFragment", "typeCondition": type_name, "selections": selections}


# As text


def print_plan(plan: JSON) -> str:
    return _block("QueryPlan", [_print_node(plan["node"])] if "node" in plan else [])


def _print_node(node: JSON) -> str:
    match node["kind"]:
        case "Fetch":
            text = _print_fetch(node)
        case "Flatten":
            text = _block(f'Flatten(path: "{".".join(node["path"])}")', [_print_node(node["node"])])
        case "Subscription":
            parts = [
                _block(f"{part.capitalize()}:", [_print_node(node[part])])
                for part in ("primary", "rest")
                if part in node
            ]
            text = _block("Subscription", [f"{part}," for part in parts])
        case kind:
            text = _block(kind, map(_print_node, node["nodes"]))
    return f"{text},"


def _print_fetch(node: JSON) -> str:
    document = parse(node["operation"])
    selected = _operation_of(document).selection_set
    head = f'Fetch(service: "{node["serviceName"]}"'
    head += f", id: {node['id']})" if "id" in node else ")"
    parts: list[str] = []
    if "requires" in node:
        selected = _entities_of(selected, node["alias"])
        parts.append(f"{_block('', map(_print_selection, node['requires']))} =>")
    parts += [print_ast(selected), *(f"\n{print_ast(d)}" for d in document.definitions[1:])]
    return _block(head, parts)


def _print_selection(selection: JSON) -> str:
    if selection["kind"] == "InlineFragment":
        head = f"... on {selection['typeCondition']}"
    else:
        alias = f"{selection['alias']}: " if "alias" in selection else ""
        head = f"{alias}{selection['name']}"
    inner = selection.get("selections")
    return _block(head, map(_print_selection, inner)) if inner else head


def _block(head: str, lines: Iterable[str]) -> str:
    body = "\n".join(indent(line, "  ") for line in lines)
    return f"{head} {{\n{body}\n}}".lstrip() if body else f"{head} {{}}"


def _entities_of(selections: SelectionSetNode, key: str) -> SelectionSetNode:
    """What is selected of the entities under a response key."""
    return next(
        field.selection_set
        for field in selections.selections
        if isinstance(field, FieldNode)
        and field.selection_set
        and key == (field.alias or field.name).value
    )


def _operation_of(document: DocumentNode) -> OperationDefinitionNode:
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    return operation
