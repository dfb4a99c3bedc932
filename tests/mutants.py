"""Mutants: a module with one thing changed in it, put in its place for a while, to see whether tests notice."""

import ast
import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_args, get_origin

import pytest
from pydantic import BaseModel

_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_RENAMED = {"is_null": "is_not_null", "min": "max", "max": "min", "mean": "sum", "sum": "mean", "head": "tail"}


class Mutant(NamedTuple):
    """name: the function, what stood there, and what stands there now."""

    name: str
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module's source.

    Each function returns nothing; each comparison, logical and arithmetic operator is swapped, each condition and
    negation turned round, each number made a little smaller and larger, each truth value the other one, each string
    outside a message another, each least a largest, each mean a sum, each null one that is not.
    """
    tree = ast.parse(source)
    for *above, parent, node in _paths(tree, ()):
        where = next((n.name for n in (node, parent, *reversed(above)) if isinstance(n, ast.FunctionDef)), "module")
        # A value is known by the expression that it stands in.
        shown = parent if isinstance(node, ast.Constant | ast.Attribute | ast.Name) else node
        for new in _changed(node, parent):
            # A copy takes for a node what its memo holds for it.
            mutated, changed = (copy.deepcopy(whole, {id(node): new}) for whole in (tree, shown))
            is_function = isinstance(node, ast.FunctionDef)
            told = "returns nothing" if is_function else f"{ast.unparse(shown)} → {ast.unparse(changed)}"
            yield Mutant(f"{where}: {told}", ast.fix_missing_locations(mutated))


@contextmanager
def in_place_of(module: ModuleType, mutant: Mutant) -> Iterator[None]:
    """Let a mutant be the module while the block lasts, for all who hold the module itself."""
    kept = dict(vars(module))
    try:
        vars(module)["nothing_of"] = nothing_of
        exec(compile(mutant.tree, str(module.__file__), "exec"), vars(module))
        yield
    finally:
        vars(module).clear()
        vars(module).update(kept)


def survivors(module: ModuleType, tests: Sequence[Callable[[], None]]) -> list[str]:
    """Name the mutants of a module under which all tests pass, as they do under the module itself."""
    for test in tests:
        test()
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    return [mutant.name for mutant in mutants(source) if _survives(module, mutant, tests)]


def nothing_of(kind: Any) -> Any:
    """Return the least that a type allows: None, zero, no entries, or a record of these."""
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if kind is None or type(None) in arguments:
        return None
    if origin is Sequence:
        return []
    if issubclass(origin, BaseModel):
        return kind(**{name: nothing_of(field.annotation) for name, field in kind.model_fields.items()})
    return origin()


def _survives(module: ModuleType, mutant: Mutant, tests: Sequence[Callable[[], None]]) -> bool:
    try:
        with in_place_of(module, mutant), warnings.catch_warnings(action="ignore"):
            for test in tests:
                test()
    except (Exception, pytest.fail.Exception):
        return False
    return True


def _paths(node: ast.AST, above: tuple[ast.AST, ...]) -> Iterator[tuple[ast.AST, ...]]:
    """Yield each node below with those above it; types and f-strings' formats are left out."""
    path = (*above, node)
    if above:
        yield path
    for name, field in ast.iter_fields(node):
        if name not in ("annotation", "returns", "format_spec"):
            for child in field if isinstance(field, list) else [field]:
                if isinstance(child, ast.AST):
                    yield from _paths(child, path)


def _changed(node: ast.AST, parent: ast.AST) -> Iterator[ast.AST]:
    """Yield what a node below another can be changed to."""
    match node:
        case ast.FunctionDef(body=[*_, last], returns=returns) if not _is_docstring(last):
            call = ast.Call(ast.Name("nothing_of", ast.Load()), [returns or ast.Constant(None)], [])
            yield _with(node, body=[ast.Return(call)])
        case ast.Compare(ops=ops):
            for place, op in enumerate(ops):
                yield _with(node, ops=[*ops[:place], _SWAPPED[type(op)](), *ops[place + 1 :]])
        case ast.BoolOp(op=op) | ast.BinOp(op=op) if type(op) in _SWAPPED:
            yield _with(node, op=_SWAPPED[type(op)]())
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield from (ast.Constant(value - 1), ast.Constant(value + 1))
        case ast.Constant(value=float(value)):
            yield from (ast.Constant(value * 0.9), ast.Constant(value * 1.1))
        case ast.Constant(value=str(value)) if not isinstance(parent, ast.JoinedStr | ast.Expr):
            yield ast.Constant(f"not {value}")
        case ast.Name(id=name) if name in _RENAMED:
            yield _with(node, id=_RENAMED[name])
        case ast.Attribute(attr=name) if name in _RENAMED:
            yield _with(node, attr=_RENAMED[name])
    tests = parent.ifs if isinstance(parent, ast.comprehension) else [getattr(parent, "test", None)]
    if node in tests and not isinstance(node, ast.Compare | ast.UnaryOp):
        yield ast.UnaryOp(ast.Not(), node)


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    changed = copy.copy(node)
    for name, field in fields.items():
        setattr(changed, name, field)
    return changed


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
