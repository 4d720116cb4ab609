"""Imports go one way: rooms to their left, no circles, no private names."""

import ast
import graphlib
import importlib
import importlib.util
import inspect
import pathlib

import pytest

import kerasgan as kg

ROOT = pathlib.Path(kg.__file__).parent
ORDER = ("data", "models", "training", "inference", "explain", "evaluation", "report", "app", "cli")
DOORS = ("kerasgan", "kerasgan.__main__", "kerasgan._public")
NO_TRAINING = ("explain", "evaluation", "report")
FILES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}


def imported(module):
    """(module, name or None) of every import from kerasgan, also of those inside functions."""
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(FILES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((one.name, None) for one in node.names if one.name.startswith("kerasgan"))
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(base, package)
            for one in node.names if base.split(".")[0] == "kerasgan" else ():
                whole = f"{base}.{one.name}"
                yield (whole, None) if whole in FILES else (base, one.name)


IMPORTS = {module: set(imported(module)) for module in FILES}


def room(module):
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", sorted(FILES.keys() - set(DOORS)))
def test_a_room_imports_rooms_to_its_left(module):
    allowed = ORDER[: ORDER.index(room(module)) + 1] if room(module) in ORDER else ()
    if room(module) in NO_TRAINING:
        allowed = set(allowed) - {"training"}
    rooms = {room(name) for name, _ in IMPORTS[module]} & set(ORDER)
    assert rooms <= set(allowed)


def test_no_modules_import_each_other():
    edges = {module: {name for name, _ in pairs} - {module} for module, pairs in IMPORTS.items()}
    graphlib.TopologicalSorter(edges).prepare()


@pytest.mark.parametrize("module", FILES)
def test_no_module_uses_a_private_name_of_another(module):
    names = {part or name.rpartition(".")[2] for name, part in IMPORTS[module]}
    tree = ast.parse(FILES[module].read_text("utf-8"))
    modules = {name.rpartition(".")[2] for name, part in IMPORTS[module] if part is None}
    names |= {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in modules
    }
    allowed = {"__version__"} | ({"_requirements", "_public"} if module == "kerasgan" else set())
    assert not {name for name in names if name.startswith("_")} - allowed


@pytest.mark.parametrize("module", FILES)
def test_what_a_module_takes_from_another_exists(module):
    if "innvestigate" in module:
        pytest.importorskip("innvestigate")
    here = vars(importlib.import_module(module))
    tree = ast.parse(FILES[module].read_text("utf-8"))
    names = {name.rpartition(".")[2] for name, part in IMPORTS[module] if part is None}
    taken = {
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    modules = {name: here[name] for name in names if inspect.ismodule(here.get(name))}
    missing = {(m, name) for m, name in taken if m in modules and not hasattr(modules[m], name)}
    assert not missing
