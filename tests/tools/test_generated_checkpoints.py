"""A sample of the generated checkpoints; `make checkpoints` makes 300."""

from tools.checkpoints.cases import run_cases
from tools.checkpoints.page import page

# A file in mappings, a Transformers folder in half precision, a class of one's own, TorchScript
# and ONNX; of the damaged ones, a program without consent, an adapter, and a truncated file.
SAMPLE = (5, 7, 8, 11, 18, 32, 35, 42, 46)


def test_each_loads_as_it_must_or_says_why(tmp_path):
    kept = tmp_path / "kept.jsonl"
    outcomes = run_cases(SAMPLE, seed=0, kept=kept)
    assert [(item.number, item.problem) for item in outcomes if item.problem] == []
    assert {bool(item.damage) for item in outcomes} == {True, False}
    again = run_cases(SAMPLE, seed=0, kept=kept)  # read, not computed
    assert [item.line for item in again] == [item.line for item in outcomes]
    text = page(outcomes, {"weights": [(True, True, True)]}, seed=0)
    assert f"{len(SAMPLE)} checkpoints" in text
    assert text.splitlines()[-1].replace(" ", "") == "|weights|1|1|1|1|"
    assert "Failures" not in text
    assert all(item.damage in text for item in outcomes)
