"""s3prl's own experts, featurizer, heads and loops, put together as its recipes do."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.features.passes import clean_sound
from bench.run.plan import head_factory
from tools.benchmarks._setting import Bed

PROJECTION = 256


def lighthubert(path: Path) -> Any:
    """s3prl's expert of LightHuBERT-small with random weights, through a checkpoint file."""
    from s3prl.upstream.lighthubert.expert import UpstreamExpert
    from s3prl.upstream.lighthubert.lighthubert import LightHuBERT, LightHuBERTConfig

    config = LightHuBERTConfig()
    config.supernet_type = "small"
    section = {"_name": "hubert_pruner", "pruner_supernet": "small.yaml"}
    state = LightHuBERT(config).state_dict()
    torch.save({"cfg": {"model": section}, "model": state}, path)
    expert: Any = UpstreamExpert(str(path)).eval()
    return expert.requires_grad_(False)


def distilhubert(path: Path) -> Any:
    """s3prl's expert of DistilHuBERT with random weights, through a checkpoint file."""
    from s3prl.upstream.distiller.expert import UpstreamExpert
    from s3prl.upstream.distiller.model import DistillerConfig, DistillerModel

    section = {"encoder_layers": 2, "n_tasks": 3, "pred_layer_id": [4, 8, 12]}
    state = DistillerModel(DistillerConfig(section)).state_dict()
    torch.save({"Config": {"distiller": section}, "Distiller": state, "Step": 1}, path)
    expert: Any = UpstreamExpert(str(path)).eval()
    return expert.requires_grad_(False)


def epoch(bed: Bed, expert: Any) -> Callable[[], None]:
    """One epoch of a task: upstream, featurizer, projector, head, loss, update; in its batches."""
    from s3prl.upstream.interfaces import Featurizer

    featurizer = Featurizer(expert, "hidden_states", upstream_device="cpu")
    projector = nn.Linear(featurizer.output_dim, PROJECTION)
    head, loss_of = (_ctc if bed.resolved.card.features == "frames" else _classifier)(bed)
    modules = nn.ModuleList([featurizer, projector, head])
    optimizer = torch.optim.Adam(modules.parameters(), lr=1e-4)
    batch_size = bed.resolved.card.recipe.batch_size

    def one_epoch() -> None:
        order = list(range(len(bed.train)))
        random.Random(0).shuffle(order)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            wavs = [torch.from_numpy(clean_sound(bed.train[index])) for index in chosen]
            with torch.no_grad():
                hidden = expert(wavs)
            features = featurizer(wavs, hidden)
            lengths = torch.tensor([len(item) for item in features])
            padded = nn.utils.rnn.pad_sequence(features, batch_first=True)
            loss = loss_of(projector(padded), lengths, chosen)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
            optimizer.step()

    return one_epoch


LossOf = Callable[[Tensor, Tensor, list[int]], Any]


def _classifier(bed: Bed) -> tuple[nn.Module, LossOf]:
    """Mean pooling and a linear layer, as for KS, IC and SID."""
    from s3prl.downstream.model import UtteranceLevel

    labels = sorted({item.target for item in bed.train})
    head = UtteranceLevel(PROJECTION, len(labels), pooling="MeanPooling", activation="ReLU")

    def loss_of(features: Tensor, lengths: Tensor, chosen: list[int]) -> Any:
        answers = torch.tensor([labels.index(bed.train[index].target) for index in chosen])
        return nn.functional.cross_entropy(head(features, lengths)[0], answers)

    return head, loss_of


def _ctc(bed: Bed) -> tuple[nn.Module, LossOf]:
    """Its recurrent layers, as wide and as many as those of the task's own recipe, with CTC.

    As in its ASR, whose answers (letters) ours encode.
    """
    from s3prl.downstream.asr.model import RNNs

    conf = bed.resolved.card.head_conf
    count = conf["layers"]
    own: Any = head_factory(bed.resolved)(PROJECTION)
    encoded = own.encode([item.target for item in bed.train])
    tokens = 1 + max(int(item.max()) for item in encoded)
    head = RNNs(
        PROJECTION, tokens, 320, "LSTM", True, [conf["hidden"]] * count,
        [conf["dropout"]] * count, [False] * count, [False] * count, [1] * count, "concat",
        total_rate=-1,
    )  # fmt: skip

    def loss_of(features: Tensor, lengths: Tensor, chosen: list[int]) -> Any:
        output, sizes = head(features, lengths)
        answers = [encoded[index] for index in chosen]
        return nn.functional.ctc_loss(
            output.log_softmax(-1).transpose(0, 1),
            torch.cat(answers),
            sizes,
            torch.tensor([len(item) for item in answers]),
            zero_infinity=True,
        )

    return head, loss_of
