"""What stands in each record of a run folder: the keys, their types, and the ranges of their numbers.

These types are the contract twice: mypy holds whoever reads or writes a record against them, and `checked.check` holds
what is found on a disk against them, because a folder may be damaged or come from anybody.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from cutaway.runs.checked import CLOSED, Range

SCHEMA_VERSION = 2
"""2: every file carries a seal, every line of a log a check. Folders of schema 1 have none and open as they are."""

Count = Annotated[int, Range(0, 2**53)]
Size = Annotated[int, Range(1, 2**31)]
Share = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Range(0, 1e300)]
Status = Literal["training", "interrupted", "diverged", "finished"]
Split = Literal["train", "val", "test"]
Maybe = float | None


class SplitRecord(TypedDict):
    """One split: how many images, and what changes with any of them."""

    size: Count
    fingerprint: NotRequired[str]


class LabelControl(TypedDict):
    """How well neighbours tell labels; see `label_control`."""

    images: Count
    accuracy: Share
    chance: Share
    deviation: Positive


class DataFacts(TypedDict):
    """What was counted of the data before training."""

    counts: dict[str, list[Count]]
    distinct: dict[str, Count]
    in_train: dict[str, Count]
    two_labels: Count
    label_control: LabelControl | None


class BadFile(TypedDict):
    """A file that was left out, and why."""

    file: str
    reason: str


class DataOptions(TypedDict):
    """What `load_data` was given."""

    data_dir: NotRequired[str]
    size: NotRequired[Size]
    channels: NotRequired[Size]
    val: NotRequired[Share]
    test: NotRequired[Share]
    split_seed: NotRequired[int]
    keep_together: NotRequired[bool]
    max_bad: NotRequired[Share]
    leave_out: NotRequired[str]


class DataRecord(TypedDict):
    """What was trained on."""

    source: str
    name: str
    classes: list[str]
    splits: dict[str, SplitRecord]
    quarantine: list[BadFile]
    notes: list[str]
    shape: NotRequired[list[Size]]
    fingerprint: NotRequired[str]
    facts: NotRequired[DataFacts | None]
    split_seed: NotRequired[int]
    options: NotRequired[Annotated[DataOptions, CLOSED]]


class PreprocessingRecord(TypedDict):
    """How pixels become the network's input."""

    shape: list[Size]
    mean: list[float]
    std: list[float]


class ModelOptions(TypedDict):
    """What `load_model` was given besides classes and shape."""

    stem: NotRequired[str]
    dropout: NotRequired[Share]
    freeze: NotRequired[bool | str]
    change: NotRequired[list[str]]


class ModelRecord(TypedDict):
    """What was trained."""

    spec: str
    options: Annotated[ModelOptions, CLOSED]
    classes: list[str]
    preprocessing: PreprocessingRecord | None
    warnings: NotRequired[list[str]]
    code: NotRequired[dict[str, str]]


class PlanRecord(TypedDict):
    """How it computes; empty for a loop that was only watched."""

    device: NotRequired[str]
    bf16: NotRequired[bool]
    channels_last: NotRequired[bool]
    matrices: NotRequired[bool]
    reason: NotRequired[str]


class Environment(TypedDict):
    """Versions and machine."""

    cutaway: NotRequired[str]
    torch: NotRequired[str]
    threads: NotRequired[Annotated[int, Range(1, 4096)]]
    python: NotRequired[str]
    machine: NotRequired[str]
    system: NotRequired[str]


class RecipeRecord(TypedDict, total=False):
    """How a network was trained: the keys of `training.Recipe`, which a test holds against these. A loop of one's own
    has few of them."""

    optimizer: str
    learning_rate: float
    momentum: float
    weight_decay: float
    schedule: str
    warmup: float
    final_rate: float
    step_every: Count
    step_factor: float
    initialisation: str
    batch_size: Size
    label_smoothing: float
    dropout: float
    stem: str
    ema: float
    clip: float
    patience: Count
    epochs: Count
    seed: Annotated[int, Range(0, 2**62)]
    precision: str
    log_every: Count
    save_every: float
    flip: str
    shift: Count
    cutout: Count
    jitter: float


class RunInfo(TypedDict):
    """`run.json`."""

    schema_version: Annotated[int, Range(1, SCHEMA_VERSION)]
    status: Status
    data: DataRecord
    model: ModelRecord
    recipe: Annotated[RecipeRecord, CLOSED]
    plan: Annotated[PlanRecord, CLOSED]
    environment: Environment
    started: NotRequired[str]
    id: NotRequired[str]
    watched: NotRequired[bool]
    problem: NotRequired[str]
    notes: NotRequired[list[str]]
    logs: NotRequired[dict[str, Count]]


class StepLine(TypedDict):
    """A line of `metrics.jsonl` about a step."""

    kind: Literal["step"]
    epoch: Count
    step: Count
    loss: Maybe
    accuracy: Share | None
    lr: Maybe
    samples: NotRequired[Count]
    images_per_second: NotRequired[Positive]


class EpochLine(TypedDict):
    """A line of `metrics.jsonl` about an epoch."""

    kind: Literal["epoch"]
    epoch: Size
    step: Count
    samples: Count
    train_loss: Maybe
    train_accuracy: Share | None
    val_loss: Maybe
    val_accuracy: Share | None
    lr: Maybe
    seconds: NotRequired[Positive]


class VitalLine(TypedDict):
    """A line of `vitals.jsonl` about a layer after an epoch."""

    epoch: Size
    layer: str
    kind: str
    gradient_norm: Maybe
    weight_norm: Maybe
    update_ratio: Maybe
    zero_fraction: Maybe
    dead_fraction: Maybe
    dead_channels: list[Count] | None
    finite: bool


class InputFacts(TypedDict):
    """A batch as the network got it; `mean`, `std`, `low` and `high` by channel."""

    shape: list[Count]
    mean: list[Maybe]
    std: list[Maybe]
    min: Maybe
    max: Maybe
    low: list[Maybe]
    high: list[Maybe]
    spread: Maybe


class LabelFacts(TypedDict):
    """A batch of labels."""

    one_hot: bool
    min: int
    max: int
    counts: list[Count] | None
    equal_neighbours: Share | None


class BrokenOutputs(TypedDict):
    """Outputs that are not all finite."""

    shape: list[Count]
    finite: Literal[False]


class OutputFacts(TypedDict):
    """A batch of outputs (N, classes)."""

    shape: list[Count]
    finite: Literal[True]
    std: Maybe
    low: list[Maybe]
    high: list[Maybe]
    spread: Maybe
    min: Maybe
    max: Maybe
    zero_fraction: Share | None
    probabilities: bool
    predicted_classes: Count
    largest_share: Share | None
    confidence: Maybe
    cross_entropy: NotRequired[Maybe]
    squared_error: NotRequired[Maybe]
    target: NotRequired[Maybe]
    accuracy: NotRequired[Share | None]


class ModeFacts(TypedDict):
    """Which layers behave differently in training, and in which mode they are."""

    training: bool
    batch_norms: Count
    dropouts: list[float]
    in_training: Count


class StructureFacts(TypedDict):
    """How many activations there are, and which layer made the outputs."""

    activations: Count
    last_layer: str
    last_kind: str


class OptimizerFacts(TypedDict):
    """What moves the weights, and which it does not have."""

    kind: str
    lr: Maybe
    momentum: Maybe
    weight_decay: float
    missing: list[str]


class LayerFacts(TypedDict):
    """One layer in a check-up."""

    layer: str
    kind: str
    fan_in: Count
    trains: bool
    gradient_norm: Maybe
    weight_norm: Maybe
    weight_std: Maybe
    update_ratio: Maybe
    finite: bool
    reached: bool
    output_scale: Maybe
    output_spread: Maybe
    zero_fraction: Maybe
    dead_fraction: Maybe
    saturated_fraction: Maybe
    activation: str | None


class SeenFacts(TypedDict):
    """What a stethoscope counted of the images."""

    images: Count
    distinct: Count
    counts: dict[str, Count]
    equal_neighbours: Share | None
    same_order: bool
    evaluated: Count
    evaluated_in_training_set: Count
    label_control: LabelControl | None


class EvaluationFacts(TypedDict):
    """What the validation split looks like to the network, and how it answers."""

    training: bool
    input: InputFacts
    logits: OutputFacts | BrokenOutputs
    counts: NotRequired[list[Count]]


class FirstBad(TypedDict):
    """Where the first number that is none came from."""

    layer: str
    where: Literal["weights", "output", "loss"]


class StepCheckup(TypedDict):
    """A line of `vitals.jsonl` about a step that was looked at closely."""

    kind: Literal["checkup"]
    epoch: Size
    step: Count
    loss: Maybe
    input: InputFacts
    labels: LabelFacts
    logits: OutputFacts | BrokenOutputs
    modes: ModeFacts
    structure: StructureFacts
    optimizer: OptimizerFacts | None
    layers: list[LayerFacts]
    evaluation: NotRequired[EvaluationFacts | None]
    optimizer_steps: NotRequired[Count]
    fresh_gradient: NotRequired[Maybe]
    passes: NotRequired[dict[str, Count]]
    seen: NotRequired[SeenFacts | None]


class EndCheckup(TypedDict):
    """A line of `vitals.jsonl` about the end of a watched loop's epoch."""

    kind: Literal["checkup"]
    epoch: Size
    step: Count
    end_of_epoch: Literal[True]
    evaluation: EvaluationFacts | None
    passes: dict[str, Count]
    seen: SeenFacts | None


class BrokenCheckup(TypedDict):
    """A line of `vitals.jsonl` about the step at which the loss became no number."""

    kind: Literal["checkup"]
    epoch: Size
    step: Count
    loss: None
    first_bad: FirstBad
    input: NotRequired[InputFacts]


# Written as a call, because one key is a word of Python's.
ClassFigures = TypedDict(
    "ClassFigures", {"class": str, "images": Count, "precision": Share | None, "recall": Share | None}
)


class CalibrationBin(TypedDict):
    """Answers of like confidence."""

    images: Count
    confidence: Share
    accuracy: Share


class LabelIssue(TypedDict):
    """An image whose label is probably wrong."""

    image: str
    file: str | None
    label: str
    answer: str
    confidence: float


class EvaluationRecord(TypedDict):
    """`evaluation-SPLIT.json`."""

    size: Size
    accuracy: Share
    accuracy_interval: list[Share]
    top5: Share | None
    loss: Maybe
    calibration_error: Share
    calibration: list[CalibrationBin]
    classes: list[ClassFigures]
    confusion: list[list[Count]]
    label_issues: list[LabelIssue] | None
    run: str
    split: Split
    epoch: Size
    evaluated: str
    warnings: list[str]
    weights: NotRequired[str]


class AtlasData(TypedDict):
    """The images of an atlas."""

    source: str
    split: str
    images: Count
    fingerprint: str
    classes: list[str]


class AtlasSettings(TypedDict):
    """What decides an atlas besides weights and data."""

    k: Size
    style: str
    steps: Size
    size: Size | None
    chunk: Size
    precision: NotRequired[Literal["fp32", "bf16"]]


class AtlasLayer(TypedDict):
    """A layer; `fields` are start, jump and size, down and across."""

    kind: str
    channels: Size
    size: list[Size]
    fields: list[list[int]]
    exact: bool


class AtlasInfo(TypedDict):
    """`atlas.json`."""

    schema_version: Size
    key: str
    model: str
    epoch: Size | None
    weights: str
    shape: list[Size]
    classes: list[str]
    data: AtlasData
    settings: AtlasSettings
    layers: dict[str, AtlasLayer]


class ChartRecord(TypedDict):
    """A small chart as plain data."""

    x_label: str
    y_label: str
    x: list[Any]
    y: list[Maybe]


class EvidenceRecord(TypedDict):
    """What a finding rests on."""

    numbers: dict[str, Any]
    layer: str | None
    step: int | None
    chart: ChartRecord | None


class FindingRecord(TypedDict):
    """One finding of the doctor."""

    rule: str
    severity: Literal["error", "warning", "note"]
    title: str
    evidence: EvidenceRecord
    cause: str
    remedy: str
    also: list[str]


class FindingsRecord(TypedDict):
    """`findings.json`."""

    schema_version: Size
    findings: list[FindingRecord]
