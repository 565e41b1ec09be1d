"""Compare decoding with a language model with s3prl's decoder, and check its errors."""

import json
import math
from argparse import Namespace

import pytest
import torch
from s3prl_parts import dictionary, part

from bench.errors import InvalidDataError, MissingError
from bench.run.language_model import BeamSearch, LmDecoder
from downstreams.superb import LETTERS, SPECIAL

WORDS = {"THE": -0.4, "CAT": -1.0, "CAD": -3.0, "SAT": -1.2, "A": -0.8}


@pytest.fixture
def files(tmp_path):
    """A unigram and bigram model in ARPA's format, and a letter lexicon as fairseq's."""
    pytest.importorskip("flashlight.lib.text", reason="the extra 'lm' is not installed")
    grams = [f"{value:.3f}\t{word}\t-0.3" for word, value in WORDS.items()]
    grams += ["-99\t<s>\t-0.3", "-1.0\t</s>", "-5.0\t<unk>"]
    lm = tmp_path / "2-gram.arpa"
    lm.write_text(
        f"\\data\\\nngram 1={len(grams)}\nngram 2=1\n\n\\1-grams:\n" + "\n".join(grams)
        + "\n\n\\2-grams:\n-0.1\tCAT SAT\n\n\\end\\\n"
    )  # fmt: skip
    lexicon = tmp_path / "lexicon.lst"
    lexicon.write_text("".join(f"{word}\t{' '.join(word)} |\n" for word in WORDS))
    return lm, lexicon


def emissions(text: str, *, noise: float, seed: int = 0) -> torch.Tensor:
    """Log probabilities (T, V) that spell a text, with blanks between and noise on top."""
    symbols = [*SPECIAL, *LETTERS]
    path = [
        index for letter in text.replace(" ", "|") + "|" for index in (symbols.index(letter), 0)
    ]
    scores = 4.0 * torch.nn.functional.one_hot(torch.tensor(path), len(symbols)).float()
    generator = torch.Generator().manual_seed(seed)
    return (scores + noise * torch.randn(scores.shape, generator=generator)).log_softmax(dim=1)


def test_the_same_words_as_s3prls_decoder(files, tmp_path):
    lm, lexicon = files
    module = part("downstream.asr.w2l_decoder")
    symbols = dictionary(tmp_path)
    arguments = Namespace(
        lexicon=str(lexicon), kenlm_model=str(lm), nbest=1, beam=5, beam_threshold=25, lm_weight=2,
        word_score=-1, unk_weight=-math.inf, sil_weight=0, beam_size_token=len(symbols),
    )  # fmt: skip
    expected = module.W2lKenLMDecoder(arguments, symbols)
    ours = LmDecoder([*SPECIAL, *LETTERS], lm, lexicon, BeamSearch())
    texts = set()
    for seed in range(20):
        log_probs = emissions("THE CAT SAT A CAD", noise=1.6, seed=seed)
        (hypotheses,) = expected.decode(log_probs[None].contiguous())
        words = " ".join(hypotheses[0]["words"]) if hypotheses else None
        assert ours.decode(log_probs) == words
        texts.add(words)
    assert len(texts) > 1


def test_a_likely_word_wins_over_a_likely_letter(files):
    decoder = LmDecoder([*SPECIAL, *LETTERS], *files, BeamSearch())
    spoken = emissions("THE CAD SAT", noise=0.0)
    place = "THE CAD".index("D") * 2
    symbols = [*SPECIAL, *LETTERS]
    spoken[place, symbols.index("T")] = spoken[place, symbols.index("D")] - 0.1
    assert decoder.decode(spoken) == "THE CAT SAT"
    alone = LmDecoder([*SPECIAL, *LETTERS], *files, BeamSearch(lm_weight=0.0))
    assert alone.decode(spoken) == "THE CAD SAT"


def test_a_space_ends_words_of_heads_without_a_mark(files):
    """Their transcripts have no space at the end; the last word counts all the same."""
    symbols = ["", " ", *sorted(set("".join(WORDS)))]
    path = [index for letter in "THE CAT SAT" for index in (symbols.index(letter), 0)]
    scores = 8.0 * torch.nn.functional.one_hot(torch.tensor(path), len(symbols)).float()
    decoder = LmDecoder(symbols, *files, BeamSearch())
    assert decoder.decode(scores.log_softmax(dim=1)) == "THE CAT SAT"


def test_a_missing_or_broken_file_is_named(files, tmp_path):
    lm, lexicon = files
    with pytest.raises(MissingError, match="no such language model"):
        LmDecoder([*SPECIAL, *LETTERS], tmp_path / "none", lexicon, BeamSearch())
    lexicon.write_text("CAFÉ\tC A F É |\n")
    with pytest.raises(InvalidDataError, match="'É', no letter"):
        LmDecoder([*SPECIAL, *LETTERS], lm, lexicon, BeamSearch())
    lm.write_text("not a model\n")
    lexicon.write_text("CAT\tC A T |\n")
    with pytest.raises(InvalidDataError, match="KenLM cannot read it"):
        LmDecoder([*SPECIAL, *LETTERS], lm, lexicon, BeamSearch())


def test_search_is_written_with_the_scores():
    assert json.loads(json.dumps(vars(BeamSearch()))) == {
        "beam": 5, "beam_threshold": 25.0, "lm_weight": 2.0, "word_score": -1.0,
    }  # fmt: skip
