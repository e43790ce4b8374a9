"""What the program can say in English, read from its source: every sentence with `{}` where something is filled in.

A sentence that is put together has several readings: each branch of a conditional, each value of a local name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path

import cutaway

SOURCE = Path(cutaway.__file__).parent
_MOST = 64  # readings of one expression

Known = Mapping[str, Sequence[ast.expr]]


def readings(node: ast.expr, known: Known, depth: int = 4) -> list[str]:
    """All that an expression may say; "{}" for what only the running program knows."""
    parts: list[list[str]] = [["{}"]]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        parts = [[node.value]]
    elif isinstance(node, ast.JoinedStr):
        parts = [readings(part, known, depth) for part in node.values]
    elif isinstance(node, ast.FormattedValue) and node.format_spec is None:
        parts = [readings(node.value, known, depth)]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = [readings(node.left, known, depth), readings(node.right, known, depth)]
        parts = parts if sides == [["{}"], ["{}"]] else sides  # numbers
    elif isinstance(node, ast.IfExp):
        parts = [[*readings(node.body, known, depth), *readings(node.orelse, known, depth)]]
    elif isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        parts = [[one for value in node.values for one in readings(value, known, depth)]]
    elif isinstance(node, ast.Name) and depth and node.id in known:
        parts = [[one for value in known[node.id] for one in readings(value, known, depth - 1)]]
    elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict):
        parts = [[one for value in node.value.values for one in readings(value, known, depth)]]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        parts = [_called(node, known, depth)]
    found = dict.fromkeys("".join(one) for one in product(*parts))
    return list(found)[:_MOST]


def _called(node: ast.Call, known: Known, depth: int) -> list[str]:
    """The two methods that make one text of another."""
    assert isinstance(node.func, ast.Attribute)
    texts = readings(node.func.value, known, depth)
    if node.func.attr == "format" and texts != ["{}"]:
        return [re.sub(r"{[^}]*}", "{}", text) for text in texts]
    if node.func.attr == "replace" and len(node.args) == 2:
        old, new = (getattr(argument, "value", "") for argument in node.args)
        return [text.replace(str(old), str(new)) for text in texts] if texts != ["{}"] else texts
    return ["{}"]


def assigned(tree: ast.AST) -> dict[str, list[ast.expr]]:
    """The expressions that each name stands for; a name that anything else may set is left out."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                for name, value in _pairs(target, node.value):
                    found.setdefault(name, []).append(value)
    return found


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=False):
            yield from _pairs(one, its)
    elif isinstance(target, ast.Tuple):
        for one in target.elts:
            yield from _pairs(one, ast.Constant(None))


@cache
def functions() -> tuple[tuple[str, ast.AST, Known], ...]:
    """Each function of the source, and each module's own lines: its file, it, what names stand for."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        inner = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        top = ast.Module([node for node in module.body if isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr)], [])
        shared = assigned(top)
        for node in (top, *inner):
            found.append((str(path.relative_to(SOURCE)), node, {**shared, **assigned(node)}))
    return tuple(found)


@cache
def _calls() -> dict[str, list[tuple[str, ast.Call, Known]]]:
    found: dict[str, list[tuple[str, ast.Call, Known]]] = {}
    for place, node, known in functions():
        for call in ast.walk(node):
            if isinstance(call, ast.Call):
                found.setdefault(_name(call.func), []).append((f"{place}:{call.lineno}", call, known))
    return found


def calls(room: str, *names: str) -> Iterator[tuple[str, ast.Call, Known]]:
    """The calls of functions or classes of these names in a room."""
    return (one for name in names for one in _calls().get(name, []) if one[0].startswith(room))


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def of_the_doctor() -> dict[str, str]:
    """What findings say: each sentence and where; with the names of their figures and charts."""
    found: dict[str, str] = {}
    for place, call, known in calls("doctor/rules", "say"):
        words = {word.arg: word.value for word in call.keywords}
        for node in (call.args[1], words["cause"], words["remedy"]):
            found |= dict.fromkeys(readings(node, known), place)
        figures = words.keys() - {"cause", "remedy", "chart"}
        found |= {str(name): place for name in figures}
    for place, call, known in calls("doctor/rules", "line_chart", "_by_layer"):
        for node in call.args[:3]:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= dict.fromkeys(readings(node, known), place)
    for place, node, known in functions():
        for told in _returned(node) if place.startswith("doctor/rules") else ():
            found |= {text: place for text in readings(told, known) if " " in text}
    return {text: place for text, place in found.items() if text.strip(" {}")}


def _returned(node: ast.AST) -> Iterator[ast.expr]:
    """The texts that a function returns among others."""
    for one in ast.walk(node):
        if isinstance(one, ast.Return) and isinstance(one.value, ast.Tuple):
            yield from one.value.elts


def everything() -> set[str]:
    """All readings of all expressions of the source."""
    return {
        text
        for _, node, known in functions()
        for one in ast.walk(node)
        if isinstance(one, ast.Constant | ast.JoinedStr | ast.BinOp | ast.IfExp | ast.Call)
        for text in readings(one, known)
    }


ROOMS = ("computing", "lenses", "scope", "data", "models", "training", "runs")
NOTED = re.compile("note|warn|reason|problem|missed")
# Functions that return notes, or words of which notes are made.
_NOTERS = re.compile(
    "note|warn|overlap|two_class|outweighed|silent|_precision|adapt|fit_head|kept_after|^(missing|reason)$|_kind$|_container|_webp"
)


def of_notes() -> dict[str, str]:
    """What notes, warnings and reasons say: whatever goes into something of that name."""
    found: dict[str, str] = {}
    for place, node, known in (one for one in functions() if one[0].startswith(ROOMS)):
        for one in ast.walk(node):
            for told in _noted(one):
                found |= {text: place for text in readings(told, known) if " " in text.strip()}
        if isinstance(node, ast.FunctionDef) and _NOTERS.search(node.name):
            for one in ast.walk(node):
                if isinstance(one, ast.Return | ast.Yield) and one.value is not None:
                    for told in _parts(one.value):
                        found |= {text: place for text in readings(told, known) if " " in text.strip()}
    return {text: place for text, place in found.items() if text.strip(" {}")}


def _noted(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions that a statement puts into something called notes, a warning or a reason."""
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(NOTED.search(ast.unparse(target)) for target in targets):
            yield from _parts(node.value)
    if isinstance(node, ast.Call):
        for word in node.keywords:
            yield from _parts(word.value) if word.arg and NOTED.search(word.arg) else ()
        if _name(node.func) in ("append", "note") and NOTED.search(ast.unparse(node.func)):
            yield from node.args


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    """The texts of a tuple, a list, or what is joined of them."""
    if isinstance(node, ast.Tuple | ast.List):
        for one in node.elts:
            yield from _parts(one)
    elif isinstance(node, ast.IfExp):
        yield from (*_parts(node.body), *_parts(node.orelse))
    elif isinstance(node, ast.BinOp) and isinstance(node.right, ast.Tuple | ast.List):
        yield from (*_parts(node.left), *_parts(node.right))
    elif isinstance(node, ast.Starred):
        yield from _parts(node.value)
    elif isinstance(node, ast.ListComp | ast.GeneratorExp):
        yield from _parts(node.elt)
    elif isinstance(node, ast.Call) and _name(node.func) in ("tuple", "list") and node.args:
        yield from _parts(node.args[0])
    else:
        yield node


ERRORS = ("InputError", "Unreadable", "Undecodable", "Unusable", "Undetected", "Wrong", "Diverged", "complain")


def of_errors() -> dict[str, str]:
    """What errors say, with the reasons inside them and the ways out."""
    found: dict[str, str] = {}
    for place, call, known in calls("", *ERRORS):
        for told in call.args[:1]:
            found |= dict.fromkeys(readings(told, known), place)
    for place, call, known in calls("", "unknown"):
        kind, around = readings(call.args[0], known), [word.value for word in call.keywords] + call.args[3:]
        places = readings(around[0], known) if around else ["known"]
        for one, where in product(kind, places):
            found |= dict.fromkeys(
                (f"{one} '{{}}' is not {where}; the nearest are {{}}", f"{one} '{{}}' is not {where}"), place
            )
    for place, call, known in calls("", "Untrusted"):
        found |= dict.fromkeys((f"{one}; {{}}" for one in readings(call.args[0], known)), place)
    for place, call, known in calls("", "instead"):
        found |= {one: place for told in call.args for one in readings(told, known)}
    for place, call, known in calls("", "Unwritten"):
        found |= {one: place for told in call.args[2:] for one in readings(told, known)}
    for place, call, known in calls("", "__init__"):
        found |= {one: place for told in call.args[:1] for one in readings(told, known) if re.match("[a-z]+ ", one)}
    for place, call, known in calls("", "alone"):
        found |= dict.fromkeys(readings(call.args[1], known), place)
    for place, call, known in calls("web", "HTTPException"):
        for told in call.args[1:2]:
            found |= dict.fromkeys(readings(told, known), place)
    return {text: place for text, place in found.items() if re.search("[a-z]{3}", text)}
