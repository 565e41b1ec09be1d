"""Decode a finished run of speech recognition with a language model, on any track.

The decoder is that of s3prl: flashlight-text's beam search over a lexicon with KenLM, with its
settings. SUPERB's optional column has LibriSpeech's official `4-gram.arpa` (openslr.org/11) and
fairseq's letter lexicon. It needs `pip install 'slim-superb[lm]'`. A run is decoded greedily;
scores with a language model are written beside its record.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.errors import InvalidDataError, MissingError, UsageError
from bench.identity import decoding_key
from bench.paths import check_file, file_sha256, write_text
from bench.probe.fit import EVAL_BATCH
from bench.progress import bar
from bench.records.record import ConditionScore, read_record
from bench.run.artifacts import load_run
from bench.run.evaluate import Judged, score_condition, write_predictions
from bench.run.run_features import Features, extract, features_of
from bench.session import Session

BOUNDARY, UNKNOWN = "|", "<unk>"
IMPOSSIBLE = -1e4  # log probability of a symbol that cannot be


@dataclass(frozen=True)
class BeamSearch:
    """Settings of the beam search (s3prl `downstream/asr/config.yaml`).

    Attributes:
        beam: number of hypotheses.
        beam_threshold: a hypothesis this much below the best log probability is dropped.
        lm_weight: of the language model's log probability.
        word_score: added for every word.
    """

    beam: int = 5
    beam_threshold: float = 25.0
    lm_weight: float = 2.0
    word_score: float = -1.0


class LmDecoder:
    """Decodes log probabilities of letters to words.

    Args:
        vocabulary: V symbols, the blank first; `|` or, without it, a space ends a word.
        lm: file that KenLM reads (ARPA, or its binary form).
        lexicon: lines of a word and its letters, with `|` at the end.
        search: settings.

    Raises:
        MissingError: the library or a file is missing.
        InvalidDataError: a lexicon with a letter that is not in the vocabulary, or a file that
            KenLM cannot read.
    """

    def __init__(
        self, vocabulary: Sequence[str], lm: Path, lexicon: Path, search: BeamSearch
    ) -> None:
        for path, what in ((lm, "language model"), (lexicon, "lexicon")):
            check_file(path, what)
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
        self._ends_open = BOUNDARY not in index
        boundary = index.setdefault(BOUNDARY, index.get(" ", 0))
        trie = decoder.Trie(len(vocabulary), boundary)
        start = model.start(False)
        for word, variants in spellings.items():
            number = words.get_index(word)
            _, score = model.score(start, number)
            for letters in variants:
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
        arguments: tuple[Any, ...] = (options, trie, model, boundary, 0, unknown, [], False)
        self._words, self._decoder = words, decoder.LexiconDecoder(*arguments)
        self._end = torch.full((1, len(vocabulary)), IMPOSSIBLE)
        self._end[0, boundary] = 0.0

    def decode(self, log_probs: Tensor) -> str | None:
        """Return the words of log probabilities (T, V); None where the search ends without any."""
        emissions = log_probs.float().cpu()
        if self._ends_open:  # no boundary after the last word; in the lexicon every word has one
            emissions = torch.cat([emissions, self._end])
        emissions = emissions.contiguous()
        hypotheses = self._decoder.decode(emissions.data_ptr(), *emissions.shape)
        if not hypotheses:
            return None
        return " ".join(self._words.get_entry(n) for n in hypotheses[0].words if n >= 0)


def score_with_lm(
    path: Path,
    lm: Path,
    lexicon: Path,
    session: Session,
    search: BeamSearch,
) -> list[ConditionScore]:
    """Decode dev and the test sets of a finished run with a language model, and score them.

    Dev is there to choose the settings of the search.

    Predictions and scores are written into `lm/` in the run's folder; the record does not change.

    Args:
        path: the record.
        lm: file that KenLM reads.
        lexicon: lines of a word and its letters.
        session: where things are and how the upstream runs; features that the run left on the same
            kind of device are read.
        search: settings of the beam search.

    Raises:
        UsageError: not a run of CTC over letters.
        UserError: as `LmDecoder` and `bench.run.artifacts.load_run`.
    """
    record = read_record(path)
    run = load_run(path, record, session)
    head, card = run.probe.head, run.resolved.card
    vocabulary = getattr(head, "vocabulary", ())
    if "wer" not in card.metrics or not {BOUNDARY, " "} & set(vocabulary):
        raise UsageError(
            f"{path}: task {record.task} has no letters and words; a language model decodes a run "
            "of speech recognition"
        )
    decoder = LmDecoder(vocabulary, lm, lexicon, search)
    features = features_of(run.resolved, replace(session, engine=run.engine))
    folder = path.with_suffix("") / "lm"
    scores: list[ConditionScore] = []
    for condition in ("dev", *card.conditions):
        table = run.resolved.tables[condition]
        texts = _decoded(features, condition, run.probe, decoder)
        ids = [item.id for item in table.utterances]
        write_predictions(folder / f"{condition}.jsonl", ids, texts)
        by_id = dict(zip(ids, texts, strict=True))
        judged = Judged(by_id, table.utterances, table.trials)
        scores += score_condition(card, condition, judged)
    digests = file_sha256(lm), file_sha256(lexicon)
    content = {
        "run": record.provenance.spec,
        "key": decoding_key(record.provenance.spec, *digests, asdict(search)),
        "lm_sha256": digests[0],
        "lexicon_sha256": digests[1],
        "search": asdict(search),
        "scores": [score.model_dump() for score in scores],
    }
    write_text(folder / "scores.json", json.dumps(content, indent=2) + "\n")
    return scores


@torch.inference_mode()
def _decoded(features: Features, condition: str, probe: Any, decoder: LmDecoder) -> list[str]:
    """Return the words of every utterance in order; greedy ones where it has none."""
    if condition in features.stored():
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
                text = decoder.decode(output.log_probs[place, :length])
                texts.append(greedy[place] if text is None else text)
            progress.update(len(indices))
    return texts
