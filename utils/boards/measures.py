"""The tag, plot and unit of each measure on dashboards."""

TRAIN, EVAL, SOUND, PICTURE = "train", "eval", "sound", "picture"  # groups of tags

# Measures that share a plot, with the names of their traces. Every other measure has a plot of its own.
PANELS = {
    "train/loss": {
        "loss": "training",
        "held_out_loss": "held out",
        "held_out_loss_not_averaged": "held out, not averaged",
        "guessing_loss": "guessing",
    },
    "train/mel_loss": {"mel_loss": "training", "eval_mel_loss": "held out"},
    "train/stop_loss": {"stop_loss": "training", "eval_stop_loss": "held out"},
    "eval/eer": {"eer": "EER", "eer_low": "95 % interval", "eer_high": "its upper end"},
    "eval/cosine": {"same_cosine": "same speaker", "different_cosine": "different speakers"},
}
PANEL_OF = {measure: panel for panel, traces in PANELS.items() for measure in traces}
INTERVAL = ("95 % interval", "its upper end")  # thin traces, the first of which a legend names
SHOWN_WHEN_POSITIVE = ("skipped_steps",)

# Vertical ranges that are always the same, and what guessing gives.
LIMITS = {"eval/eer": (0.0, 0.55), "eval/cosine": (-0.1, 1.05)}
GUESSING = {"eval/eer": 0.5}

UNITS = {
    "encoder/loss": "nats per utterance",
    "synthesizer/loss": "error + nats",
    "vocoder/loss": "nats per sample",
    "learning_rate": "step size of Adam",
    "mel_loss": "squared + absolute error",
    "stop_loss": "nats per step",
    "attention_loss": "weighted sum",
    "grad_norm": "L2 norm before clipping",
    "steps_per_second": "steps per second",
    "data_seconds": "seconds",
    "eer": "share of pairs",
    "cosine": "mean cosine",
    "position_error": "symbols",
    "free_length_ratio": "times the target's length",
    "alignment_score": "score from 0 to 1",
    "free_alignment_score": "score from 0 to 1",
    "alignment_peak": "mean largest weight",
    "alignment_monotonicity": "share of steps",
    "alignment_coverage": "share of symbols",
    "free_coverage": "share of symbols",
    "free_stop_misses": "share of texts",
    "free_stopped_by_attention": "share of texts",
    "r": "frames per step",
    "skipped_steps": "steps",
}


def tag(group: str, measure: str) -> str:
    """Of TensorBoard: eval/mel_loss for eval_mel_loss."""
    return f"{group}/{measure.removeprefix('eval_').removeprefix('held_out_')}"


def plot_of(measure: str, group: str = TRAIN) -> tuple[str, str]:
    """The plot that shows a measure, and the name of its trace in it."""
    panel = PANEL_OF.get(measure)
    return (panel, PANELS[panel][measure]) if panel else (tag(group, measure), measure.replace("_", " "))


def is_shown(measure: str, value: float) -> bool:
    return value > 0 or measure not in SHOWN_WHEN_POSITIVE


def unit(plot: str, stage: str) -> str:
    """What the vertical axis of a plot counts."""
    measure = plot.partition("/")[2]
    return UNITS.get(f"{stage}/{measure}") or UNITS.get(measure) or measure.replace("_", " ")


def charts() -> dict[str, list[str]]:
    """The tags of each plot that several measures share."""
    return {
        panel: [tag(TRAIN if panel == f"{TRAIN}/{measure}" else EVAL, measure) for measure in traces]
        for panel, traces in PANELS.items()
    }
