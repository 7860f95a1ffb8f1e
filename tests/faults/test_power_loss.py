"""After a power loss every file is old or new, and what is continued ends as if there had been none."""

from unittest import mock

import pytest

from tests.faults import power_loss

FEW = 3


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory):
    return {scenario.name: scenario for scenario in power_loss.scenarios(tmp_path_factory.mktemp("power"))}


@pytest.mark.parametrize("name", ["encoder mels made anew", "speech made anew", "embeddings of another encoder", "checkpoint"])
def test_nothing_is_lost(scenarios, name, tmp_path):
    assert power_loss.cut(scenarios[name], tmp_path, FEW) > 0


def test_without_flushing_the_simulation_loses_data(scenarios, tmp_path):
    def unflushed(before, events, *more):
        simulate(before, [event for event in events if event[0] != "sync"], *more)

    simulate = power_loss.after_power_loss
    with mock.patch.object(power_loss, "after_power_loss", unflushed), pytest.raises(AssertionError, match=r"encoder.pt"):
        power_loss.cut(scenarios["checkpoint"], tmp_path, 12)
