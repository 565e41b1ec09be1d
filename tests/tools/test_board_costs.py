"""Which costs of the board are measured."""

from bench.records.cost_report import read_cost_report
from tools.board_costs import COSTS, planned


def test_every_model_with_weights_is_measured_in_three_precisions():
    reports = [
        read_cost_report(COSTS / "ge2e.json").model_copy(update={"upstream": name, "params": size})
        for name, size in (("fbank", 0), ("ge2e", 9), ("ge2e@int8", 9), ("ge2e+untrained:1", 9),
                           ("house_whisper_ofa@max", 9), ("house_thin+untrained", 9))
    ]  # fmt: skip
    names = [name.text() for name in planned(reports)]
    assert names[:5] == [
        "fbank",
        "ge2e",
        "ge2e+untrained:1",
        "house_whisper_ofa@max",
        "house_thin+untrained",
    ]
    assert names[5:] == [
        *(
            "ge2e@bf16-weights",
            "ge2e@int8",
            "house_whisper_ofa@max,bf16-weights",
            "house_whisper_ofa@max,int8",
        ),
        *("house_thin@bf16-weights+untrained", "house_thin@int8+untrained"),
    ]
