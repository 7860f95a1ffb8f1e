"""Text and speaker embeddings to mel spectrograms, with a trained synthesizer."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import MethodType

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from synthesizer.accelerate import accelerate
from synthesizer.config import SPEEDS, ReadingSettings, TacotronConfig
from synthesizer.faults import missed_words, words
from synthesizer.generation import Loop
from synthesizer.hparams import hparams, hparams_of
from synthesizer.model import Generated, Tacotron
from synthesizer.published import own_content
from synthesizer.speech import Said, batches_in_order, halves, joined, longest_piece, pieces_of, said_at_speed, say_well
from synthesizer.text import END, Reading, read, shown, spoken_length, text_to_ids
from synthesizer.text.sentences import Piece
from utils.config import rebuilt
from utils.data import audio, signals
from utils.data.audio import MelFormat
from utils.data.levels import settle
from utils.errors import UserError
from utils.models import checkpoint, size
from utils.models.device import DTYPES, choose_dtype
from utils.models.fingerprint import fingerprint

MAX_BATCH = 16  # texts spoken at once


def _check_speed(speed: float) -> None:
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise ValueError(f"speed must be {SPEEDS[0]} to {SPEEDS[1]}, not {speed}")


class class_or_instance_method:
    """A method of both the class and its instances: it gets whichever it is called on."""

    def __init__(self, function: Callable) -> None:
        self._function = function

    def __get__(self, instance: object | None, owner: type) -> MethodType:
        return MethodType(self._function, owner if instance is None else instance)


class Synthesizer:
    """A trained synthesizer, from a checkpoint of this project or one published before it."""

    mel_format = MelFormat()  # an instance has its file's; notebooks also use these on the class itself
    sample_rate = mel_format.sample_rate
    hparams = hparams

    def __init__(
        self,
        path: str | Path | None = None,
        device: str | torch.device | None = None,
        verbose: bool = False,
        cap_frames: tuple[int, int] | None = None,
        precision: str = "auto",
        reading: ReadingSettings = ReadingSettings(),  # noqa: B008 (frozen)
        low_mem: bool = False,
    ) -> None:
        """path: by default the default voice's. device: by default a GPU if there is one. cap_frames: see TacotronConfig; by
        default the file's. precision: fp32, or bf16 or (on a GPU) fp16, which are faster but round; auto is bf16 where the
        hardware supports it. low_mem does nothing: old notebooks pass it.

        UserError if the file is missing, damaged or of another stage.
        """
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.verbose = verbose
        self._dtype = choose_dtype(precision, self.device)
        self.path = checkpoint.or_default(path, "synthesizer")
        content = checkpoint.load(self.path, "synthesizer", published=True)
        with checkpoint.restoring(self.path, "synthesizer"):
            content = checkpoint.averaged(own_content(content))
            state, config = content["model_state"], rebuilt(TacotronConfig, content["model"])
            self.model = size.of_state(lambda: Tacotron(config), state)
            self.model.load_state_dict(state)
            self.symbols, self.cleaner = content["symbols"], content["training"]["cleaner"]
            self.mel_format = rebuilt(MelFormat, content["mel"])
            self.encoder_digests: list[str] = content.get("encoder_sha256", [])  # of the encoder it was trained with
        self.cap_frames = cap_frames or self.model.config.cap_frames
        self.reading = reading
        self.longest_piece = longest_piece(self.model.config.longest_seconds, self.model.config.longest_symbols)
        self.unfinished: list[int] = []  # of the last texts, those in which the model did not stop
        self.missed: list[list[str]] = []  # of each of the last texts, the words that were skipped or repeated
        self.model.to(self.device).eval()
        self._loop_of: tuple = ()  # the model's fingerprint when the loop was made
        self._lock = threading.Lock()  # the loop runs one batch at a time
        self.sample_rate = self.mel_format.sample_rate
        self.hparams = hparams_of(self.mel_format)
        if verbose:
            print(f"Synthesizer {path}: step {content['step']}, {int(self.model.r)} frames per step, on {self.device}")

    def is_loaded(self) -> bool:
        """True: the model is loaded when it is made. Old notebooks ask."""
        return True

    def load(self) -> None:
        """Does nothing: the model is loaded already. Old notebooks call it."""

    def read(self, text: str) -> Reading:
        """The text as the model reads it, sounds in braces, and the characters it leaves out. UserError for a text without a
        letter the model knows."""
        reading = read(text, self.symbols, self.cleaner)
        return reading._replace(text=shown(reading.text))

    def pieces(self, text: str) -> list[Piece]:
        """The text as pieces that the model can say in one breath; those without anything to read are left out.

        UserError if nothing can be read, or for sounds in braces that the model has no symbols for.
        """
        return pieces_of(text, self.longest_piece, self.symbols, self.cleaner)

    def n_pieces(self, text: str) -> int:
        """How many pieces `read_aloud` gives."""
        return len(self.pieces(text))

    def read_aloud(
        self,
        text: str,
        embedding: np.ndarray,
        seed: int | None = None,
        speed: float = 1.0,
        batch_size: int = MAX_BATCH,
    ) -> Iterator[Said]:
        """Say a text of any length in the voice of the embedding (speaker_size,), piece after piece as they are made.

        The first piece is made alone, so that it comes soon; the others in batches of like length, out of the next few
        batches, so that memory does not grow with the text. speed: 0.8 to 1.25; the pitch stays. A seed makes the result
        repeatable: a piece depends on the others of its batch, and the batches on the text and batch_size alone. UserError,
        at once, if nothing in the text can be read.
        """
        _check_speed(speed)
        return self._read_aloud(self.pieces(text), self._speakers(embedding, 1), seed, speed, batch_size)

    def _read_aloud(
        self, pieces: list[Piece], speaker: Tensor, seed: int | None, speed: float, batch_size: int
    ) -> Iterator[Said]:
        made: dict[int, Said] = {}
        n_given = 0
        for number, chosen in enumerate(batches_in_order([len(piece.text) for piece in pieces], batch_size)):
            speakers = speaker.expand(len(chosen), -1)
            batch_seed = None if seed is None else seed + number
            said = self._say_well([pieces[i] for i in chosen], speakers, batch_seed, batch_size)
            made |= zip(chosen, said, strict=True)
            while n_given in made:
                yield said_at_speed(made.pop(n_given), speed, int(self.model.r))
                n_given += 1

    def synthesize_spectrograms(
        self,
        texts: Sequence[str],
        embeddings: np.ndarray | Sequence[np.ndarray],
        return_alignments: bool = False,
        seed: int | None = None,
        speed: float = 1.0,
    ) -> list[np.ndarray] | tuple[list[np.ndarray], list[np.ndarray]]:
        """Speak each text, of any length, in the voice of its embedding.

        embeddings: (N, speaker_size), N vectors, or one for all texts. A seed makes the result repeatable. speed: 0.8 to 1.25;
        the pitch stays. Returns a list of float32 (n_mels, T) and, if asked, of alignments, float32 (decoder steps, symbols). A
        long text is said in pieces, joined with pauses between them; its symbols are those of the pieces, each with its end
        symbol. A piece with a fault is spoken again a few times, then in parts; `unfinished` and `missed` tell what is missing
        after that. UserError for a text without a letter the model knows.
        """
        _check_speed(speed)
        pieces = [self.pieces(text) for text in texts]
        owners = [i for i, found in enumerate(pieces) for _ in found]
        speakers = self._speakers(embeddings, len(texts))[owners]
        said = iter(self._say_well([piece for found in pieces for piece in found], speakers, seed))
        by_text = [[said_at_speed(next(said), speed, int(self.model.r)) for _ in found] for found in pieces]
        self.unfinished = [i for i, found in enumerate(by_text) if not all(each.stopped for each in found)]
        self.missed = [[word for each in found for word in each.missed] for found in by_text]
        whole = [self._joined(found) for found in by_text]
        for i in self.unfinished:
            seconds = whole[i][0].shape[1] * self.mel_format.hop_length / self.sample_rate
            print(f"cut at {seconds:.1f} s, as the model did not stop: {texts[i][:60]!r}")
        for text, missed in zip(texts, self.missed, strict=True):
            if missed:
                print(f"not said as written: {', '.join(missed)}, in {text[:60]!r}")
        mels, alignments = ([each[part] for each in whole] for part in (0, 1))
        return (mels, alignments) if return_alignments else mels

    def _say_well(self, pieces: list[Piece], speakers: Tensor, seed: int | None, batch_size: int = MAX_BATCH) -> list[Said]:
        def join(said: list[Said], piece: Piece) -> Said:
            missed = tuple(word for each in said for word in each.missed)
            text, stopped = " ".join(each.text for each in said), all(each.stopped for each in said)
            return Said(text, *self._joined(said), piece.pause, missed, stopped)

        with self._repeatable(seed):
            say = functools.partial(self._say, batch_size=batch_size)
            divide = functools.partial(halves, symbols=self.symbols, cleaner=self.cleaner)
            return say_well(say, pieces, speakers, self.reading.retries, divide, join)

    def _say(self, pieces: list[Piece], speakers: Tensor, batch_size: int) -> list[Said]:
        """What the model makes of each piece at the first try, in batches of like length."""
        readings = [read(piece.text, self.symbols, self.cleaner).text for piece in pieces]
        index = {symbol: i for i, symbol in enumerate(self.symbols)}
        ids = [torch.tensor([index[symbol] for symbol in reading + END]) for reading in readings]
        step_seconds = int(self.model.r) * self.mel_format.hop_length / self.sample_rate
        said: dict[int, Said] = {}
        order = sorted(range(len(pieces)), key=lambda i: len(ids[i]))
        for chosen in (order[start : start + batch_size] for start in range(0, len(order), batch_size)):
            spoken = self._generate([ids[i] for i in chosen], speakers[chosen])
            for row, i in enumerate(chosen):
                mel, alignment = self._cut(spoken, row, len(ids[i]))
                spans = words(pieces[i].text, readings[i], self.cleaner)
                missed = tuple(missed_words(alignment, spans, step_seconds))
                said[i] = Said(shown(readings[i]), mel, alignment, pieces[i].pause, missed, bool(spoken.stopped[row]))
            if self.verbose:
                print(f"Synthesizer: {len(chosen)} pieces spoken")
        return [said[i] for i in range(len(pieces))]

    def _joined(self, said: list[Said]) -> tuple[np.ndarray, np.ndarray]:
        """One mel and one alignment."""
        frames_per_second = self.sample_rate / self.mel_format.hop_length
        pauses = [round(self.reading.after(each.pause) * frames_per_second) for each in said[:-1]]
        return joined(said, pauses, int(self.model.r), -self.mel_format.max_abs)

    def gta_mels(
        self,
        texts: Sequence[str],
        embeddings: np.ndarray | Sequence[np.ndarray],
        mels: Sequence[np.ndarray],
        seed: int | None = None,
    ) -> list[np.ndarray]:
        """Ground-truth-aligned mels: what the model predicts with teacher forcing (1712.05884, section 3.3).

        mels: the true ones, (T, n_mels) each. Returns as many float32 (T, n_mels), each of its true mel's length. All are one
        batch, so memory grows with their number times the longest.
        """
        ids = [torch.tensor(text_to_ids(text, self.symbols, self.cleaner)) for text in texts]
        speakers = self._speakers(embeddings, len(texts))
        frames = [torch.from_numpy(np.asarray(mel, dtype=np.float32)) for mel in mels]
        with self._repeatable(seed):
            predicted = self.model(*self._padded(ids), *self._padded(frames), speakers, int(self.model.r)).after.cpu().float()
        return [predicted[row, : len(mel)].numpy().copy() for row, mel in enumerate(mels)]

    @property
    def precision(self) -> str:
        """fp32, bf16 or fp16."""
        return next((name for name, dtype in DTYPES.items() if dtype == self._dtype), "fp32")

    @class_or_instance_method
    def griffin_lim(self, mel: np.ndarray, n_iter: int = 60) -> np.ndarray:
        """(n_mels, T) -> float32 wave (Griffin and Lim 1984): quick, but it sounds rough."""
        try:
            return audio.griffin_lim(signals.mel(mel, self.mel_format.n_mels).T, self.mel_format, n_iter)
        except ImportError as error:
            raise UserError(f"Griffin-Lim needs librosa ({error}): pip install librosa") from error

    @class_or_instance_method
    def load_preprocess_wav(self, path: str | Path) -> np.ndarray:
        """An audio file -> float32 wave at the model's sample rate and level."""
        return audio.rescale(audio.load(Path(path), self.mel_format.sample_rate), self.mel_format.rescale_peak)

    @class_or_instance_method
    def make_spectrogram(self, wav_or_path: np.ndarray | str | Path) -> np.ndarray:
        """A wave at the model's sample rate (as `utils.data.signals.wave` takes it), or an audio file -> float32 (n_mels, T) as
        the model is trained on."""
        if isinstance(wav_or_path, str | Path):
            wav = self.load_preprocess_wav(wav_or_path)
        else:
            wav = audio.rescale(settle(signals.wave(wav_or_path, is_raw=True))[0], self.mel_format.rescale_peak)
        return audio.mel_spectrogram(wav, self.mel_format).T

    @property
    def _loop(self) -> Loop:
        """What speaks. It holds a copy of the decoder's weights, so a changed model needs another."""
        if (now := fingerprint(self.model)) != self._loop_of:
            self._made_loop, self._loop_of = accelerate(self.model), now
        return self._made_loop

    def _generate(self, ids: list[Tensor], speakers: Tensor) -> Generated:
        text, lengths = self._padded(ids)
        r = int(self.model.r)
        cap, cap_per_symbol = self.cap_frames
        caps = cap + cap_per_symbol * lengths
        spoken_lengths = torch.tensor([spoken_length(each.tolist(), self.symbols) for each in ids], device=self.device)
        with self._lock:
            spoken = self.model.generate(text, lengths, speakers, -(-caps // r) * r, r, spoken_lengths, self._loop)
        return Generated(*(tensor.cpu().float() if tensor.is_floating_point() else tensor.cpu() for tensor in spoken))

    def _cut(self, spoken: Generated, row: int, n_symbols: int) -> tuple[np.ndarray, np.ndarray]:
        """One item's mel (n_mels, T) and alignment (steps, symbols), without the silence at its end."""
        mel = spoken.after[row, : int(spoken.lengths[row])].numpy()  # (T, n_mels)
        loud = np.flatnonzero(mel.max(axis=1) >= self.model.config.silence_level)
        n_frames = loud[-1] + 1 if len(loud) else len(mel)  # all of it silent: kept rather than empty
        n_steps = -(-n_frames // int(self.model.r))
        return mel[:n_frames].T.copy(), spoken.attention[row, :n_steps, :n_symbols].numpy().copy()

    def _padded(self, sequences: list[Tensor], value: float = 0.0) -> tuple[Tensor, Tensor]:
        """Padded (B, T, ...) and lengths (B,), on the device."""
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        return pad_sequence(sequences, True, value).to(self.device), lengths.to(self.device)

    def _speakers(self, embeddings: np.ndarray | Sequence[np.ndarray], n_texts: int) -> Tensor:
        """(n_texts, speaker_size)"""
        vectors = torch.from_numpy(np.atleast_2d(np.asarray(embeddings, dtype=np.float32)))
        size = self.model.config.speaker_size
        if vectors.shape not in ((n_texts, size), (1, size)):
            raise ValueError(f"{n_texts} texts need embeddings of shape ({n_texts}, {size}), got {tuple(vectors.shape)}")
        return vectors.expand(n_texts, size).to(self.device)

    @contextlib.contextmanager
    def _repeatable(self, seed: int | None) -> Iterator[None]:
        """Autocast and no gradients; a seed makes the dropout, which is always on, the same every time."""
        devices = [self.device] if self.device.type == "cuda" else []
        mixed = torch.autocast(self.device.type, self._dtype, enabled=self._dtype is not None)
        with torch.inference_mode(), mixed, torch.random.fork_rng(devices, enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            yield
