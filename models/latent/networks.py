"""The `latent` stack: the base LM amortizes for itself.

A document's tokens leave keys (before the rotary embedding) and values in every layer of the frozen
LM; a learned matrix takes them to R numbers a token, the modulation, and another gives them back as
a prefix (P-tuning v2, arXiv 2110.07602). Both start from principal components and are meta-trained
with the question-answering loss (arXiv 2403.04317, eq. 4). Relevance enters as a bias on the
attention logits, so that the LM's own attention aggregates the documents (the paper's h_psi,
section 3.2).

It knows nothing of tokenizers, files or the store.

Letters: N questions, D documents, T tokens a document, R latent size, P constant prefix tokens, L
layers, H key/value heads, C head size, X = L * 2 * H * C, E key size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.base.lm import BaseLM, Prefix
from models.base.native.prepared import PreparedLinear
from models.latent.config import LatentConfig
from models.memory.stack import MemoryStack


class Amortizer(nn.Module):
    """Token features to latents: z = ((x - mean) / scale) E, with x from `BaseLM.features`."""

    def __init__(self, features: int, latent_size: int) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.zeros(features))
        self.scale = nn.Buffer(torch.ones(features))
        self.weight = nn.Parameter(torch.empty(features, latent_size))

    def normalise(self, x: Tensor) -> Tensor:
        """Subtract the corpus mean from features [..., X] and divide them by their scale."""
        return (x - self.mean) / self.scale

    def restore(self, x: Tensor) -> Tensor:
        """Undo `normalise`."""
        return torch.addcmul(self.mean, x, self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return latents [..., R] of features [..., X]."""
        return self.normalise(x) @ self.weight


class PrefixHead(nn.Module):
    """Latents to normalised features, x = z D + b; and the constant prefix tokens."""

    def __init__(self, features: int, latent_size: int, constant_tokens: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(latent_size, features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.constant = nn.Parameter(torch.zeros(constant_tokens, features))

    def forward(self, z: Tensor) -> Tensor:
        """Return normalised features [..., X] of latents [..., R]."""
        return z @ self.weight + self.bias


class Relevance(nn.Module):
    """How much each document matters to a question: s = tau * q W k."""

    def __init__(self, key_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(key_size))
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))

    def query(self, embedding: Tensor) -> Tensor:
        """Return the question's side of the bilinear form, [N, E]: scores are `query @ keys.T`."""
        return (embedding @ self.weight) * self.log_scale.exp()

    def cosine_query(self, embedding: Tensor) -> Tensor:
        """Return the same for an encoder that W was not learned for: s = tau * q k, of any size."""
        return embedding * self.log_scale.exp()


class LatentStack(MemoryStack[LatentConfig]):
    """Amortizer, prefix head and relevance of one checkpoint."""

    int8: ClassVar[Mapping[str, int]] = {"amortizer.weight": 1, "head.weight": 0}

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.config = config
        self.amortizer = Amortizer(config.features, config.latent_size)
        self.head = PrefixHead(config.features, config.latent_size, config.constant_tokens)
        self.relevance = Relevance(config.key_size)
        self._maps: dict[str, tuple[object, PreparedLinear]] = {}

    def prefix(
        self,
        lm: BaseLM,
        latents: Tensor,
        place: Tensor,
        document: Tensor,
        bias: Tensor,
        log_count: Tensor | None = None,
    ) -> Prefix:
        """Return the modulation that the base LM attends to: constant tokens, then documents.

        Args:
            lm: the base LM, for its rotary embedding.
            latents: [G, S, R], the tokens of a group's documents one after the other.
            place: [G, S], where each token stands, counted from the constant tokens' end.
            document: [G, S], which of the group's documents it belongs to; D for padding.
            bias: [N, D] for the N questions of all G groups, group by group: the log weight of each
                document; -inf hides it.
            log_count: [G, S], the log of how many tokens each one stands for, where some were
                merged; added to the bias. None: one each.

        Returns:
            The prefix of P + S tokens.
        """
        if torch.is_grad_enabled():
            features = self.amortizer.restore(self.head(latents))
        else:
            features = self._folded("head", lm.dtype)(latents.to(lm.dtype))
        return self.attach(lm, features, place, document, bias, log_count)

    def latents(self, features: Tensor) -> Tensor:
        """Return the amortizer's latents [..., R], float32, of features [..., X]; no gradient."""
        z: Tensor = self._folded("amortizer", torch.float32)(features.float())
        return z

    def _folded(self, name: str, dtype: torch.dtype) -> PreparedLinear:
        """Return amortizer or head with the features' mean and scale in it, as one map."""
        head, amortizer = self.head, self.amortizer
        made_of = (head.weight, head.bias, amortizer.weight, amortizer.mean, amortizer.scale)
        state = dtype, *((t.data_ptr(), t._version) for t in made_of)
        if name not in self._maps or self._maps[name][0] != state:
            if name == "head":
                weight = head.weight * amortizer.scale
                shift = amortizer.restore(head.bias)
            else:
                weight = amortizer.weight / amortizer.scale[:, None]
                shift = -amortizer.mean @ weight
            linear = PreparedLinear(weight.detach().T.to(dtype).contiguous(), shift.to(dtype))
            self._maps[name] = state, linear
        return self._maps[name][1]

    def constant_prefix(self, lm: BaseLM) -> Prefix:
        """Return the constant prefix tokens alone, as the prefix of one group."""
        none = torch.empty(1, 0, dtype=torch.long, device=lm.device)
        latents = torch.empty(1, 0, self.config.latent_size, device=lm.device)
        return self.prefix(lm, latents, none, none, torch.zeros(1, 1, device=lm.device))

    def attach(
        self,
        lm: BaseLM,
        features: Tensor,
        place: Tensor,
        document: Tensor,
        bias: Tensor,
        log_count: Tensor | None = None,
    ) -> Prefix:
        """Return `prefix` of features [G, S, X], as of `BaseLM.features`, instead of latents."""
        g, s, _ = features.shape
        p = self.head.constant.shape[0]
        always = self.amortizer.restore(self.head.constant).to(lm.dtype)
        x = torch.cat((always.expand(g, -1, -1), features.to(lm.dtype)), 1)
        shape = self.config
        x = x.view(g, p + s, shape.layers, 2, shape.kv_heads, shape.head_size)
        keys, values = x.permute(3, 2, 0, 4, 1, 5)
        constant = torch.arange(p, device=features.device).expand(g, -1)
        keys = lm.rotate_keys(keys, torch.cat((constant, place + p), 1))
        n = bias.shape[0] // g
        bias = torch.cat((bias, bias.new_full((len(bias), 1), float("-inf"))), 1)
        bias = bias.gather(1, document.repeat_interleave(n, 0))
        if log_count is not None:
            bias = bias + log_count.repeat_interleave(n, 0)
        bias = torch.cat((bias.new_zeros(len(bias), p), bias), 1)
        longest = (place + 1).amax(1) if s else place.new_zeros(g)
        return Prefix(keys.unbind(0), values.unbind(0), bias, p + longest)


def pack(
    documents: Sequence[Sequence[Tensor]],
    before_end: Sequence[Sequence[Tensor]] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Lay the documents of each group one after the other, all ending at the same position.

    So a question reads each document from the same distance, however many stand beside it and
    whatever their lengths, and the result cannot depend on the order in which the bank holds them.

    Args:
        documents: [G][D] latents [T, R], each of its own length.
        before_end: [G][D] how far before its document's end each token stands, int64 [T]; None: one
            after the other, the last at 1.

    Returns:
        What `LatentStack.prefix` takes: latents [G, S, R], place [G, S], document [G, S].
    """
    rows = [torch.cat(list(group)) for group in documents]
    size = max(map(len, rows))
    device = rows[0].device
    place = torch.zeros(len(rows), size, dtype=torch.long, device=device)
    document = torch.full_like(place, max(map(len, documents)))
    for g, group in enumerate(documents):
        lengths = torch.tensor([len(z) for z in group], device=device)
        total = int(lengths.sum())
        which = torch.repeat_interleave(torch.arange(len(group), device=device), lengths)
        document[g, :total] = which
        ends = lengths.cumsum(0)[which] - torch.arange(total, device=device)
        if before_end is not None:
            ends = torch.cat(list(before_end[g]))
        place[g, :total] = ends.max() - ends
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), place, document
