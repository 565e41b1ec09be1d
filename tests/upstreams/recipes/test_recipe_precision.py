"""Mixed precision is close to single precision; weights and residual stream stay in single."""

import pytest
import torch
from recipe_methods import DEEP, RECIPES
from recipe_toys import first_batch, ingredients, stream

from bench.errors import UsageError
from bench.schema import make_model
from upstreams.encoder.state import build, random_state, trainable
from upstreams.recipes.training.loop import TrainingRun
from upstreams.recipes.training.precision import is_emulated, resolve_precision
from upstreams.recipes.training.settings import TrainingSettings

CPU = torch.device("cpu")


def test_what_auto_means():
    assert resolve_precision("auto", CPU) == "float32"
    assert resolve_precision("auto", torch.device("cuda")) == "bf16"
    assert resolve_precision("bf16", CPU) == "bf16"


def test_bf16_without_instructions_is_said(monkeypatch):
    for capability, slow in (("AVX2", True), ("AVX512", False)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda name=capability: name)
        assert is_emulated("bf16", CPU) is slow
        assert not is_emulated("float32", CPU) and not is_emulated("bf16", torch.device("cuda"))


def run_of(folder, source, objective, precision, hours=0.004):
    training = TrainingSettings(hours=hours, precision=precision, save_s=0.0)
    return TrainingRun(
        objective,
        stream(source),
        [],
        training,
        folder=folder,
        identity="this",
        seed=5,
        device=CPU,
        export=lambda _: None,
    )


@pytest.mark.parametrize("name", RECIPES)
def test_mixed_precision_is_close_and_keeps_weights_in_single(tmp_path, name):
    module, config = RECIPES[name]
    source = ingredients(tmp_path, config, teacher=build(DEEP, random_state(DEEP, 7)))
    losses, updated = {}, {}
    for precision in ("float32", "bf16"):
        objective = module.make(source)
        run = run_of(tmp_path / precision, source, objective, precision)
        losses[precision] = run._update(first_batch(source))["loss"]
        updated[precision] = [p.detach().clone() for p in objective.parameters()]
        assert all(p.dtype == torch.float32 for p in updated[precision])
        grads = [p.grad for p in objective.parameters() if p.grad is not None]
        assert grads and all(g.dtype == torch.float32 for g in grads)
    assert losses["bf16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bf16"] != losses["float32"]  # it did round something


def test_the_residual_stream_is_not_rounded():
    encoder = trainable(DEEP, random_state(DEEP, 0))
    wavs = torch.randn(1, 8_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        states = encoder(wavs, torch.tensor([8_000])).states
    assert all(state.dtype == torch.float32 for state in states)
    assert not torch.equal(states[-1], states[-1].bfloat16().float())


def test_a_resumed_run_in_mixed_precision_has_the_same_weights(tmp_path):
    module, config = RECIPES["distil"]
    source = ingredients(tmp_path, config, teacher=build(DEEP, random_state(DEEP, 7)))
    whole, broken, again = (module.make(source) for _ in range(3))
    run_of(tmp_path / "a", source, whole, "bf16").run(lambda *_: None)

    class Killed(BaseException):
        pass

    run = run_of(tmp_path / "b", source, broken, "bf16")

    def kill(*_):
        if run.progress.step == 4:
            raise Killed

    with pytest.raises(Killed):
        run.run(kill)
    run_of(tmp_path / "b", source, again, "bf16").run(lambda *_: None)
    pairs = list(zip(whole.parameters(), again.parameters(), strict=True))
    assert pairs and all(torch.equal(a, b) for a, b in pairs)


def test_an_unknown_precision_is_refused():
    with pytest.raises(UsageError, match="key 'precision'"):
        make_model(TrainingSettings, {"precision": "fp8"}, "training")
