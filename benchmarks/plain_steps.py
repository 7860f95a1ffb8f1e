"""Training steps as they are commonly written, to measure ours against: a decoder that does all of a step's work in a loop over
the steps, Adam as it comes, and a loss that is brought to the host."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoder.config import EncoderConfig
from encoder.model import SpeakerEncoder
from synthesizer.layers import sequence_mask
from synthesizer.model import Tacotron
from vocoder.config import N_AUX
from vocoder.model import WaveRNN


def train_step(parameters: list[nn.Parameter], loss_of: Callable[[], Tensor], clip: float) -> Callable[[], float]:
    optimizer = torch.optim.Adam(parameters, lr=1e-4)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        return loss.item()

    return step


class PlainTacotron(nn.Module):
    """Teacher forcing with everything inside the loop over decoder steps; zoneout as published, on the hidden state."""

    def __init__(self, model: Tacotron) -> None:
        super().__init__()
        self.model = model
        size = model.decoder.join.out_features
        self.lstms = nn.ModuleList(nn.LSTMCell(size, size) for _ in range(2))

    def forward(self, text: Tensor, lengths: Tensor, mels: Tensor, mel_lengths: Tensor, speakers: Tensor, r: int) -> Tensor:
        """The loss, without masks, as the published code computes it."""
        decoder, memory = self.model.decoder, self.model._read(text, lengths, speakers)
        attended = decoder.start(memory).attended
        frame = torch.zeros_like(mels[:, 0])
        states = [(torch.zeros(len(text), cell.hidden_size, device=text.device),) * 2 for cell in self.lstms]
        frames, stops = [], []
        for k in range(0, mels.size(1), r):
            attended = decoder.query(frame, attended, memory)
            x = decoder.join(torch.cat([attended.context, attended.hidden], dim=1))
            for n, cell in enumerate(self.lstms):
                hidden, state = cell(x, states[n])
                kept = torch.rand_like(hidden) < decoder.lstm1.zoneout
                states[n] = torch.where(kept, states[n][0], hidden), state
                x = x + states[n][0]
            frames.append(F.linear(x, decoder.frame_weights(r)).unflatten(1, (r, -1)))
            stops.append(decoder.stop(torch.cat([x, attended.context], dim=1)))
            frame = mels[:, min(k + r, mels.size(1)) - 1]
        before = torch.cat(frames, dim=1)[:, : mels.size(1)]
        mask = sequence_mask(mel_lengths, mels.size(1))[:, :, None].float()
        after = self.model.output(self.model.postnet(before, mask))
        stop = torch.cat(stops, dim=1)
        target = torch.zeros_like(stop)
        target[:, -1] = 1
        mel_loss = F.mse_loss(before, mels) + F.l1_loss(before, mels) + F.mse_loss(after, mels)
        return mel_loss + F.binary_cross_entropy_with_logits(stop, target)


class PlainWaveRNN(nn.Module):
    """The conditioning repeated for every sample and joined with what each layer reads, in float32."""

    def __init__(self, model: WaveRNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, levels: Tensor, mel: Tensor, targets: Tensor) -> Tensor:
        """Of one batch, see WaveRNN -> loss ()"""
        m, (fine, aux) = self.model, self.model.upsample(mel)
        aux = aux.repeat_interleave(m.config.hop_length, dim=1)  # (B, N, aux_dims)
        aux1, aux2, aux3, aux4 = (part.transpose(0, 1) for part in aux.chunk(N_AUX, dim=-1))
        x = m.input(torch.cat([levels.t().unsqueeze(-1), fine.transpose(0, 1), aux1], dim=-1))
        x = x + m.gru1(x)[0]
        x = x + m.gru2(torch.cat([x, aux2], dim=-1))[0]
        x = F.relu(m.hidden1(torch.cat([x, aux3], dim=-1)))
        x = F.relu(m.hidden2(torch.cat([x, aux4], dim=-1)))
        return m.distribution.loss(m.output(x), targets.t())


class PlainGE2E(nn.Module):
    """The encoder, and a loss that goes over the speakers one by one and checks them on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = SpeakerEncoder(EncoderConfig())
        self.weight, self.bias = nn.Parameter(torch.tensor(10.0)), nn.Parameter(torch.tensor(-5.0))

    def forward(self, mels: Tensor) -> Tensor:
        """(S, U, T, n_mels) -> loss ()"""
        n_speakers, n_utterances = mels.shape[:2]
        embeddings = self.encoder(mels.flatten(0, 1)).unflatten(0, (n_speakers, n_utterances))
        centroids = F.normalize(embeddings.mean(1), dim=1)
        others = (embeddings.sum(1, keepdim=True) - embeddings) / (n_utterances - 1)
        others = F.normalize(others, dim=2)
        rows = []
        for speaker in range(n_speakers):
            row = embeddings[speaker] @ centroids.T
            own = (embeddings[speaker] * others[speaker]).sum(1)
            rows.append(torch.cat([row[:, :speaker], own[:, None], row[:, speaker + 1 :]], dim=1))
        logits = torch.cat(rows) * self.weight + self.bias
        target = torch.arange(n_speakers, device=mels.device).repeat_interleave(n_utterances)
        loss = F.cross_entropy(logits, target)
        logits.detach().cpu()  # the equal error rate of the batch is computed from it on the host
        return loss
