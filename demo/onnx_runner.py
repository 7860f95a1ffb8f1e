"""Speaks with models that `python -m utils.export --format onnx` wrote, without torch and librosa (docs/sharing.md).

It needs numpy, scipy, onnxruntime, soundfile, unidecode and inflect. Texts are split and read, and folds of the wave joined, by
the modules that the other demo uses.
"""

import argparse
import contextlib
import math
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.signal import resample_poly

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from demo.config import CloningSettings
from demo.joining import fitted
from encoder.config import VOLUME_DBFS
from encoder.partials import compute_partial_slices, mean_embedding, partials_of_wave
from synthesizer.config import SPEEDS, ReadingSettings, TacotronConfig
from synthesizer.reading.reader import Reader, SpokenBatch
from synthesizer.reading.speech import Said
from utils import cli
from utils.config import override, parse_overrides, rebuilt
from utils.data import audio, vad
from utils.data.mel_format import MelFormat
from utils.data.paths import refuse_address
from utils.errors import UserError
from utils.export.onnx_file import TABLES, Model
from utils.models.identity import warn_if_different
from vocoder.config import WaveRNNConfig, check_sizes
from vocoder.fold import Generator
from vocoder.postfilter import PostFilter


class Embedder:
    """Recordings -> the embedding of the voice."""

    def __init__(self, folder: Path, n_threads: int) -> None:
        self.path, self._model = folder / "encoder.onnx", Model(folder, "encoder", n_threads)
        self.digests: list[str] = self._model.settings["encoder_sha256"]
        self.embedding_size: int = self._model.settings["model"]["embedding_size"]

    def embed(self, paths: Sequence[Path]) -> np.ndarray:
        """(E,), the mean over the recordings."""
        found = []
        for wav in map(speech, paths):
            partials = partials_of_wave(wav, compute_partial_slices(len(wav)))
            found.append(mean_embedding(self._model(mels=partials)[0]))
        return mean_embedding(np.stack(found))


def speech(path: Path) -> np.ndarray:
    """A recording -> its speech, float32 (n,) at 16 kHz, as encoder.audio.preprocess_wav prepares it.

    Without soxr it is resampled by scipy, and without webrtcvad pauses are found by their level: the embedding is nearly the
    same. UserError if it is not audio or holds no speech.
    """
    wav = at_16_khz(path)
    wav = audio.normalize_volume(wav, VOLUME_DBFS, increase_only=True)
    try:
        wav = vad.trim_silences(wav)
    except ImportError:
        wav = vad.trim_silences(wav, vad.loud_windows)
    if not len(wav):
        raise UserError(f"{path}: no speech found in it; take a louder or longer recording")
    return wav


def at_16_khz(path: Path) -> np.ndarray:
    try:
        import soxr  # noqa: F401 (what audio.load resamples with)
    except ImportError:
        import soundfile

        with contextlib.suppress(soundfile.LibsndfileError):  # audio.load says what is wrong
            rate = soundfile.info(str(path)).samplerate
            common = math.gcd(rate, audio.SAMPLE_RATE)
            wav = audio.load(path, rate)
            return resample_poly(wav, audio.SAMPLE_RATE // common, rate // common).astype(np.float32)
    return audio.load(path)


def make_reader(folder: Path, n_threads: int, reading: ReadingSettings) -> Any:
    """What reads texts aloud: a synthesizer.reading.reader.Reader that runs the three graphs of the synthesizer."""
    text, decoder, postnet = (Model(folder, f"synthesizer_{part}", n_threads) for part in ("text", "decoder", "postnet"))
    settings = decoder.settings
    if len(str(settings["symbols"])) != settings["model"]["n_symbols"]:
        raise ValueError("symbols")

    class OnnxReader(Reader):
        config, r = rebuilt(TacotronConfig, settings["model"]), settings["r"]
        encoder_digests, path = settings.get("encoder_sha256", []), folder / "synthesizer_decoder.onnx"
        random = np.random.default_rng()

        def _repeatable(self, seed: int | None) -> contextlib.AbstractContextManager:
            self.random = np.random.default_rng(seed)
            return contextlib.nullcontext()

        def _generate(self, ids: list[list[int]], speakers: np.ndarray) -> SpokenBatch:
            lengths = np.array([len(each) for each in ids])
            padded = np.zeros((len(ids), lengths.max()), np.int64)
            for row, each in zip(padded, ids, strict=True):
                row[: len(each)] = each
            spoken, caps = self._limits(ids)
            noise = self.random.random((*padded.shape, sum(self.config.encoder_prenet)), np.float32)
            values, keys = text(ids=padded, lengths=lengths, speakers=np.ascontiguousarray(speakers), noise=noise)
            sizes = (caps.max() // self.r, len(ids), sum(self.config.decoder_prenet))
            said = {"values": values, "keys": keys, "lengths": lengths, "spoken_lengths": spoken, "max_frames": caps}
            before, attention, mel_lengths, stopped = decoder(**said, noise=self.random.random(sizes, np.float32))
            (mels,) = postnet(before=before, lengths=mel_lengths)
            return SpokenBatch(mels, attention, mel_lengths, stopped)

    training, mel_format = settings["training"], rebuilt(MelFormat, settings["mel"])
    return OnnxReader(
        OnnxReader.config, mel_format, settings["symbols"], training["cleaner"], reading, sounds=training.get("sounds", 0.0)
    )


class Sampler:
    """See vocoder.sampling.Sampler; here `frames` gives the wave. Threads share out the rows."""

    width = 12

    def __init__(self, conditioning: Model, sampling: Model, hop: int, n_threads: int) -> None:
        self._conditioning, self._sampling, self._hop = conditioning, sampling, hop
        self._n_threads, self._n_rnn = n_threads, sampling.settings["model"]["rnn_dims"]
        self._pool = ThreadPoolExecutor(n_threads)

    def start(self, n_rows: int) -> None:
        sizes = {"level": 1, "h1": self._n_rnn, "h2": self._n_rnn}
        self._state = {name: np.zeros((n_rows, size), np.float32) for name, size in sizes.items()}

    def load(self, windows: np.ndarray) -> None:
        self._mel, *tables = self._conditioning(windows=windows)
        self._tables = dict(zip(TABLES, tables, strict=True))
        self._n_taps = self._mel.shape[1] - tables[0].shape[1] + 1

    def frames(self, place: int, uniform: np.ndarray) -> np.ndarray:
        groups = np.array_split(np.arange(len(uniform)), min(self._n_threads, len(uniform)))
        made = list(self._pool.map(lambda rows: self._rows(slice(rows[0], rows[-1] + 1), place, uniform), groups))
        self._state = {name: np.concatenate([state[name] for _, state in made]) for name in self._state}
        return np.concatenate([wave for wave, _ in made])

    def _rows(self, rows: slice, place: int, uniform: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        state, waves = {name: each[rows] for name, each in self._state.items()}, []
        for k in range(uniform.shape[1] // self._hop):
            frame = {name: table[rows, place + k] for name, table in self._tables.items()}
            mel, drawn = self._mel[rows, place + k :][:, : self._n_taps], uniform[rows, k * self._hop : (k + 1) * self._hop]
            *after, wave = self._sampling(mel=mel, uniform=drawn, **frame, **state)
            state = dict(zip(state, after, strict=True))
            waves.append(wave)
        return np.concatenate(waves, axis=1), state


class Speaker:
    """The whole: text and embedding -> wave."""

    def __init__(self, folder: Path, n_threads: int, reading: ReadingSettings, settings: CloningSettings) -> None:
        self.embedder, self.reader = Embedder(folder, n_threads), make_reader(folder, n_threads, reading)
        conditioning, sampling = Model(folder, "vocoder_conditioning", n_threads), Model(folder, "vocoder_sampling", 1)
        config, self.mel_format = rebuilt(WaveRNNConfig, sampling.settings["model"]), self.reader.mel_format
        if rebuilt(MelFormat, sampling.settings["mel"]) != self.mel_format:
            raise UserError(f"{folder}: the vocoder reads other mels than the synthesizer makes; export models that fit")
        check_sizes(config, self.mel_format)
        self.settings, self._strength = settings, sampling.settings.get("training", {}).get("postfilter", 0.0)
        parts = SimpleNamespace(config=config, distribution=SimpleNamespace(decode=lambda wave: wave))
        self._generator = Generator(parts, Sampler(conditioning, sampling, config.hop_length, n_threads))

    def sound(self, mel: np.ndarray, seed: int) -> Iterator[np.ndarray]:
        """(n_mels, T) -> float32 waves, one for each group of folds, as vocoder.inference makes them."""
        frames = np.ascontiguousarray(mel.T / self.mel_format.max_abs, np.float32)
        waves = self._generator.stream(frames, self.mel_format, self.settings.target, self.settings.overlap, seed)
        return PostFilter(frames, self.mel_format, self._strength).stream(waves) if self._strength else waves

    def say(self, text: str, embedding: np.ndarray, seed: int | None, speed: float) -> Iterator[tuple[Said, np.ndarray]]:
        """Pieces of the text as they are made, each with its float32 wave (n,) and the pause before it."""
        n_silent, rate = 0, self.mel_format.sample_rate
        vocoder_seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
        for said in self.reader.read_aloud(text, embedding, seed, speed):
            wav, _ = fitted(np.concatenate(list(self.sound(said.mel, vocoder_seed))), rate, self.settings.loudness)
            yield said, np.concatenate([np.zeros(n_silent, np.float32), wav])
            n_silent = round(self.reader.reading.after(said.pause) * rate)


def load(folder: Path, n_threads: int, reading: ReadingSettings, settings: CloningSettings) -> Speaker:
    """UserError if a file is missing, damaged, or of another version."""
    refuse_address(folder)
    try:
        return Speaker(folder, n_threads, reading, settings)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(repr(error).split())[:150]
        raise UserError(f"{folder}: its files lack settings of this version ({reason}); export them again") from error


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(
        "Speak any text in the voice of a recording, with ONNX models: without torch. Exits with 3 if words are missing."
    )
    add = parser.add_argument
    add("--models", type=Path, required=True, metavar="DIR", help="folder that python -m utils.export --format onnx wrote")
    voice = parser.add_mutually_exclusive_group(required=True)
    reference_help = "recordings of one voice; several are averaged"
    voice.add_argument("--reference", type=Path, nargs="+", metavar="FILE", help=reference_help)
    voice_help = "file of demo_cli.py --save_voice; several are blended, each as strong as its weight"
    voice.add_argument("--voice", type=cli.weighted_file, action="append", metavar="FILE[:WEIGHT]", help=voice_help)
    add("--text", required=True, help="what to say: a word or pages; blank lines separate paragraphs")
    output_help = "WAV file to write or replace; - writes 16-bit samples to the standard output"
    add("--output", type=output, required=True, metavar="FILE", help=output_help)
    speed_help = f"{SPEEDS[0]} to {SPEEDS[1]} times the model's own pace"
    add("--speed", type=cli.number(*SPEEDS), default=1.0, metavar="X", help=speed_help)
    add("--seed", type=cli.SEED, metavar="N", help="makes the result repeatable")
    add("--threads", type=cli.whole_number(1), default=2, metavar="N", help="threads that share the work")
    cli.add_hparams(parser, CloningSettings, ReadingSettings)
    return parser.parse_args()


def output(text: str) -> Path | None:
    return None if text == "-" else cli.file_named(".wav")(text)


def main() -> None:
    args = parse_arguments()
    settings, reading = override(parse_overrides(args.hparams), CloningSettings(), ReadingSettings())
    speaker = load(args.models, args.threads, reading, settings)
    embedder, reader, rate = speaker.embedder, speaker.reader, speaker.mel_format.sample_rate
    if args.voice:
        from demo.voice_file import load_blend

        embedding = load_blend(args.voice, embedder).embedding
    else:
        embedding = embedder.embed(args.reference)
    with contextlib.redirect_stdout(sys.stderr):
        warn_if_different(embedder.path, embedder.digests, reader.path, reader.encoder_digests)
    began, n_samples, missed, interrupted = time.perf_counter(), 0, [], None
    with audio.wav_writer(args.output, rate) if args.output else contextlib.nullcontext(to_stdout) as write:
        try:
            for said, wav in speaker.say(args.text, embedding, args.seed, args.speed):
                write(wav)
                n_samples, missed = n_samples + len(wav), [*missed, *said.missed]
        except KeyboardInterrupt as error:
            if not n_samples:  # there is nothing to write
                raise
            interrupted = error
        write(np.zeros(round(settings.tail * rate), np.float32))
    took, seconds = time.perf_counter() - began, n_samples / rate
    print(f"{seconds:.2f} s of audio in {took:.2f} s (real-time factor {took / seconds:.2f})", file=sys.stderr)
    if interrupted:
        raise interrupted
    if missed:
        raise UserError(f"not said, or not said once: {', '.join(missed)}", exit_code=3)


def to_stdout(wav: np.ndarray) -> None:
    sys.stdout.buffer.write(audio.to_int16(wav).astype("<i2").tobytes())
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    cli.run(main)
