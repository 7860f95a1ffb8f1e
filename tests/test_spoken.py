"""The picture of what the demo has said."""

import numpy as np
import pytest

from demo.spoken import Spoken, draw, save_picture


def spoken(texts: list[str], pause: float = 0.25) -> Spoken:
    mels = [np.linspace(-4, 4, 80 * 40).reshape(80, 40) for _ in texts]
    alignments = [np.eye(10, len(text) + 1) for text in texts]
    return Spoken(np.zeros(16000), 16000, texts, mels, alignments, [], 200, pause, took=0.5)


def test_texts_stand_one_after_another_on_the_axis_of_the_sound():
    upper, lower = draw(spoken(["abc", "de"])).axes
    assert [tuple(image.get_extent()) for image in upper.images] == [(0, 0.5, 0, 80), (0.75, 1.25, 0, 80)]
    assert [tuple(image.get_extent()) for image in lower.images] == [(0, 0.5, -0.5, 3.5), (0.75, 1.25, 3.5, 6.5)]
    assert [label.get_text() for label in lower.get_yticklabels()] == ["a", "b", "c", "end", "d", "e", "end"]
    assert lower.get_xlim() == (0, 1.25) and lower.get_ylim() == (-0.5, 6.5)


def test_a_long_text_and_sounds_that_are_one_symbol_each_are_drawn_without_letters(tmp_path):
    long = spoken(["a" * 200])
    sounds = spoken(["{HH AH0}"])._replace(alignments=[np.eye(10, 3)])
    for each in (long, sounds):
        assert "a" not in [label.get_text() for label in draw(each).axes[1].get_yticklabels()]
    save_picture(tmp_path / "a.png", long)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_real_time_factor_is_time_taken_by_second_of_sound():
    assert spoken(["a"]).real_time_factor == pytest.approx(0.5)
