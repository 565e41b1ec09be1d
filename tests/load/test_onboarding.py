"""As a new user would: a model of one's own, a card of a few lines, a record. On the toy corpus."""

import pytest
from models import MACS_PER_FRAME, PARAMS, save_hubert, save_onnx

from bench.load import loader
from bench.load.packages import GROUP
from bench.measure.cost import measure
from bench.records.record import read_record
from bench.run import job, run
from bench.run.spec import RunSpec
from bench.session import Session

MAX_LINES = 15
FOLDER = """
name: my_hubert
title: My small HuBERT
family: distilled
teacher: hubert_base
source: hf:folder
license: MIT
"""
FILE = """
name: my_student
title: My student, as shipped
family: pruned
source: onnx:student.onnx
license: MIT
"""
PACKAGE = """
name: my_encoder
title: My encoder in a package
family: distilled
builder: {package}:build
args: {{seed: 1}}
"""


@pytest.fixture
def evaluate(toy, monkeypatch):
    """Evaluate on the toy task with the real loader and the real cost."""
    monkeypatch.setattr(job, "load_upstream", loader.load_upstream)
    monkeypatch.setattr(job, "measure", measure)

    def call(name, force=False, **options):
        session = Session(home=toy.home, out=toy.out, **options)
        return run.run(RunSpec(name, "tone", "toy"), session, force=force)

    return call


def write_card(path, text):
    assert len(text.strip().splitlines()) <= MAX_LINES
    path.write_text(text)
    return path


def assert_is_a_result(outcome, name):
    record = read_record(outcome.path)
    assert (record.upstream, record.weights, record.track) == (name, "user", "toy")
    assert outcome.path.parent.name == name and record.score().n == 16
    assert record.cost.params > 0 and record.cost.macs_per_second > 0
    return record


def test_a_small_hubert_in_a_transformers_folder(tmp_path, evaluate):
    save_hubert(tmp_path / "folder", do_normalize=True)
    card = write_card(tmp_path / "card.yaml", FOLDER)
    record = assert_is_a_result(evaluate("my_hubert", cards=[card]), "my_hubert")
    assert len(record.head.layer_weights) == 3 and record.family == "distilled"
    assert evaluate("my_hubert", cards=[card]).was_done
    assert not evaluate("my_hubert@int8", cards=[card]).was_done


def test_an_onnx_file(tmp_path, evaluate):
    save_onnx(tmp_path / "student.onnx")
    card = write_card(tmp_path / "card.yaml", FILE)
    record = assert_is_a_result(evaluate("my_student", cards=[card]), "my_student")
    assert record.cost.params == PARAMS
    assert record.cost.macs_per_second == pytest.approx(50 * MACS_PER_FRAME, rel=0.01)
    other = evaluate(f"onnx:{tmp_path}/student.onnx").record
    assert other.upstream.startswith("onnx:student-") and str(tmp_path) not in other.upstream
    assert other.scores == record.scores


def test_a_package_with_an_entry_point(tmp_path, evaluate, monkeypatch):
    package = f"pkg_{tmp_path.name}".replace("-", "_")
    home = tmp_path / "site" / package
    home.mkdir(parents=True)
    (home / "__init__.py").write_text("from models import TwoStates as build\n")
    write_card(home / "card.yaml", PACKAGE.format(package=package))
    info = tmp_path / "site" / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nmy_encoder = {package}:card.yaml\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert_is_a_result(evaluate("my_encoder"), "my_encoder")
