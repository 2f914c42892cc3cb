"""Machine-made mutants of the built-in policies, tasks, plans and samplers, and whether the public contracts catch them.

cosmic-ray changes one operator, number or condition of a module's source. What is no behaviour is left alone: annotations, and
the messages of errors. Every mutant is judged in a process of its own, forked from one in which everything else is loaded.
"""

import ast
import importlib.abc
import importlib.util
import linecache
import os
import random
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import cosmic_ray.plugins
from cosmic_ray.ast import Visitor, get_ast
from cosmic_ray.mutating import mutate_code

from mmseqdiff import load_plugins
from mmseqdiff.testing.contracts import CONTRACTS
from mmseqdiff.testing.verdicts import FAILS, contract_of, verdict_of

ROOT = Path(__file__).parents[1]
PACKAGES = {"mmseqdiff_noise": ("task", "plan", "policy"), "mmseqdiff_samplers": ("sampler",)}
"""Package → the kinds of its plugins."""
LEFT_OUT = {"__init__", "schedules"}
OTHER_OPERATORS = ("VariableReplacer", "VariableInserter", "ExceptionReplacer", "RemoveDecorator")
"""Not used: they need to be told names, or change what kind of thing a function is."""
SECONDS = 400
"""Of a processor, within which a mutant is judged; one that takes longer does not end, and is caught."""
NO_MUTANT = "no mutant"
"""What a module that cannot be imported is."""


@attrs.frozen
class Place:
    """Where a mutant differs from what it is made of.

    Attributes:
        module: its name.
        path: its source.
        operator: of cosmic-ray.
        occurrence: of the operator in the module.
        start: line and column.
    """

    module: str
    path: Path
    operator: str
    occurrence: int
    start: tuple[int, int]

    def mutated(self) -> str:
        """The whole source, changed in this place."""
        operator = cosmic_ray.plugins.get_operator(self.operator)()
        return mutate_code(self.path.read_text(encoding="utf-8"), operator, self.occurrence)

    def __str__(self) -> str:
        return f"{self.module}:{self.start[0]}:{self.start[1]} {self.operator.removeprefix('core/')}"


def sources() -> dict[str, Path]:
    """Module → its source, of everything that may be changed."""
    return {
        f"{package}.{path.stem}": path
        for package in PACKAGES
        for path in sorted((ROOT / "plugins" / package.replace("_", "-") / package).glob("*.py"))
        if path.stem not in LEFT_OUT
    }


def without_effect(code: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations and messages begin and end."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            found += [node.returns, *(argument.annotation for argument in arguments)]
        elif isinstance(node, ast.AnnAssign):
            found.append(node.annotation)
        elif isinstance(node, ast.Raise | ast.JoinedStr):
            found.append(node)
    return [
        ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)) for node in found if node is not None
    ]


def places() -> Iterator[Place]:
    """All there are."""
    operators = [name for name in cosmic_ray.plugins.operator_names() if not name.endswith(OTHER_OPERATORS)]
    for module, path in sources().items():
        code = path.read_text(encoding="utf-8")
        inert, tree = without_effect(code), get_ast(code)
        for name in operators:
            for occurrence, (start, stop) in enumerate(_positions(tree, cosmic_ray.plugins.get_operator(name)())):
                if not any(first <= start and stop <= last for first, last in inert):
                    yield Place(module, path, name, occurrence, start)


def _positions(tree: Any, operator: Any) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    found = []

    class Positions(Visitor):
        def visit(self, node: Any) -> Any:
            found.extend(operator.mutation_positions(node))
            return node

    Positions().walk(tree)
    return found


def drawn(seed: int) -> Iterator[Place]:
    """All places in a random order, at most one mutant of each."""
    order = list(places())
    random.Random(seed).shuffle(order)
    seen = set()
    for place in order:
        if (place.module, place.start) not in seen:
            seen.add((place.module, place.start))
            yield place


def users(module: str) -> set[str]:
    """The modules that import one, directly or not, and itself."""
    imports = {
        name: {
            node.module
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and node.module
        }
        for name, path in sources().items()
    }
    found = {module}
    while more := {name for name, needed in imports.items() if needed & found} - found:
        found |= more
    return found


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module, with a source of its own."""

    def __init__(self, place: Place) -> None:
        self.place, self.code = place, place.mutated()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return importlib.util.spec_from_loader(name, self) if name == self.place.module else None

    def exec_module(self, module: ModuleType) -> None:
        name = f"<{self.place}>"  # where type checks look for a function's source
        linecache.cache[name] = (len(self.code), None, self.code.splitlines(keepends=True), name)
        exec(compile(self.code, name, "exec"), module.__dict__)


def judged(
    place: Place,
    parameters: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    stated: Sequence[tuple[str, str, Mapping[str, Any], Any]],
    examples: int,
) -> str:
    """The law that catches a mutant, :data:`NO_MUTANT`, or nothing where none does.

    Args:
        place: of the change.
        parameters: kind and name of a plugin → those that its laws are tried with; none where it is not there.
        stated: kind, name, parameters and worked example.
        examples: that every law is tried with.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        try:
            found = _caught_by(place, parameters, stated, examples)
        except BaseException as error:
            found = f"{type(error).__name__}: {error}"
        os.write(writer, found.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        found = answer.read().decode()
    _, status = os.waitpid(child, 0)
    return "it does not end" if os.WIFSIGNALED(status) else found


def _caught_by(place: Place, parameters: Any, stated: Any, examples: int) -> str:
    package = place.module.partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Changed(place))
    try:
        importlib.import_module(place.module)
    except Exception:  # whatever a changed line raises when it is first run
        return NO_MUTANT
    host, changed = load_plugins(), users(place.module)
    for kind, name, own, example in stated:
        if _module(host, kind, name) in changed:
            contract = CONTRACTS[kind].of(lambda k=kind, n=name, p=own: host.build(k, n, **p), stated=[example])()
            try:
                contract.test_worked_examples_hold()
            except Exception as error:  # whatever the mutant makes of it
                return f"{kind} {name}, a worked example: {type(error).__name__} {error}"
    for kind in PACKAGES[package]:
        for name in host.names(kind):
            if _module(host, kind, name) not in changed:
                continue
            for own in parameters.get((kind, name), [{}]):
                contract = contract_of(host, host.registration(kind, name), own)
                for law in contract.laws():
                    verdict = verdict_of(contract, law, examples * law.cost, shrink=False)
                    if verdict.outcome == FAILS:
                        return f"{kind} {name}, {law.name}: {verdict.message}"
    return ""


def _module(host: Any, kind: str, name: str) -> str:
    return host.registration(kind, name).address.partition(":")[0]
