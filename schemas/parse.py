"""Read a recipe: YAML 1.2, environment variables, `--set`, and errors that name file, key, value and nearest key."""

import contextlib
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent
from ruamel.yaml.tokens import ScalarToken

from cuvee.schemas import address
from cuvee.schemas.errors import RecipeError
from cuvee.schemas.recipe import Recipe, Review, Source

# What pydantic says of Python's types, in the words of the recipe.
_EXPECTED = dict.fromkeys(["model_type", "dict_type"], "a mapping of keys belongs here")
_EXPECTED["tuple_type"] = "a list belongs here"

# 435 bytes of aliases stand for 10^9 values; a recipe that lists 10,000 files has 10,000.
_MOST_VALUES, _MOST_DEPTH = 100_000, 50

# More than 64 bits; of the other bases Python reads millions of digits, and writes none of them.
_ENDLESS = re.compile("[-+]?(?:[0-9][0-9_]{20,}|0[xob][0-9a-fA-F_]{65,})")
_INDEX = re.compile("[0-9]{1,9}")
# A key that somebody wrote where the name of its variable belongs has other signs, or is long and in small letters.
_NAME = re.compile("(?=[^a-z]*$|.{1,19}$)[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-|\})")


def parse_recipe(
    text: str, name: str = "recipe", environment: Mapping[str, str] | None = None, overrides: Sequence[str] = ()
) -> Recipe:
    """Turn YAML text into a checked recipe.

    name: the file's name, for messages. environment: values of `${NAME}` and `${NAME:-default}`; an empty one counts as
    unset, as in shells.
    overrides: `dotted.path=value` strings; a value is parsed as YAML, a number in the path indexes a list.
    Raises RecipeError naming file, key path, value and, for an unknown key, the nearest known one.
    """
    tree = _tree(text, name, environment or {}, overrides)
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        raise RecipeError(_explain(error, tree, name)) from None
    _refuse_what_is_not_built(recipe, name)
    return recipe


def readable_sources(
    text: str, name: str, environment: Mapping[str, str], overrides: Sequence[str] = ()
) -> dict[int, Source]:
    """Return the sources that can be understood alone, by their place, of a recipe that cannot be as a whole.

    The arguments are those of `parse_recipe`.
    """
    found: dict[int, Source] = {}
    with contextlib.suppress(RecipeError):
        entries = _tree(text, name, environment, overrides).get("sources")
        for position, entry in enumerate(entries if isinstance(entries, list) else ()):
            with contextlib.suppress(ValidationError):
                source = Source.model_validate(entry)
                if not any(map(address.fault, source.uri)):
                    found[position] = source
    return found


def variables(text: str) -> set[str]:
    """Return the names of `${NAME}` in a recipe's keys and values, as far as the text is YAML."""
    found: set[str] = set()
    with contextlib.suppress(YAMLError):
        for token in YAML(typ="safe", pure=True).scan(StringIO(text)):
            if isinstance(token, ScalarToken):
                found.update(match.group(1) for match in _VARIABLE.finditer(token.value))
    return found


def nearest(word: str, known: Iterable[str]) -> str:
    """Say what was probably meant, or list what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(names)}"


def _tree(text: str, name: str, environment: Mapping[str, str], overrides: Sequence[str]) -> dict[str, Any]:
    """Read the keys and values of a recipe, unchecked, with the environment's values in their places."""
    tree = _load(text, name)
    if not isinstance(tree, dict):
        raise RecipeError(f"{name}: a recipe is a mapping of keys such as corpus and sources; this is {_kind(tree)}")
    for override in overrides:
        _override(tree, override, name)
    substituted: dict[str, Any] = _substitute(tree, environment, name, ())
    return substituted


def _load(text: str, name: str) -> Any:
    try:
        _check_size(text, name)
        return YAML(typ="safe", pure=True).load(StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise RecipeError(f"{name}:{where}: not YAML: {(error.problem or str(error)).strip()}") from None
    # ValueError: a date such as 2020-13-01; LookupError: `!!bool maybe`.
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RecipeError(f"{name}: not YAML: {error}") from None


def _check_size(text: str, name: str) -> None:
    """Raise RecipeError where YAML nests too deep, or has too many values once each alias is written out."""
    sizes: dict[str, int] = {}  # values below each anchor
    open_: list[tuple[str | None, int]] = [(None, 0)]  # each collection that is not closed, its anchor and values
    for event in YAML(typ="safe", pure=True).parse(StringIO(text)):
        where = f"{name}: line {event.start_mark.line + 1}"
        anchor, size = getattr(event, "anchor", None), 1
        if isinstance(event, AliasEvent):
            if any(anchor == outer for outer, _ in open_):
                raise RecipeError(f"{where}: the alias *{anchor} stands inside its own anchor &{anchor}; write it out")
            size = sizes.get(str(anchor), 1)
        elif isinstance(event, CollectionStartEvent):
            open_.append((anchor, 1))
            if len(open_) > _MOST_DEPTH:
                raise RecipeError(f"{where}: lists and mappings nest over {_MOST_DEPTH} deep; a recipe needs fewer")
            continue
        elif isinstance(event, CollectionEndEvent):
            anchor, size = open_.pop()
        elif not isinstance(event, ScalarEvent):
            continue
        elif event.style is None and _ENDLESS.fullmatch(event.value):
            raise RecipeError(f"{where}: a number of {len(event.value):,} digits is more than anything here can be")
        if anchor is not None and not isinstance(event, AliasEvent):
            sizes[anchor] = size
        outer, below = open_[-1]
        open_[-1] = outer, below + size
        if below + size > _MOST_VALUES:
            raise RecipeError(f"{where}: with its aliases written out the text has over {_MOST_VALUES:,} values")


def _override(tree: dict[str, Any], override: str, name: str) -> None:
    path, equals, value = override.partition("=")
    # Messages name the path alone: the value may be a secret.
    given = f"--set {path}"
    if not equals or not path:
        raise RecipeError(f"{given}: write it as key.path=value, for example mixture.human.min=0.7")
    *parents, last = path.split(".")
    node: Any = tree
    for key in parents:
        node = _descend(node, key, given, name)
    if isinstance(node, list):
        _descend(node, last, given, name)
        node[int(last)] = _load(value, given)
    elif isinstance(node, dict):
        node[last] = _load(value, given)
    else:
        raise RecipeError(f"{given}: {'.'.join(parents)} is {_kind(node)} in {name}; it has no keys")


def _descend(node: Any, key: str, given: str, name: str) -> Any:
    if isinstance(node, list):
        if _INDEX.fullmatch(key) and int(key) < len(node):
            return node[int(key)]
        raise RecipeError(f"{given}: {name} has {len(node)} entries there; use an index from 0")
    if isinstance(node, dict):
        if node.get(key) is None:
            node[key] = {}
        return node[key]
    raise RecipeError(f"{given}: {key!r} is below {_kind(node)} in {name}")


def _substitute(node: Any, environment: Mapping[str, str], name: str, path: tuple[str, ...]) -> Any:
    if isinstance(node, dict):
        return {key: _substitute(value, environment, name, (*path, str(key))) for key, value in node.items()}
    if isinstance(node, list):
        return [_substitute(value, environment, name, (*path, str(i))) for i, value in enumerate(node)]
    if not isinstance(node, str):
        return node

    used: set[str] = set()
    try:
        text = _expand(node, environment, used)
        secret = next((known for known in sorted(used) if known.upper().endswith(address.SECRET_SUFFIXES)), None)
        if secret and path[2:3] != ("headers",) and path[:2] != ("publish", "notify"):
            raise RecipeError(
                f"{name}: {'.'.join(path)}: {secret} is a secret by its name, and would be stored with every version; "
                "name it in api_key_env, use it in headers, or give the variable another name"
            )
        return text
    except KeyError as error:
        variable = error.args[0]
        raise RecipeError(
            f"{name}: {'.'.join(path)}: the environment variable {variable} is not set or empty; "
            f"set it, or write ${{{variable}:-default}}"
        ) from error


def _expand(text: str, environment: Mapping[str, str], used: set[str]) -> str:
    """Put values in the place of variables, and add their names to those `used`; a default, which may hold variables
    too, is looked at where it is used.

    Raises KeyError for a variable that has neither.
    """
    parts, at = [], 0
    while found := _VARIABLE.search(text, at):
        parts.append(text[at : found.start()])
        at = found.end()
        end = at if found[2] == "}" else _closing(text, at)
        if end is None:  # plain text
            parts.append(found[0])
        elif value := environment.get(found[1]):
            parts.append(value)
            used.add(found[1])
            at = end
        elif found[2] == "}":
            raise KeyError(found[1])
        else:
            text, at = text[at : end - 1] + text[end:], 0
    return "".join([*parts, text[at:]])


def _closing(text: str, start: int) -> int | None:
    """Find where a default that begins at `start` ends, behind its brace; None where it does not."""
    depth = 1
    for mark in re.finditer(r"\$\{|\}", text[start:]):
        depth += 1 if mark[0] == "${" else -1
        if depth == 0:
            return start + mark.end()
    return None


def _explain(error: ValidationError, tree: Any, name: str) -> str:
    lines = []
    # pydantic adds the branch of a union to the location; only keys and indices are the user's.
    faults = [(fault, _path_in(tree, fault["loc"])) for fault in error.errors()]
    for fault, path in faults:
        # pydantic leaves faulty entries out before it counts them, and then finds the list too short.
        if fault["type"] == "too_short" and any(path == other[: len(path)] != other for _, other in faults):
            continue
        dotted = ".".join(str(key) for key in path) or "recipe"
        if fault["type"] == "extra_forbidden":
            parent = _model_at(path[:-1])
            lines.append(f"{name}: {dotted}: unknown key; {nearest(str(path[-1]), parent.model_fields)}")
        elif fault["type"] == "missing":
            missing = [*path, fault["loc"][-1]] if not path or path[-1] != fault["loc"][-1] else path
            lines.append(f"{name}: {'.'.join(map(str, missing))}: required, and not given")
        else:
            reason = _EXPECTED.get(fault["type"], fault["msg"].removeprefix("Value error, "))
            value = fault["input"]
            # A header's value may be a secret.
            is_untold = isinstance(value, BaseModel | dict | list) or "headers" in path
            shown = "" if is_untold else f"{_written(value)}: "
            lines.append(f"{name}: {dotted}: {shown}{reason[0].lower()}{reason[1:]}")
    return "\n".join(dict.fromkeys(lines))


def _path_in(tree: Any, location: tuple[int | str, ...]) -> list[int | str]:
    path: list[int | str] = []
    node = tree
    for key in location:
        if (isinstance(node, dict) and key in node) or (
            isinstance(node, list) and isinstance(key, int) and key < len(node)
        ):
            node = node[key]  # type: ignore[index]
            path.append(key)
    return path


def _model_at(path: Sequence[int | str]) -> type[BaseModel]:
    model: type[BaseModel] = Recipe
    for key in path:
        if isinstance(key, int) or key not in model.model_fields:
            continue
        candidates = [model.model_fields[key].annotation]
        while candidates:
            candidate = candidates.pop()
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
                break
            candidates.extend(get_args(candidate))
    return model


def _written(value: Any) -> str:
    """Write a scalar as YAML has it, so that it can be found."""
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else repr(address.shown(value) if isinstance(value, str) else value)


def _kind(node: Any) -> str:
    names: dict[type, str] = {dict: "a mapping", list: "a list", str: "a text", type(None): "empty"}
    return names.get(type(node), f"the value {node!r}")


_NOT_BUILT: list[tuple[str, Callable[[Recipe], bool], str]] = [
    ("review.sample", lambda r: r.review.sample != Review().sample, "leave it out"),
    ("review.when: findings and always", lambda r: r.review.when != "never", "use never"),
]


def _refuse_what_is_not_built(recipe: Recipe, name: str) -> None:
    for what, used, instead in _NOT_BUILT:
        if used(recipe):
            raise RecipeError(f"{name}: {what}: not built yet; {instead}")
    scheme, separator, place = (recipe.store or "").partition("://")
    if separator and (scheme not in ("s3", "memory") or (scheme == "s3" and not place.partition("/")[0])):
        place = address.shown(recipe.store or "")
        raise RecipeError(f"{name}: store: {place!r}: name a folder, or a bucket as s3://bucket/prefix")
    secret = address.secret_in(recipe.store or "")
    if secret:
        raise RecipeError(
            f"{name}: store: {address.shown(recipe.store or '')!r}: {secret} would be told in messages and kept with "
            "every run; put it into the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    for position, source in enumerate(recipe.sources):
        for uri in source.uri:
            reason = address.fault(uri)
            if reason:
                raise RecipeError(f"{name}: sources.{position}.uri: {address.shown(uri)!r}: {reason}")
    places = {
        "decontaminate.benchmarks": recipe.decontaminate.benchmarks,
        "provenance.model": (recipe.provenance.model,),
        "guard.compare_with": (recipe.guard.compare_with or "",),
    }
    places |= {f"sources.{position}.robots": source.robots for position, source in enumerate(recipe.sources)}
    for where, addresses in places.items():
        secret = next(filter(None, map(address.secret_in, addresses)), None)
        if secret:
            raise RecipeError(f"{name}: {where}: {secret} would be stored with every version; leave it out")
    for position, entry in enumerate(recipe.generate):
        where = f"{name}: generate.{position}"
        for key, urls in (("base_url", entry.base_urls), ("grade.base_url", (entry.grade.base_url or "",))):
            secret = next(filter(None, map(address.secret_in, urls)), None)
            if not secret:
                continue
            raise RecipeError(
                f"{where}.{key}: {secret} would be stored with every version; "
                "put the key into the environment variable that api_key_env names"
            )
        if entry.api_key_env and not _NAME.fullmatch(entry.api_key_env):
            raise RecipeError(
                f"{where}.api_key_env: give the name of the environment variable that holds the key, as in "
                "OPENAI_API_KEY; a key itself would be stored with every version"
            )
        human, budget = recipe.mixture.human, entry.budget
        if budget.amount == "auto" and human.min == 0 and recipe.mixture.total is None:
            raise RecipeError(
                f"{where}.budget.amount: auto needs mixture.human.min above 0 or mixture.total; "
                "give one of them, or an amount"
            )
        unknown = sorted(set(entry.seeds.sources) - {source.name for source in recipe.sources})
        if unknown:
            raise RecipeError(
                f"{where}.seeds.sources: no source is named {unknown[0]!r}; "
                f"{nearest(unknown[0], (source.name for source in recipe.sources))}"
            )
