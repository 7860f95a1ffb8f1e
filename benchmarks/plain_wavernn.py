"""WaveRNN's generation as it is commonly written, to measure ours against: a GRUCell, some Linears and a Categorical for every
sample, with the published folds side by side and the whole conditioning computed at once."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocoder.config import N_AUX, SILENCE
from vocoder.model import WaveRNN


class PlainLoop:
    """mel (T, n_mels), normalised, in folds of `target` samples between overlaps; `run` generates the first steps of each."""

    @torch.inference_mode()
    def __init__(self, model: WaveRNN, mel: Tensor, target: int = 8000, overlap: int = 800):
        self.model = model
        self.cells = [_cell(model.gru1), _cell(model.gru2)]
        pad, hop = model.config.pad, model.config.hop_length
        fine, aux = model.upsample(F.pad(mel, (0, 0, pad, pad), value=SILENCE).unsqueeze(0))
        conditioning = torch.cat([fine, aux.repeat_interleave(hop, dim=1)], dim=-1)[0]  # (N, n_mels + aux_dims)
        step, self.n_steps = target + overlap, target + 2 * overlap  # of a fold
        self.n_folds = max(1, -(-(len(conditioning) - overlap) // step))
        missing = self.n_folds * step + overlap - len(conditioning)
        folds = F.pad(conditioning, (0, 0, 0, missing)).unfold(0, self.n_steps, step)  # (folds, channels, steps)
        self.conditioning = folds.permute(2, 0, 1).contiguous()

    @torch.inference_mode()
    def run(self, n_steps: int) -> Tensor:
        """-> levels (n_folds, n_steps)"""
        model, n_mels = self.model, self.model.config.n_mels
        h1 = h2 = torch.zeros(self.n_folds, model.config.rnn_dims, device=self.conditioning.device)
        level, levels = h1[:, :1], []
        for conditioning in self.conditioning[:n_steps]:
            fine, aux = conditioning[:, :n_mels], conditioning[:, n_mels:].chunk(N_AUX, dim=-1)
            x = model.input(torch.cat([level, fine, aux[0]], dim=1))
            h1 = self.cells[0](x, h1)
            x = x + h1
            h2 = self.cells[1](torch.cat([x, aux[1]], dim=1), h2)
            x = x + h2
            x = F.relu(model.hidden1(torch.cat([x, aux[2]], dim=1)))
            x = F.relu(model.hidden2(torch.cat([x, aux[3]], dim=1)))
            outputs = model.output(x)
            drawn = torch.distributions.Categorical(torch.softmax(outputs, dim=1)).sample().float()
            level = 2 * drawn.unsqueeze(-1) / (outputs.size(1) - 1) - 1
            levels.append(level)
        return torch.cat(levels, dim=1)


def _cell(gru: nn.GRU) -> nn.GRUCell:
    cell = nn.GRUCell(gru.input_size, gru.hidden_size).to(gru.weight_ih_l0.device)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in gru.state_dict().items()})
    return cell
