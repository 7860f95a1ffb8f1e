"""Tacotron with speaker embeddings (1703.10135, 1712.05884; SV2TTS 1806.04558, section 2.2).

Shapes: B utterances, T characters, F frames, S = ceil(F / r) decoder steps, E = encoder_size + speaker_size.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthesizer.attention import ATTENTIONS, Memory, make_attention
from synthesizer.decoder import Decoder
from synthesizer.generation import Ends, Loop, speak
from synthesizer.layers import CBHG, PreNet, sequence_mask
from synthesizer.loops import fastest_loop
from utils.config import check_at_least


@dataclass(frozen=True)
class TacotronConfig:
    """Sizes; the defaults are the published ones."""

    n_symbols: int = 66
    n_mels: int = 80
    speaker_size: int = 256
    speaker_scale: float = (
        1.0  # factor on the speaker embedding; 16 makes the numbers of a unit vector of 256 as large as others
    )
    embedding_size: int = 512
    encoder_prenet: tuple[int, int] = (256, 256)
    encoder_size: int = 256
    encoder_kernels: int = 5  # the CBHG's bank holds kernels of 1 to this many characters
    decoder_prenet: tuple[int, int] = (256, 256)
    attention: str = "location"  # one of synthesizer.attention.ATTENTIONS; this one is the published one
    attention_size: int = 128
    attention_filters: int = 32
    attention_kernel: int = 31  # characters; odd
    decoder_size: int = 1024
    postnet_size: int = 512
    postnet_kernels: int = 5
    n_highways: int = 4
    max_r: int = 20  # frames that a decoder step can give; the reduction factor r says how many it does give
    prenet_dropout: float = 0.5
    zoneout: float = 0.1
    silence_level: float = -3.4  # trailing frames that stay under it are cut from generated speech
    arrival_frames: int = 20  # speech ends when the attention has been on the text's end for so long, too; 0: it does not
    cap_frames: tuple[int, int] = (100, 15)  # a text that does not end is cut at so many, and so many more for each symbol

    def __post_init__(self) -> None:
        sizes = ("n_symbols", "n_mels", "speaker_size", "embedding_size", "encoder_prenet", "encoder_size", "encoder_kernels")
        check_at_least(self, 1, *sizes, "decoder_prenet", "attention_size", "attention_filters", "attention_kernel")
        check_at_least(self, 1, "decoder_size", "postnet_size", "postnet_kernels", "max_r")
        check_at_least(self, 0, "n_highways", "prenet_dropout", "zoneout", "arrival_frames")
        check_at_least(self, 1, "cap_frames")
        if self.attention not in ATTENTIONS:
            raise ValueError(f"attention must be one of {', '.join(ATTENTIONS)}")
        if self.speaker_scale <= 0:
            raise ValueError("speaker_scale must be positive")
        if self.attention_kernel % 2 == 0:
            raise ValueError("attention_kernel must be odd")
        if self.encoder_size % 2 or self.postnet_size % 2:
            raise ValueError("encoder_size and postnet_size are cut in two directions: they must be even")
        if max(self.prenet_dropout, self.zoneout) >= 1:
            raise ValueError("prenet_dropout and zoneout must be under 1")


class Prediction(NamedTuple):
    """Teacher-forced answer."""

    before: Tensor  # (B, F, n_mels) mel before the post-net
    after: Tensor  # (B, F, n_mels) mel after it
    stop_logits: Tensor  # (B, S)
    attention: Tensor  # (B, S, T)


class Generated(NamedTuple):
    """Free-running answer. What stands after an item's own end means nothing."""

    before: Tensor  # (B, F, n_mels)
    after: Tensor  # (B, F, n_mels)
    attention: Tensor  # (B, S, T)
    lengths: Tensor  # (B,) frames of each item
    stopped: Tensor  # (B,) bool: the stop output or the attention's arrival ended it, not its cap
    arrived: Tensor  # (B,) bool: the attention had arrived at the text's end, and the stop output had not ended it


class TextEncoder(nn.Module):
    def __init__(
        self, n_symbols: int, embedding_size: int, prenet: PreNet, n_prenet: int, size: int, n_kernels: int, n_highways: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_symbols, embedding_size)
        self.prenet = prenet
        self.cbhg = CBHG(n_prenet, size, n_kernels, (size, n_prenet), n_highways)

    def forward(self, text: Tensor, mask: Tensor, speakers: Tensor) -> Tensor:
        """ids (B, T), mask (B, T, 1), speakers (B, speaker_size) -> (B, T, E)"""
        x = self.cbhg(self.prenet(self.embedding(text)), mask)  # (B, T, size)
        return torch.cat([x, speakers[:, None].expand(-1, text.size(1), -1).to(x.dtype)], dim=2)


class Tacotron(nn.Module):
    def __init__(self, config: TacotronConfig) -> None:
        super().__init__()
        self.config = c = config
        encoder_prenet = PreNet(c.embedding_size, c.encoder_prenet, c.prenet_dropout)
        self.encoder = TextEncoder(
            c.n_symbols, c.embedding_size, encoder_prenet, c.encoder_prenet[1], c.encoder_size, c.encoder_kernels, c.n_highways
        )
        n_context = c.encoder_size + c.speaker_size
        attention = make_attention(
            c.attention, n_context, c.attention_size, c.attention_size, c.attention_filters, c.attention_kernel
        )
        self.decoder = Decoder(
            n_mels=c.n_mels,
            n_context=n_context,
            prenet_sizes=c.decoder_prenet,
            prenet_dropout=c.prenet_dropout,
            attention=attention,
            attention_size=c.attention_size,
            size=c.decoder_size,
            zoneout=c.zoneout,
            max_r=c.max_r,
        )
        self.postnet = CBHG(c.n_mels, c.postnet_size, c.postnet_kernels, (c.postnet_size, c.n_mels), c.n_highways)
        self.output = nn.Linear(c.postnet_size, c.n_mels, bias=False)
        # What the weights were last trained with; they speak with this one, so it travels with them.
        self.register_buffer("r", torch.tensor(2, dtype=torch.int32))
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)

    def forward(
        self, text: Tensor, text_lengths: Tensor, mels: Tensor, mel_lengths: Tensor, speakers: Tensor, r: int
    ) -> Prediction:
        """Teacher forcing: ids (B, T), (B,), mels (B, F, n_mels), (B,), speakers (B, speaker_size) -> Prediction

        Each step sees the last frame of the r frames before its own. What the last step says past F is dropped.
        """
        n_frames = mels.size(1)
        n_steps = -(-n_frames // r)
        seen = F.pad(mels[:, r - 1 :: r][:, : n_steps - 1], (0, 0, 1, 0))  # (B, S, n_mels), zeros first
        before, stop_logits, attention = self.decoder(seen, self._read(text, text_lengths, speakers), r)
        before = before[:, :n_frames]
        return Prediction(before, self._refine(before, mel_lengths), stop_logits, attention)

    def attention_parameters(self) -> list[nn.Parameter]:
        """What decides where the attention goes: all that a loss of the attention alone gives a gradient."""
        d = self.decoder
        modules = (self.encoder, d.prenet, d.query_prenet, d.query_context, d.query_hidden, d.attention)
        return [parameter for module in modules for parameter in module.parameters()]

    @torch.no_grad()
    def generate(
        self,
        text: Tensor,
        text_lengths: Tensor,
        speakers: Tensor,
        max_frames: Tensor,
        r: int | None = None,
        spoken_lengths: Tensor | None = None,
        loop: Loop | None = None,
    ) -> Generated:
        """Free running: ids (B, T), (B,), speakers (B, speaker_size), most frames of each item (B,) -> Generated

        An item ends with the first step whose stop output passes 0.5, or when most of the attention has been for arrival_frames
        on what ends the text, or at its cap, whatever the others do. spoken_lengths (B,): the symbols before that end, which is
        the last symbol if it is not given. loop: what speaking_loop gave, to spare it arranging the weights again.
        """
        loop = loop or self.speaking_loop(r)
        memory = self._read(text, text_lengths, speakers)
        unspoken = ~sequence_mask(text_lengths - 1 if spoken_lengths is None else spoken_lengths, text.size(1))  # (B, T)
        ends = Ends(unspoken, max_frames, self.config.arrival_frames, loop.r)
        with torch.autocast(text.device.type, enabled=False):  # it would convert the weights at every step
            mel, attention = speak(loop, memory.float(), ends)
        lengths, stopped, arrived = (
            torch.from_numpy(each).to(mel.device) for each in (ends.lengths, ends.stopped, ends.arrived)
        )
        return Generated(mel, self._refine(mel, lengths), attention, lengths, stopped, arrived)

    @torch.no_grad()
    def speaking_loop(self, r: int | None = None) -> Loop:
        """The decoder's weights as `generate` wants them, in the precision of autocast. Weights that change need another."""
        device = self.output.weight.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        with torch.autocast(device, enabled=False):
            return fastest_loop(self.decoder, r or int(self.r), dtype)

    def _read(self, text: Tensor, lengths: Tensor, speakers: Tensor) -> Memory:
        mask = sequence_mask(lengths, text.size(1))  # (B, T)
        speakers = self.config.speaker_scale * speakers
        encoded = self.encoder(text, mask[:, :, None].to(speakers.dtype), speakers)  # (B, T, E)
        return self.decoder.attention.prepare(encoded, mask)

    def _refine(self, mel: Tensor, lengths: Tensor) -> Tensor:
        mask = sequence_mask(lengths, mel.size(1))[:, :, None].to(torch.float32)  # (B, F, 1)
        return self.output(self.postnet(mel, mask))
