"""Cut the pauses out of speech with the WebRTC voice activity detector."""

import numpy as np
from scipy.ndimage import binary_dilation

SAMPLE_RATE = 16000
WINDOW = 480  # samples: 30 ms, the longest window that WebRTC's detector takes
AVERAGE = 8  # windows over which the decisions are smoothed
MAX_PAUSE = 6  # windows of silence that may stay between two voiced regions
AGGRESSIVENESS = 3  # 0-3; 3 calls the least audio speech


def trim_silences(wav: np.ndarray) -> np.ndarray:
    """Speech only: float32 (n,) at 16 kHz -> (m,), m <= n a multiple of 480; empty where nothing is voiced.

    A window stays if more than half of the 8 windows around it are voiced, or if it is within 3 windows of such a one.
    The last samples that do not fill a window are dropped.
    """
    n_windows = len(wav) // WINDOW
    whole = wav[: n_windows * WINDOW]
    keep = voiced_windows(whole)
    return whole.reshape(n_windows, WINDOW)[keep].reshape(-1)


def voiced_windows(wav: np.ndarray) -> np.ndarray:
    """bool (n_windows,): which 30 ms windows of float32 (n_windows * 480,) are kept."""
    votes = np.concatenate(([0], np.cumsum(_speech_flags(wav))))  # votes[i]: voiced windows before window i
    n = len(votes) - 1
    if n == 0:
        return np.zeros(0, dtype=bool)
    first = np.clip(np.arange(n) - (AVERAGE - 1) // 2, 0, n)
    past = np.clip(np.arange(n) + AVERAGE // 2 + 1, 0, n)
    smooth = votes[past] - votes[first] > AVERAGE // 2  # a tie counts as silence, and so does the outside
    return binary_dilation(smooth, np.ones(MAX_PAUSE + 1, dtype=bool))


def _speech_flags(wav: np.ndarray) -> list[bool]:
    import webrtcvad

    detector = webrtcvad.Vad(mode=AGGRESSIVENESS)
    pcm = memoryview(np.rint(np.clip(wav, -1, 1) * 32767).astype(np.int16).tobytes())
    n_bytes = 2 * WINDOW
    return [detector.is_speech(pcm[i : i + n_bytes], SAMPLE_RATE) for i in range(0, len(pcm), n_bytes)]
