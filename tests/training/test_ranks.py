"""Several processes train one model: they start alike, and when one is lost the others say so and lose nothing."""

import json
import re
import time

import pytest

from tests.training.ranks import play

SCENARIOS = (
    *("alike", "three", "again", "other_step", "other_settings", "other_data"),  # in this order: the first four share a folder
    *("dead", "hang", "loading", "signals", "evaluating", "slow_disk", "orphans"),
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return play(tmp_path_factory.mktemp("ranks"), *SCENARIOS)


def test_the_loss_is_the_mean_of_all_ranks_and_their_number_may_change(outcome):
    own = [
        [float(line.split()[-1]) for line in outcome.printed("alike", rank).splitlines() if "own loss" in line]
        for rank in (0, 1)
    ]
    logged = [json.loads(line)["loss"] for line in (outcome.folder / "tiny" / "metrics.jsonl").read_text().splitlines()]
    assert logged[:6] == pytest.approx([(one + two) / 2 for one, two in zip(*own, strict=True)], abs=2e-6)
    assert outcome.codes("alike") == outcome.codes("three") == ["0", "0"]
    assert len(logged) == 9 and outcome.step("") == 9


def test_what_all_ranks_would_say_is_said_once(outcome):
    assert outcome.codes("again") == ["0", "0"] and outcome.printed("again", 0).count("already trained to step 9") == 1
    assert not outcome.printed("again", 1)


@pytest.mark.parametrize(
    ("name", "difference"),
    [
        ("other_step", "step is 9 on rank 0, 0 on rank 1"),
        ("other_settings", "learning_rate is 0.1 on rank 0, 0.2 on rank 1"),
        ("other_data", r"data \(digest\) is \w+ on rank 0, \w+ on rank 1"),
    ],
)
def test_ranks_that_differ_are_refused_in_one_line(outcome, name, difference):
    (line,) = outcome.errors(name)
    assert re.search(f"do not start alike: {difference}", line)
    assert outcome.codes(name) == ["1", "1"]


def test_a_dead_rank_costs_one_line_that_says_what_is_held_and_how_to_go_on(outcome):
    (line,) = outcome.errors("dead")
    assert "another rank has ended" in line and "encoder.pt holds step 4" in line and "torchrun --nproc_per_node 2" in line
    assert outcome.codes("dead") == ["1", "killed"] and outcome.step("dead") == 4


def test_a_rank_that_hangs_is_named(outcome):
    (line,) = outcome.errors("hang")
    assert "rank 1 (" in line and "has not answered for 5 s" in line and "holds step 4" in line


def test_a_rank_that_waits_for_its_data_is_named_though_the_others_replay_graphs(outcome):
    (line,) = outcome.errors("loading")
    assert "error: rank 1 (" in line and "has not answered for 3 s" in line


def test_a_second_signal_to_all_ranks_waits_for_the_checkpoint(outcome):
    assert outcome.codes("signals") == ["143", "143"] and outcome.step("signals") == 3


@pytest.mark.parametrize("name", ["evaluating", "slow_disk"])
def test_a_signal_waits_for_a_long_evaluation_and_a_slow_disk(outcome, name):
    """They take longer here than what would tell that another rank has died."""
    assert outcome.codes(name) == ["143", "143"] and outcome.step(name) == 3 and not outcome.errors(name)


def test_ranks_do_not_outlive_their_launcher(outcome):
    for _ in range(100):
        if "killed" not in outcome.codes("orphans"):
            break
        time.sleep(0.2)
    assert outcome.codes("orphans") == ["143", "143"] and outcome.step("orphans") > 0
