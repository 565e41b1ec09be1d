"""Speech recognition decoded with a language model: the optional column of SUPERB's ASR.

The decoder is the one that s3prl uses: flashlight-text's beam search over a lexicon with KenLM,
with its settings and its files, LibriSpeech's official `4-gram.arpa` (openslr.org/11) and fairseq's
letter lexicon. It is an extra (`pip install 'slim-superb[lm]'`): a run is decoded greedily, and a
finished one can be scored with a language model as well, apart from its record.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.conditions.scorer import Scorer
from bench.errors import InvalidDataError, MissingError, UsageError
from bench.features.store import FeatureStore
from bench.paths import write_text
from bench.probe.fit import EVAL_BATCH
from bench.progress import bar
from bench.records.record import ConditionScore, read_record
from bench.run.evaluate import score_condition, write_predictions
from bench.run.run_features import Features, extract
from bench.session import Session

SILENCE, UNKNOWN = "|", "<unk>"


@dataclass(frozen=True)
class BeamSearch:
    """Settings of the beam search (s3prl `downstream/asr/config.yaml`).

    Attributes:
        beam: hypotheses that are kept.
        beam_threshold: log probability below the best at which one is dropped.
        lm_weight: of the language model's log probability.
        word_score: added for every word.
    """

    beam: int = 5
    beam_threshold: float = 25.0
    lm_weight: float = 2.0
    word_score: float = -1.0


class LmDecoder:
    """Log probabilities of letters to words.

    Args:
        vocabulary: V symbols, the blank first.
        lm: file that KenLM reads (ARPA, or its binary form).
        lexicon: lines of a word and its letters, with `|` at the end.
        search: settings.

    Raises:
        MissingError: the library or a file is not there.
        InvalidDataError: a lexicon with a letter that is not in the vocabulary, or no such file.
    """

    def __init__(
        self, vocabulary: Sequence[str], lm: Path, lexicon: Path, search: BeamSearch
    ) -> None:
        for path, what in ((lm, "language model"), (lexicon, "lexicon")):
            if not path.is_file():
                raise MissingError(f"{path}: no such {what}")
        try:
            from flashlight.lib.text import decoder, dictionary
            from flashlight.lib.text.decoder.kenlm import KenLM
        except ImportError as error:
            raise MissingError(
                "decoding with a language model needs flashlight-text: pip install "
                f"'slim-superb[lm]' ({error})"
            ) from error
        spellings = dictionary.load_words(str(lexicon))
        words = dictionary.create_word_dict(spellings)
        try:
            model = KenLM(str(lm), words)
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[-200:]
            raise InvalidDataError(f"{lm}: KenLM cannot read it ({reason})") from error
        index = {symbol: number for number, symbol in enumerate(vocabulary)}
        trie = decoder.Trie(len(vocabulary), index[SILENCE])
        start = model.start(False)
        for word, own in spellings.items():
            number = words.get_index(word)
            _, score = model.score(start, number)
            for letters in own:
                strange = [letter for letter in letters if letter not in index]
                if strange:
                    raise InvalidDataError(f"{lexicon}: {word!r} has {strange[0]!r}, no letter")
                trie.insert([index[letter] for letter in letters], number, score)
        trie.smear(decoder.SmearingMode.MAX)
        options = decoder.LexiconDecoderOptions(
            beam_size=search.beam,
            beam_size_token=len(vocabulary),
            beam_threshold=search.beam_threshold,
            lm_weight=search.lm_weight,
            word_score=search.word_score,
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=False,
            criterion_type=decoder.CriterionType.CTC,
        )
        unknown = words.get_index(UNKNOWN)
        arguments: tuple[Any, ...] = (options, trie, model, index[SILENCE], 0, unknown, [], False)
        self._words, self._decoder = words, decoder.LexiconDecoder(*arguments)

    def decode(self, log_probs: Tensor) -> str | None:
        """Log probabilities (T, V) to words; None where the search finds nothing."""
        emissions = log_probs.float().cpu().contiguous()
        found = self._decoder.decode(emissions.data_ptr(), *emissions.shape)
        if not found:
            return None
        return " ".join(self._words.get_entry(number) for number in found[0].words if number >= 0)


def score_with_lm(
    path: Path,
    lm: Path,
    lexicon: Path,
    session: Session,
    *,
    search: BeamSearch | None = None,
) -> list[ConditionScore]:
    """Decode a finished run's own test sets with a language model, and score them.

    Predictions and scores are written into `lm/` in the run's folder; the record stays as it is.

    Args:
        path: the record.
        lm: as `LmDecoder`.
        lexicon: as `LmDecoder`.
        session: where things are and how the upstream runs; features that the run left on the same
            kind of device are read.
        search: settings of the beam search.

    Raises:
        UsageError: not a run of CTC over letters.
        UserError: as `LmDecoder` and `bench.conditions.scorer.Scorer`.
    """
    record, search = read_record(path), search or BeamSearch()
    scorer = Scorer(path, record, session)
    head, card = scorer.probe.head, scorer.resolved.card
    vocabulary = getattr(head, "vocabulary", ())
    if "wer" not in card.metrics or SILENCE not in vocabulary or UNKNOWN not in vocabulary:
        raise UsageError(f"{path}: a language model decodes speech recognition of track superb")
    decoder = LmDecoder(vocabulary, lm, lexicon, search)
    loaded = scorer.resolved.loaded
    store = FeatureStore(
        session.features,
        loaded.digest,
        card.features,
        engine=scorer.engine,
        name=loaded.name.text(),
    )
    features = Features(scorer.resolved, store)
    folder = path.with_suffix("") / "lm"
    scores: list[ConditionScore] = []
    for condition in card.conditions:
        table = scorer.resolved.tables[condition]
        texts = _decoded(features, condition, scorer.probe, decoder)
        ids = [item.id for item in table.utterances]
        write_predictions(folder / f"{condition}.jsonl", ids, texts)
        by_id = dict(zip(ids, texts, strict=True))
        scores += score_condition(card, condition, by_id, table.utterances, table.trials)
    content = {
        "run": record.provenance.spec,
        "lm_sha256": _digest(lm),
        "lexicon_sha256": _digest(lexicon),
        "search": asdict(search),
        "scores": [score.model_dump() for score in scores],
    }
    write_text(folder / "scores.json", json.dumps(content, indent=2) + "\n")
    return scores


@torch.inference_mode()
def _decoded(features: Features, condition: str, probe: Any, decoder: LmDecoder) -> list[str]:
    """Words of every utterance of a test set, in order; greedy where the search finds nothing."""
    if condition in features.kept():
        extract(features)
    source = features.source(condition)
    texts: list[str] = []
    with bar(total=len(source), label=f"{condition} with LM", unit="utterances") as progress:
        for first in range(0, len(source), EVAL_BATCH):
            indices = range(first, min(first + EVAL_BATCH, len(source)))
            batch = source.rows(indices).batch(range(len(indices)))
            output = probe(probe.standardized(batch))
            greedy = probe.head.predict(output)
            for place, length in enumerate(output.lengths.tolist()):
                found = decoder.decode(output.log_probs[place, :length])
                texts.append(greedy[place] if found is None else found)
            progress.update(len(indices))
    return texts


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
