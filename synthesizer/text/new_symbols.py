"""Weights for more symbols than they were trained with, as a run needs them that starts from another model."""

import unicodedata
from typing import Any

import torch

from synthesizer.text.symbols import PHONE_NAMES
from utils.report_lines import say_once

EMBEDDING = "encoder.embedding.weight"
SPELLED = dict(  # a letter that often spells the sound, of those that are not named by it
    pair.split(":")
    for pair in (
        "AA:o AE:a AH:u AO:o AW:o AY:i DH:t EH:e ER:r EY:a HH:h IH:i IY:e JH:j NG:n OW:o OY:o SH:s TH:t UH:u UW:u ZH:z CH:c"
    ).split()
)


def with_symbols(content: dict[str, Any], symbols: str) -> dict[str, Any]:
    """The content of a synthesizer's file with these symbols. It stays as it is if they lack one that it has.

    A symbol that the file knows keeps its embedding. A new sound starts with that of a letter that often spells it, ä with
    that of a, and what has no such letter with random numbers.
    """
    known = content["symbols"]
    if known == symbols or not set(known) <= set(symbols):
        return content
    n_new = len(symbols) - len(known)
    like = [_like(symbol, known) for symbol in symbols]
    changed = {"symbols": symbols, "model": content["model"] | {"n_symbols": len(symbols)}}
    for name in ("model_state", "average_state"):
        if name in content:
            changed[name] = content[name] | {EMBEDDING: _rows(content[name][EMBEDDING], like)}
    say_once(f"synthesizer: {n_new} of the {len(symbols)} symbols are new, and start like letters of the file where these fit")
    return content | changed


def _like(symbol: str, known: str) -> int | None:
    """The place of the known symbol whose embedding it gets."""
    phone = PHONE_NAMES.get(symbol, "").rstrip("012")
    likes = (symbol, SPELLED.get(phone, phone.lower()), unicodedata.normalize("NFD", symbol)[0])
    return next((known.index(each) for each in likes if each and each in known), None)


def _rows(embedding: torch.Tensor, places: list[int | None]) -> torch.Tensor:
    random = torch.randn(len(places), embedding.size(1), generator=torch.Generator().manual_seed(0))
    return torch.stack([random[i].to(embedding) if place is None else embedding[place] for i, place in enumerate(places)])
