"""The arrows between packages, told from the imports alone, and that help answers at once."""

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("encoder", "synthesizer", "vocoder", "demo")
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py"))
ACROSS = {  # the only arrows between packages
    "synthesizer.preprocess": {"encoder.inference"},
    "vocoder.preprocess": {"synthesizer.inference"},
    "demo.cloner": {"encoder.inference", "synthesizer.inference", "vocoder.inference"},
}
SCRIPT_MAY_CALL = {f"{package}.{module}" for package in PACKAGES for module in ("preprocess", "train")} | {"demo.cloner"}
SETTINGS = {f"{package}.config" for package in PACKAGES}  # which -h lists
# Inside a package, what writes disk or steps a model stands above what reads and computes; nothing below imports these.
TOPS = ("preprocess", "train", "inference", "evaluate")
MAY_USE_INFERENCE = ("preprocess", "evaluate")
# From what is read first to what is read last: a module of one of these names imports none that comes later.
LAYERS = ("layers", "model", "dataset", "train")
HEAVY = {"torch", "numpy", "scipy", "librosa", "umap", "matplotlib", "tqdm", "soundfile"}
LAZY = {"librosa", "webrtcvad", "umap", "visdom", "av", "soundfile", "soxr", "sounddevice", "matplotlib", "joblib", "unidecode",
        "inflect", "tensorboard", "dask", "distributed", "numba"}  # fmt: skip


def imports(path: Path, anywhere: bool) -> set[str]:
    """Modules that a file imports, when it is imported itself or anywhere; `from a import b` is a.b where that is a module."""
    found = set()
    for node in statements(ast.parse(path.read_text()), anywhere):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in inner if _file(name)}
            found |= modules or {node.module}
    assert not found & {"importlib", "runpy"}, f"{path}: imports that cannot be told from the text"
    return found


def _file(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


def statements(tree: ast.AST, anywhere: bool) -> Iterator[ast.AST]:
    """What runs when a file is imported, in branches and attempts too, or with `anywhere` the functions' insides as well."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        if anywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(node, anywhere)


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(
    "path", [path for package in PACKAGES for path in modules(package)], ids=lambda p: f"{p.parent.name}.{p.stem}"
)
def test_packages_meet_where_the_design_says(path):
    package, module = path.relative_to(ROOT).parts[0], path.stem
    ours = {name for name in imports(path, anywhere=True) if name.split(".")[0] in PACKAGES}
    across = {name for name in ours if name.split(".")[0] != package}
    assert across <= ACROSS.get(f"{package}.{module}", set())
    tops = {name.split(".")[1] for name in ours - across if name.split(".")[1] in TOPS}
    if module not in TOPS:
        assert not tops, f"{path.name} stands below {tops}"
    assert not tops & {"preprocess", "train"}
    if "inference" in tops:
        assert module in MAY_USE_INFERENCE
    if module in LAYERS:
        assert not {f"{package}.{name}" for name in LAYERS[LAYERS.index(module) :]} & ours
    if module == "inference":
        assert f"{package}.dataset" not in ours


def test_no_module_imports_itself_in_a_circle():
    paths = [path for name in (*PACKAGES, "utils") for path in modules(name)]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    arrows = {name: imports(path, anywhere=True) & names.keys() for name, path in names.items()}
    while leaves := {name for name, below in arrows.items() if not below}:
        arrows = {name: below - leaves for name, below in arrows.items() if name not in leaves}
    assert not arrows


@pytest.mark.parametrize("path", modules("utils"), ids=lambda path: path.stem)
def test_utils_import_none_of_the_packages(path):
    assert not {name for name in imports(path, anywhere=True) if name.split(".")[0] in PACKAGES}


@pytest.mark.parametrize(
    "path", [p for name in (*PACKAGES, "utils") for p in modules(name)], ids=lambda p: f"{p.parent.name}.{p.stem}"
)
def test_what_a_bare_gpu_machine_lacks_is_imported_where_it_is_used(path):
    at_top = imports(path, anywhere=False)
    lacked = {name.split(".")[0] for name in at_top} & LAZY
    if is_compiled(path) or path.parent.name == "cpu":
        lacked -= {"numba"}
    else:
        lacked |= {name for name in at_top if (file := _file(name)) and is_compiled(file)}
    assert not lacked


def is_compiled(path: Path) -> bool:
    """Whether a module is made of numba, and so is itself what a bare machine lacks."""
    return any(name.split(".")[0] == "numba" for name in imports(path, anywhere=False))


def test_training_and_speaking_start_without_them():
    called = [f"{package}.{module}" for package in PACKAGES[:3] for module in ("train", "inference")]
    code = f"import sys, {', '.join(called)}; print(sorted(set(sys.modules) & {LAZY!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse_arguments_and_call_once(script):
    path = ROOT / script
    top = {name.split(".")[0] for name in imports(path, anywhere=False) - SETTINGS}
    assert not top & (HEAVY | set(PACKAGES)), "imported before the arguments are parsed"
    ours = {name for name in imports(path, anywhere=True) if name.split(".")[0] in PACKAGES}
    assert ours <= SCRIPT_MAY_CALL | SETTINGS
    assert len(path.read_text().splitlines()) <= 100


def test_there_are_seven_scripts_and_the_demo_and_their_order_is_alphabetical():
    assert SCRIPTS == [
        "demo_cli.py",
        "encoder_preprocess.py",
        "encoder_train.py",
        "synthesizer_preprocess_audio.py",
        "synthesizer_preprocess_embeds.py",
        "synthesizer_train.py",
        "vocoder_preprocess.py",
        "vocoder_train.py",
    ]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_answers_at_once_and_documents_every_option(script):
    watch = "import runpy, sys; sys.argv = sys.argv[1:]\ntry: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    watch += "finally: print('HEAVY', sorted({'torch', 'librosa', 'numpy', 'umap'} & set(sys.modules)))"
    seconds = []
    for _ in range(3):  # the best of three: the machine may be busy with other things
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", watch, script, "-h"], cwd=ROOT, capture_output=True, text=True)
        seconds.append(time.perf_counter() - started)
        if seconds[-1] < 1:
            break
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout
    assert min(seconds) < 1
    undocumented = [action for action in _actions(script) if not action.help]
    assert not undocumented


def _actions(script):
    """The arguments of a script's parser, caught as it parses."""
    import argparse
    import runpy
    from unittest import mock

    class Caught(Exception): ...

    def parse_args(self, *args):
        raise Caught(self._actions)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", parse_args), pytest.raises(Caught) as caught:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    return caught.value.args[0]


@pytest.mark.parametrize("script", [name for name in SCRIPTS if name != "demo_cli.py"])
def test_a_missing_argument_is_an_error_of_usage(script):
    done = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "usage:" in done.stderr and "Traceback" not in done.stderr
