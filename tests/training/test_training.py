"""What the trainers share, tried on tiny models."""

import copy
import gc
import json
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.faults.leftovers import left_by_a_kill
from utils import cli, garbage
from utils.boards.board import NoBoard
from utils.data.paths import save_text, write_atomically
from utils.errors import UserError
from utils.models import checkpoint
from utils.models.device import choose_dtype
from utils.training import run as training
from utils.training import stepping
from utils.training.average import Average
from utils.training.batching import EpochPlan, held_out, rng
from utils.training.health import TO_GIVE_UP, Rising
from utils.training.run import Run, RunOptions
from utils.training.stepping import MAIN, Readback, Stepper, Trained
from utils.training.stopping import StopSignals


@dataclass(frozen=True)
class TinyConfig:
    width: int = 4


@dataclass(frozen=True)
class TinySettings:
    learning_rate: float = 0.1


def train(
    folder: Path,
    max_steps: int,
    bad_steps=(),
    overrides=None,
    after_step=lambda step: None,
    own_content=lambda content: content,
    held_out_losses=None,
    **options,
) -> dict:
    """Train a small net with batch norm and dropout on random numbers; returns its checkpoint."""
    with Run("encoder", RunOptions("tiny", models_dir=folder, max_steps=max_steps, **options), own_content) as run:
        config, settings = run.configure(overrides or {}, TinyConfig(), TinySettings())
        model = nn.Sequential(
            nn.Linear(3, config.width), nn.BatchNorm1d(config.width), nn.Dropout(0.5), nn.Linear(config.width, 1)
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
        net = run.start(model, optimizer, config, settings, rules={"rising loss": Rising()})
        for step in run.steps():
            x = torch.from_numpy(np.random.default_rng(step).normal(size=(8, 3)).astype(np.float32))
            x = x * (np.nan if step in bad_steps else 1)
            loss = (net(x) - x.sum(dim=1, keepdim=True)).square().mean()
            run.log(loss=loss, grad_norm=run.optimize(loss, clip=1.0))
            if run.due(3):
                with run.evaluating(model):
                    run.report(held_out_loss=net(torch.rand(8, 3)).mean())
                if held_out_losses:
                    run.keep_best(held_out_losses[step])
            after_step(step)
    return checkpoint.load(folder / "tiny" / "encoder.pt", "encoder")


def assert_same(a: dict, b: dict) -> None:
    assert a.get("step") == b.get("step") and a.get("rules") == b.get("rules")
    for name, value in a["model_state"].items():
        assert torch.equal(value, b["model_state"][name]), name
    for index, state in a["optimizer_state"]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, b["optimizer_state"]["state"][index][name]), name


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "tiny" / "metrics.jsonl").read_text().splitlines()]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    train(tmp_path / "parts", 5)
    assert_same(train(tmp_path / "parts", 11), train(tmp_path / "whole", 11))
    losses = [[row["loss"] for row in metrics(tmp_path / name) if "loss" in row] for name in ("parts", "whole")]
    assert losses[0] == losses[1] and len(losses[0]) == 11


def test_a_run_whose_held_out_loss_turns_ends_with_the_best_checkpoint(tmp_path, capsys):
    options = {"eval_every": 3, "patience": 2, "held_out_losses": {3: 3.0, 6: 1.0, 9: np.nan, 12: 1.5, 15: 0.5}}
    train(tmp_path / "parts", 10, **options)
    parts, best = train(tmp_path / "parts", 15, **options), train(tmp_path / "best", 6)
    assert_same(parts, best)
    assert "has not fallen since step 6 (1)" in capsys.readouterr().out
    assert max(row["step"] for row in metrics(tmp_path / "parts")) == 12


def test_fine_tuning_takes_gentle_settings_unless_others_are_given():
    parser = cli.parser("")
    cli.add_training_arguments(parser, "vocoder", "", 1000, 0, {"freeze": ["upsample"], "eval_every": 100, "patience": 4})
    plain = vars(parser.parse_args(["a"]))
    tuned = vars(parser.parse_args("a --patience 2 --fine_tune f.pt --freeze gru1,gru2".split()))
    changed = {name: value for name, value in tuned.items() if value != plain[name]}
    given = {"init_from": Path("f.pt"), "fine_tune": True, "patience": 2, "freeze": ["gru1", "gru2"]}
    assert changed == given | {"eval_every": 100}


def test_a_checkpoint_with_old_names_resumes_exactly(tmp_path):
    old = train(tmp_path / "parts", 3)
    old["model_state"]["linear.weight"] = old["model_state"].pop("0.weight")
    checkpoint.save(tmp_path / "parts" / "tiny" / "encoder.pt", old)

    def renamed(content: dict) -> dict:
        names = {"linear.weight": "0.weight"}
        return content | {"model_state": {names.get(name, name): value for name, value in content["model_state"].items()}}

    assert_same(train(tmp_path / "parts", 6, own_content=renamed), train(tmp_path / "whole", 6))


def train_gan(folder: Path, max_steps: int, bad_steps=()) -> dict:
    """Two models and two optimizers: a generator of pairs of numbers and a discriminator; returns the checkpoint."""
    with Run("vocoder", RunOptions("gan", models_dir=folder, max_steps=max_steps)) as run:
        generator = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
        discriminator = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
        optimizers = [torch.optim.Adam(model.parameters(), lr=0.01, fused=True) for model in (generator, discriminator)]
        further = {"discriminator": (discriminator, optimizers[1])}
        generate = run.start(generator, optimizers[0], TinyConfig(), further=further)
        judge = run.wrap(discriminator)
        for step in run.steps():
            real = torch.randn(16, 2) + 3 + (np.nan if step in bad_steps else 0)
            fake = generate(torch.randn(16, 3))
            judged_real, judged_fake = judge(torch.cat([real, fake.detach()])).split(16)
            discriminator_loss = F.softplus(-judged_real).mean() + F.softplus(judged_fake).mean()
            run.optimize(discriminator_loss, clip=1.0, name="discriminator")
            generator_loss = F.softplus(-judge(fake)).mean()
            grad_norm = run.optimize(generator_loss, clip=1.0)
            run.log(generator_loss=generator_loss, discriminator_loss=discriminator_loss, grad_norm=grad_norm)
    return checkpoint.load(folder / "gan" / "vocoder.pt", "vocoder")


def test_a_run_of_two_models_resumes_exactly(tmp_path):
    train_gan(tmp_path / "parts", 5)
    parts, whole = train_gan(tmp_path / "parts", 11), train_gan(tmp_path / "whole", 11)
    assert_same(parts, whole)
    assert_same(*(saved["further"]["discriminator"] for saved in (parts, whole)))


def test_in_a_run_of_two_models_a_bad_loss_leaves_no_trace(tmp_path):
    saved = train_gan(tmp_path, 4, bad_steps=[3])
    states = saved["model_state"], saved["further"]["discriminator"]["model_state"]
    assert all(value.isfinite().all() for state in states for value in state.values())
    assert saved["sampler_state"]["skipped"] == 1  # the discriminator's


def test_what_a_killed_run_did_after_its_checkpoint_is_done_again(tmp_path):
    class Killed(BaseException): ...

    def die(step):
        if step == 8:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "parts", 11, save_every=5, after_step=die)
    assert checkpoint.load(tmp_path / "parts" / "tiny" / "encoder.pt", "encoder")["step"] == 5
    assert_same(train(tmp_path / "parts", 11), train(tmp_path / "whole", 11))
    assert [row["step"] for row in metrics(tmp_path / "parts") if "loss" in row] == list(range(1, 12))


@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP, signal.SIGHUP]], ids=str)
def test_a_signal_saves_and_leaves(tmp_path, numbers):
    """A terminal that closes sends SIGHUP more than once."""

    def send(step):
        for number in numbers if step == 4 else ():
            os.kill(os.getpid(), number)

    with pytest.raises(SystemExit) as left:
        train(tmp_path, 100, after_step=send)
    assert left.value.code == 128 + numbers[0]
    assert checkpoint.load(tmp_path / "tiny" / "encoder.pt", "encoder")["step"] == 4


def test_two_signals_in_a_row_leave_at_once_with_a_valid_file(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "Board", lambda *arguments: NoBoard())
    train(tmp_path, 2)

    def send(step):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)  # is not reached

    if not (child := os.fork()):
        train(tmp_path, 100, after_step=send)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
    assert checkpoint.load(tmp_path / "tiny" / "encoder.pt", "encoder")["step"] == 2


def test_a_step_that_is_not_finite_changes_nothing(tmp_path):
    clean, dirty = train(tmp_path / "clean", 4), train(tmp_path / "dirty", 5, bad_steps=[5])
    for name, value in clean["model_state"].items():
        assert torch.equal(value, dirty["model_state"][name]), name
    assert metrics(tmp_path / "dirty")[-1]["skipped_steps"] == 1
    assert metrics(tmp_path / "dirty")[-1]["loss"] is None


@pytest.mark.parametrize("scales", [False, True])
@pytest.mark.parametrize(
    ("loss_of", "overflows"),
    [
        (lambda y: y + torch.inf, False),
        (lambda y: y * torch.nan, False),
        (lambda y: (y - y.detach()).sqrt(), True),  # its gradient is infinite
        (lambda y: 1e30 * y, True),  # and so is the norm of this one's
    ],
)
def test_a_skipped_step_changes_nothing_and_the_loss_is_scaled_less_only_if_gradients_overflow(scales, loss_of, overflows):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, enabled=scales)
    stepper = Stepper({MAIN: Trained(model, optimizer)}, scaler, True)
    assert stepper.step(model(torch.ones(1, 2)).sum(), clip=1.0).isfinite()
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()["state"]))
    assert stepper.step(loss_of(model(torch.ones(1, 2)).sum()), clip=1.0).isnan() and stepper.skipped == 1
    torch.testing.assert_close((model.state_dict(), optimizer.state_dict()["state"]), before, rtol=0, atol=0)
    assert not scales or scaler.get_scale() == (2.0 if overflows else 4.0)
    assert stepper.step(model(torch.ones(1, 2)).sum(), clip=1.0).isfinite() and stepper.skipped == 1


def test_a_signal_that_comes_while_ranks_tell_each_other_counts_at_the_next_step_for_all(monkeypatch):
    signals = StopSignals(has_launcher=True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda told, how: signals._receive(signal.SIGTERM, None))
    assert [signals.any_rank_stops(2, is_over=False) for _ in range(2)] == [False, True]
    other = StopSignals(has_launcher=True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda told, how: told.copy_(torch.tensor([signal.SIGTERM, 0])))
    assert other.any_rank_stops(2, is_over=False) and other.received == signal.SIGTERM


def test_imports_are_not_searched_for_garbage_and_training_is(tmp_path, monkeypatch):
    usual, found = gc.get_threshold(), []
    monkeypatch.setattr(garbage.atexit, "register", found.append)

    def main():
        found.append(gc.get_threshold()[0])
        train(tmp_path, 1)
        found.append(gc.get_threshold())

    cli.run(main)
    assert found == [gc.freeze, garbage.SELDOM, usual] and usual[0] < garbage.SELDOM


def test_a_large_gradient_moves_the_weights_by_no_more_than_the_clip_allows(tmp_path):
    with Run("encoder", RunOptions("tiny", models_dir=tmp_path, max_steps=1)) as run:
        model = nn.Linear(4, 1, bias=False)
        before = model.weight.clone()
        net = run.start(model, torch.optim.SGD(model.parameters(), lr=1.0, fused=True), TinyConfig())
        for _ in run.steps():
            assert run.optimize(100 * net(torch.ones(1, 4)).sum(), clip=3.0).item() == pytest.approx(200)
    assert (model.weight - before).norm().item() == pytest.approx(3, rel=1e-4)


def test_numbers_on_their_way_hold_no_graph_and_buffers_are_copied_in_one_operation(monkeypatch):
    numbers, copies = Readback(), []
    numbers.put(1, {"loss": torch.ones((), requires_grad=True) * 2})
    (_, values, packed, _), *_ = numbers._waiting
    assert not values["loss"].requires_grad and not packed.requires_grad
    model, copy_ = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(3)), torch._foreach_copy_
    trained = {MAIN: Trained(model, torch.optim.Adam(model.parameters(), fused=True))}
    stepper = Stepper(trained, torch.amp.GradScaler("cpu", enabled=False), True)
    monkeypatch.setattr(torch, "_foreach_copy_", lambda *given: copies.append(len(given[0])) or copy_(*given))
    stepper.remember()
    assert copies == [6]


def test_the_average_keeps_recurrent_weights_in_one_piece(monkeypatch):
    """A copy takes them apart, and cuDNN would then join them at every call."""
    joined = []
    monkeypatch.setattr(nn.LSTM, "flatten_parameters", lambda lstm: joined.append(lstm))
    model = nn.ModuleList([nn.LSTM(2, 3), nn.Linear(3, 1)])
    joined.clear()
    assert Average(model, 0.9).model[0] in joined


@pytest.mark.parametrize(
    "device, precision, has_bf16, expected",
    [
        ("cuda", "auto", True, torch.float16),
        ("cuda", "auto", False, torch.float16),  # T4, V100
        ("cuda", "bf16", True, torch.bfloat16),
        ("cuda", "fp32", True, None),
        ("cpu", "auto", True, torch.bfloat16),
        ("cpu", "auto", False, None),
    ],
)
def test_precision_is_what_the_hardware_computes(monkeypatch, device, precision, has_bf16, expected):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: has_bf16, raising=False)
    assert choose_dtype(precision, torch.device(device)) == expected


def test_norms_are_added_in_the_same_order_in_every_run(monkeypatch):
    model, groups = nn.ModuleList(nn.Linear(1, 1) for _ in range(20)), []
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda group, clip: groups.append(group) or torch.ones(()))
    parameters = list(model.parameters())
    stepping._clip(model, 1.0, parameters[9::-1])
    assert [list(map(id, group)) for group in groups] == [list(map(id, parameters[10:])), list(map(id, parameters[:10]))]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    save_text(tmp_path / "file", "old")
    with pytest.raises(KeyboardInterrupt), write_atomically(tmp_path / "file") as temporary:
        temporary.write_text("ne")
        assert (tmp_path / "file").read_text() == "old"
        raise KeyboardInterrupt
    assert (tmp_path / "file").read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["file"]


def test_many_skipped_steps_stop_the_run_and_keep_the_last_good_checkpoint(tmp_path):
    with pytest.raises(UserError, match="not finite"):
        train(tmp_path, 100, bad_steps=range(7, 100), save_every=6)
    saved = checkpoint.load(tmp_path / "tiny" / "encoder.pt", "encoder")
    assert all(value.isfinite().all() for value in saved["model_state"].values())
    assert saved["step"] <= 6 + TO_GIVE_UP


def test_restart_keeps_the_old_file_beside(tmp_path):
    old = train(tmp_path, 3, backup_every=3)
    left_by_a_kill(tmp_path / "tiny" / "encoder.pt")
    of_another_stage = left_by_a_kill(tmp_path / "tiny" / "vocoder.pt")
    assert train(tmp_path, 2, force_restart=True)["step"] == 2
    for aside in ("encoder.before-restart-1.pt", "backups/encoder-0000003.before-restart-1.pt"):
        assert_same(old, checkpoint.load(tmp_path / "tiny" / aside, "encoder"))
    assert [*tmp_path.rglob("*.tmp")] == [of_another_stage]
    assert [row["step"] for row in metrics(tmp_path) if "loss" in row] == [1, 2]


def test_backups_are_kept(tmp_path):
    train(tmp_path, 7, backup_every=3)
    assert sorted(path.name for path in (tmp_path / "tiny" / "backups").iterdir()) == [
        "encoder-0000003.pt",
        "encoder-0000006.pt",
    ]


def test_another_model_size_is_refused_and_settings_may_change(tmp_path):
    train(tmp_path, 2, overrides={"width": "5"})
    assert train(tmp_path, 3)["model"]["width"] == 5  # the run keeps its own
    assert train(tmp_path, 4, overrides={"learning_rate": "0.01"})["training"]["learning_rate"] == 0.01
    with pytest.raises(UserError, match="width is 5, asked for 6"):
        train(tmp_path, 5, overrides={"width": "6"})


def test_precision_may_change_when_a_run_is_resumed(tmp_path, monkeypatch):
    train(tmp_path, 2)
    monkeypatch.setattr(training, "choose_dtype", lambda precision, device: torch.float16)
    assert train(tmp_path, 3)["scaler_state"]["scale"] > 0
    monkeypatch.undo()
    assert train(tmp_path, 4)["scaler_state"] == {}


def test_random_numbers_of_every_rank_go_on_when_a_run_is_resumed(tmp_path, monkeypatch):
    train(tmp_path / "resumed", 3)
    train(tmp_path / "whole", 1)
    for rank in (1, 2):
        monkeypatch.setattr(training, "join_ranks", lambda cpu, timeout, rank=rank: (rank, 1, torch.device("cpu")))
        drawn = {name: {} for name in ("resumed", "whole")}
        for name, by_step in drawn.items():
            train(tmp_path / name, 6, after_step=lambda step, to=by_step: to.update({step: torch.rand(()).item()}))
        assert [*drawn["resumed"]] == [4, 5, 6] and drawn["resumed"].items() <= drawn["whole"].items()


@pytest.mark.parametrize("run_id", ["a/b", "../x", "", ".hidden", "with space"])
def test_a_run_id_with_a_path_in_it_is_refused(run_id):
    with pytest.raises(UserError, match="run_id"):
        RunOptions(run_id)


def test_a_missing_visdom_costs_one_line(tmp_path, capfd):
    train(tmp_path, 3, visdom=True, visdom_server="http://localhost:9")
    assert capfd.readouterr().err.count("Visdom is off") == 1


@pytest.mark.parametrize("answer", ["none", "hang up", "garbage"])
def test_a_visdom_that_does_not_work_is_given_up_in_one_line_and_delays_nothing(tmp_path, capfd, answer):
    server, open_for_ever = socket.create_server(("127.0.0.1", 0)), []

    def serve():
        while True:
            try:
                connection = server.accept()[0]
            except OSError:
                return
            if answer == "none":
                open_for_ever.append(connection)
                continue
            if answer == "garbage":
                connection.sendall(b"\x00\xff garbage\r\n\r\n")
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    started = time.perf_counter()
    train(tmp_path, 30, visdom=True, visdom_server=f"http://127.0.0.1:{server.getsockname()[1]}", vis_every=1)
    seconds = time.perf_counter() - started
    server.close()
    lines = [line for line in capfd.readouterr().err.splitlines() if "isdom" in line]
    assert len(lines) == 1 and "Visdom is given up" in lines[0]
    assert len([row for row in metrics(tmp_path) if "loss" in row]) == 30
    assert seconds < 100  # on a busy machine; waiting for Visdom takes 5 of them


def test_stages_share_a_folder_and_do_not_forget_each_other_s_numbers(tmp_path):
    from utils.boards.board import Board

    train(tmp_path, 3)
    board = Board(tmp_path / "tiny", "vocoder", None)
    board.scalars(1, {"loss": 2.0})
    board.close()
    with (tmp_path / "tiny" / "metrics.jsonl").open("a") as torn:
        torn.write('{"stage": "vocoder", "st')
    train(tmp_path, 5)
    counted = [(row["stage"], row["step"]) for row in metrics(tmp_path) if "loss" in row]
    assert sorted(counted) == [*(("encoder", step) for step in range(1, 6)), ("vocoder", 1)]


def test_dashboards_group_their_tags_and_draw_held_out_losses_over_those_of_training(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from utils.boards import plot
    from utils.boards.board import Board

    drawn = []
    curves = plot.curves
    monkeypatch.setattr(plot, "curves", lambda *points: drawn.append(curves(*points)) or drawn[-1])
    for first in (0, 1):  # the second goes on
        board = Board(tmp_path, "vocoder", None, every=1, first_step=first)
        board.scalars(first + 1, {"loss": 2.0, "steps_per_second": 3.0, "skipped_steps": 0})
        board.scalars(first + 1, {"held_out_loss": 2.5}, held_out=True)
        board.audio(first + 1, "tone", np.sin(np.arange(1600) / 5), 16000)
        board.figure(first + 1, "waves", lambda: plot.waves({"true": np.zeros(1600)}, 16000))
        board.close()
    written = EventAccumulator(str(tmp_path / "tensorboard" / "vocoder")).Reload()
    tags = written.Tags()
    assert set(tags["scalars"]) == {f"train/{name}" for name in ("loss", "steps_per_second", "skipped_steps")} | {"eval/loss"}
    assert "custom_scalars__config__" in tags["tensors"]  # the chart of both losses
    assert tags["audio"] == ["sound/tone"] and tags["images"] == ["picture/waves"]
    assert [event.step for event in written.Scalars("eval/loss")] == [1, 2]
    shown = {axis.get_title(loc="left"): axis for axis in drawn[-1].axes if axis.lines}
    assert set(shown) == {"loss", "steps per second"}
    assert [(line.get_label(), list(line.get_xdata())) for line in shown["loss"].lines] == [
        ("training", [1, 2]),
        ("held out", [1, 2]),
    ]
    assert shown["steps per second"].get_ylabel() == "steps per second"


def test_tensorboard_begins_another_file_when_one_is_large(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    from utils.boards import dashboards
    from utils.boards.board import Board

    monkeypatch.setattr(dashboards._TensorBoard, "LARGEST", 10_000)
    monkeypatch.setattr(dashboards, "_Curves", lambda *arguments: dashboards.Sink())
    board = Board(tmp_path, "vocoder", None, every=1)
    for step in range(1, 1001):
        board.scalars(step, {"loss": 2.0, "grad_norm": 3.0}, held_out=True)
        while board._queue.qsize() > 100:
            time.sleep(0.001)
    board.close()
    files = [*(tmp_path / "tensorboard" / "vocoder").iterdir()]
    assert len(files) > 3 and max(path.stat().st_size for path in files) < 30_000
    written = EventMultiplexer({"run": str(tmp_path / "tensorboard" / "vocoder")}, size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in written.Scalars("run", "eval/loss")] == [*range(1, 1001)]


def test_curves_show_a_run_as_it_is():
    """Whatever the numbers: a collapsed run looks collapsed, a spike hides nothing, one point is seen, axes are named."""
    from utils.boards import plot
    from utils.boards.measures import PANEL_OF, UNITS

    measures = {name.rpartition("/")[2] for name in UNITS} | set(PANEL_OF)
    points = {name: [(step, 0.9999 + 1e-8 * step) for step in range(1, 200)] for name in sorted(measures)}
    points |= {
        "grad_norm": [(step, 1.5e6 if step == 70 else 2 + step % 3) for step in range(200)],
        "steps_per_second": [(1, 3.0)],
    }
    figure = plot.curves(points, "encoder")
    figure.canvas.draw()
    axes = {axis.get_title(loc="left").partition(",")[0]: axis for axis in figure.axes if axis.axison}
    assert axes["cosine"].get_ylim()[0] < 0 and axes["eer"].get_ylim()[0] == 0 and axes["eer"].get_ylim()[1] > 0.5
    assert axes["loss"].get_ylim()[1] - axes["loss"].get_ylim()[0] > 0.01
    assert axes["grad norm"].get_ylim()[1] < 6 and axes["grad norm"].get_title(loc="left") == "grad norm, up to 1.5e+06"
    assert axes["steps per second"].lines[0].get_marker() == "."
    for name, axis in axes.items():
        assert axis.get_ylabel() and not axis.yaxis.get_offset_text().get_text(), name
        assert not axis.get_legend() or axis.get_legend().get_frame_on(), name


def test_embeddings_that_are_all_alike_are_called_so():
    from utils.boards import plot

    vectors = np.random.default_rng(0).normal(size=(12, 8)) * [[1e-4]] + np.ones(8)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = [f"speaker {i % 3}" for i in range(12)]
    assert "all are alike" in plot.embeddings(vectors, labels, "step 1").axes[0].get_title()
    assert "all are alike" not in plot.embeddings(np.eye(12), labels, "step 1").axes[0].get_title()


def test_a_figure_that_fails_does_not_stop_the_board(tmp_path):
    from utils.boards.board import Board

    board = Board(tmp_path, "vocoder", None)
    board.figure(1, "broken", lambda: 1 / 0)
    board.audio(1, "tone", lambda: np.sin(np.arange(1600) / 5), 16000)
    board.scalars(1, {"loss": 1.0}, held_out=True)
    board.close()
    assert (tmp_path / "wavs" / "vocoder-tone-0000001.wav").stat().st_size > 3200
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["vocoder-curves.png"]


def test_pictures_that_take_too_long_at_the_end_are_left_out_with_a_line(tmp_path, capfd):
    from utils.boards.board import Board

    board, waiting = Board(tmp_path, "vocoder", None), threading.Event()
    board.figure(1, "slow", waiting.wait)
    board.close(0.1)
    waiting.set()
    assert capfd.readouterr().err.count("the last pictures are left out") == 1


def test_every_item_comes_once_an_epoch_and_ranks_share_a_batch():
    lengths = np.random.default_rng(0).integers(10, 500, size=103)
    whole = EpochPlan(lengths, 8, seed=3)
    epoch = [index for step in range(1, 13) for index in whole(step)]
    assert len(epoch) == len(set(epoch)) == 96
    halves = [EpochPlan(lengths, 4, seed=3, rank=rank, world_size=2) for rank in (0, 1)]
    for step in (1, 13, 40):
        assert sorted(halves[0](step) + halves[1](step)) == sorted(whole(step))
    assert len(EpochPlan([5, 6, 7], 8, seed=0)(1)) == 3
    with pytest.raises(UserError, match="too few for 4 ranks"):
        EpochPlan([5, 6, 7], 8, seed=0, world_size=4)


def test_random_numbers_of_different_keys_differ():
    drawn = [rng(*keys).integers(2**62) for keys in ((1,), (1, 0), (1, 2), (1, 2, 0), (1, 2, 0, 0), (1, 0, 2), (2, 1))]
    assert len(set(drawn)) == len(drawn) and rng(1, 2).integers(2**62) == drawn[2]


def test_similar_lengths_share_a_batch():
    lengths = np.random.default_rng(0).integers(10, 1000, size=1000)
    plan = EpochPlan(lengths, 10, seed=0)
    frames = [lengths[plan(step)] for step in range(1, 100)]
    padding = 1 - sum(batch.sum() for batch in frames) / sum(batch.max() * len(batch) for batch in frames)
    assert padding < 0.05


def test_held_out_names_do_not_depend_on_their_order():
    names = [f"speaker{i}" for i in range(40)]
    assert held_out(names, 0.05, 2) == held_out(names[::-1], 0.05, 2)
    assert len(held_out(names, 0.05, 2)) == 2 and len(held_out(names[:3], 0.5, 2)) == 1


@pytest.mark.parametrize("damage", ["cut short", "text", "another stage", "missing", "list"])
def test_a_bad_checkpoint_is_named_in_one_line(tmp_path, damage):
    path = tmp_path / "encoder.pt"
    checkpoint.save(path, {"format": checkpoint.stage_format("vocoder"), "step": 1, "weights": torch.zeros(1000)})
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "text":
        path.write_text("hello")
    elif damage == "list":
        torch.save([1, 2], path)
    elif damage == "missing":
        path.unlink()
    with pytest.raises(UserError, match=str(path)) as caught:
        checkpoint.load(path, "encoder")
    assert "\n" not in str(caught.value)
