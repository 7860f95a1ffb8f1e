"""Tacotron with speaker embeddings (1703.10135, 1712.05884; SV2TTS 1806.04558, section 2.2).

Shapes: B utterances, T characters, F frames, S = ceil(F / r) decoder steps, E = encoder_size + speaker_size.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthesizer.attention import Memory, make_attention
from synthesizer.config import TacotronConfig
from synthesizer.decoder import Decoder
from synthesizer.generation import Loop, StopDetection, TorchLoop, decode
from synthesizer.layers import CBHG, PreNet, sequence_mask


class Prediction(NamedTuple):
    """Teacher-forced output."""

    before: Tensor  # (B, F, n_mels) mel before the post-net
    after: Tensor  # (B, F, n_mels) mel after it
    stop_logits: Tensor  # (B, S)
    attention: Tensor  # (B, S, T)


class Generated(NamedTuple):
    """Free-running output. What follows an item's own end is meaningless."""

    before: Tensor  # (B, F, n_mels)
    after: Tensor  # (B, F, n_mels)
    attention: Tensor  # (B, S, T)
    lengths: Tensor  # (B,) frames of each item
    stopped: Tensor  # (B,) bool: stopped by the stop output or the attention, not cut at its cap
    arrived: Tensor  # (B,) bool: stopped by the attention, which stayed on the end of the text


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
        # The reduction factor of the last training step, with which the model speaks.
        self.register_buffer("r", torch.tensor(2, dtype=torch.int32))
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)

    def forward(
        self, text: Tensor, text_lengths: Tensor, mels: Tensor, mel_lengths: Tensor, speakers: Tensor, r: int
    ) -> Prediction:
        """Teacher forcing: ids (B, T), (B,), mels (B, F, n_mels), (B,), speakers (B, speaker_size) -> Prediction

        Each step sees the last of the previous step's r frames. Frames that the last step gives beyond F are dropped.
        """
        n_frames = mels.size(1)
        n_steps = -(-n_frames // r)
        seen = F.pad(mels[:, r - 1 :: r][:, : n_steps - 1], (0, 0, 1, 0))  # (B, S, n_mels), zeros first
        before, stop_logits, attention = self.decoder(seen, self._read(text, text_lengths, speakers), r)
        before = before[:, :n_frames]
        return Prediction(before, self._refine(before, mel_lengths), stop_logits, attention)

    def attention_parameters(self) -> list[nn.Parameter]:
        """All that the attention's weights depend on, and so all that a loss of the attention trains."""
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

        An item stops after the first step whose stop output exceeds 0.5, or once most of the attention has been on the end of
        the text for arrival_frames, or at its cap. spoken_lengths (B,): the characters before that end; without it, all but
        the last one. loop: what runs the decoder, with its own r; plain torch by default (see synthesizer.accelerate).
        """
        loop = loop or TorchLoop(self.decoder, r or int(self.r))
        memory = self._read(text, text_lengths, speakers)
        unspoken = ~sequence_mask(text_lengths - 1 if spoken_lengths is None else spoken_lengths, text.size(1))  # (B, T)
        stop = StopDetection(unspoken, max_frames, self.config.arrival_frames, loop.r)
        with torch.autocast(text.device.type, enabled=False):  # it would convert the weights at every step
            mel, attention = decode(loop, memory.float(), stop)
        lengths, stopped, arrived = (torch.from_numpy(x).to(mel.device) for x in (stop.lengths, stop.stopped, stop.arrived))
        return Generated(mel, self._refine(mel, lengths), attention, lengths, stopped, arrived)

    def _read(self, text: Tensor, lengths: Tensor, speakers: Tensor) -> Memory:
        mask = sequence_mask(lengths, text.size(1))  # (B, T)
        speakers = self.config.speaker_scale * speakers
        encoded = self.encoder(text, mask[:, :, None].to(speakers.dtype), speakers)  # (B, T, E)
        return self.decoder.attention.prepare(encoded, mask)

    def _refine(self, mel: Tensor, lengths: Tensor) -> Tensor:
        mask = sequence_mask(lengths, mel.size(1))[:, :, None].to(torch.float32)  # (B, F, 1)
        return self.output(self.postnet(mel, mask))
