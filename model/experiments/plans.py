"""The experiments by name: which network, which bits, how long, with what settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from dpnet.model.data.augmentation import Augmentation
from dpnet.model.data.cifar import cifar10
from dpnet.model.data.labeled import Labeled
from dpnet.model.data.mnist import mnist
from dpnet.model.experiments.pretrain import RECIPES
from dpnet.model.experiments.robust.attacks import Attack
from dpnet.model.experiments.robust.trades import Trades
from dpnet.model.experiments.schedules import Cosine, Stepped
from dpnet.model.experiments.settings import Clustering, FitSettings
from dpnet.model.networks.catalog import Architecture, find

__all__ = [
    "AVERAGED",
    "BEYOND",
    "CONTROL",
    "FLOAT_BITS",
    "LLOYD_METHODS",
    "METHODS",
    "PAPERS",
    "PLANS",
    "WITHOUT_LLOYD",
    "Paper",
    "Plan",
    "find_plan",
]

DATA: dict[str, Callable[[], Labeled]] = {"mnist": mnist, "cifar-10": cifar10}
CONTROL = "control"
FLOAT_BITS = 32
LLOYD_METHODS = ("kmeans-net-linear", "kmeans-net-kmeans++")
WITHOUT_LLOYD = ("ptq", "dp-net", CONTROL)
PAPERS = (*WITHOUT_LLOYD, *LLOYD_METHODS)
BEYOND = (
    "dp-net-ramp",
    "dp-net-distilled",
    "straight",
    "straight-distilled",
    "straight-distilled-averaged",
)
METHODS = (*PAPERS, *BEYOND)
"""What is compared as a rule, and what goes further than the paper; each method has its stages."""
AVERAGED = 0.99
"""What each step's weights count for in the mean that is quantized, as a share of the next one's:
of 0, 0.99 the better one on ResNet-8's held-out part."""
RAMP = 1000.0
"""By how much lambda grows in all where it does."""
LAST = 0.05
"""The rate at the end of a cosine, as a share of its peak."""


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A row of the paper's table: what it says of `method` at `bits`, in points; `epochs` are its
    schedule; `delta_adversarial` of networks that are attacked."""

    method: str
    bits: int
    delta: float
    epochs: int
    delta_adversarial: float | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One experiment: `network` from published weights (`published`), or trained by its recipe of
    `dpnet.model.experiments.pretrain` for `epochs_float`, then every method at each of `bits`.

    `epochs` of training behind it, the same for the term, for Lloyd and for the control (`full`:
    with --full); `rate` is the peak of their cosine, `tune_epochs` and `tune_rate` are those of
    the tuned codebooks.  Of the term: codebooks are solved every `period` epochs, and its gradient
    is `rho` (W - C).  Where training has settled, the loss holds weights at g / rho from their
    centroids, and to quantize them costs about sum(g^2) / rho: a small rho costs in the end.

    `bf16`: forward passes in training in bfloat16 where PyTorch takes them to be safe.
    `sparsity`: the share of each layer's weights that is put at 0 before, and stays there in every
    method but the control.
    `methods` that are compared, of METHODS; `engine`: whether the integer golden model is asked.
    `trades`: the task's loss, `full_trades` with --full, also of the pretrained net, which then has
    `float_settings` in place of the recipe; all nets are judged under `attack` too, on the first
    `attacked` pictures to test.  `paper`: its rows.
    """

    name: str
    network: str
    bits: tuple[int, ...]
    epochs: int
    full: int
    rate: float
    rho: float
    period: int
    augmentation: Augmentation
    published: bool = True
    epochs_float: int = 0
    full_float: int = 0
    decay: float = 1e-4
    batch: int = 128
    tune_epochs: int = 1
    tune_rate: float = 0.01
    bf16: bool = False
    methods: tuple[str, ...] = PAPERS
    engine: bool = True
    sparsity: tuple[float, ...] = ()
    trades: Trades | None = None
    full_trades: Trades | None = None
    float_settings: FitSettings | None = None
    attack: Attack | None = None
    attacked: int = 1_000
    paper: tuple[Paper, ...] = ()

    def __post_init__(self) -> None:
        taught = [method for method in self.methods if "distilled" in method]
        if taught and self.trades is not None:
            raise ValueError(
                f"methods of {self.name} must not be distilled, as {taught[0]}: its loss is TRADES"
            )

    @property
    def entry(self) -> Architecture:
        """The network."""
        return find(self.network)

    def data(self) -> Labeled:
        """Its data set, from the folder of DPNET_DATA."""
        return DATA[self.entry.dataset]()

    def whole(self) -> Plan:
        """At full length."""
        return replace(
            self,
            epochs=self.full,
            epochs_float=self.full_float,
            trades=self.full_trades,
            attacked=10_000,
        )

    def before(self, seed: int) -> FitSettings:
        """How the pretrained net is trained, where none is published."""
        settings = self.float_settings or RECIPES[self.network]
        return replace(
            settings, epochs=self.epochs_float, seed=seed, bf16=settings.bf16 or self.bf16
        )

    def phase(self, seed: int) -> FitSettings:
        """A phase of training behind the pretrained net, in float: the control."""
        return FitSettings(
            epochs=self.epochs,
            schedule=Cosine(self.rate, LAST * self.rate),
            batch=self.batch,
            decay=self.decay,
            augmentation=self.augmentation,
            bf16=self.bf16,
            channels_last=True,
            seed=seed,
        )

    def clustered(self, seed: int, bits: int, n_train: int) -> FitSettings:
        """The same phase with the term of Eq. (3)."""
        settings = self.phase(seed)
        clustering = Clustering(
            k=1 << bits,
            lam=self.rho * n_train / 2,
            period=self.period,
            keep_zeros=bool(self.sparsity),
        )
        return replace(settings, clustering=clustering)

    def ramped(self, seed: int, bits: int, n_train: int) -> FitSettings:
        """The same with a lambda that grows RAMP times, the plan's own in its middle, and the
        implicit step, which is stable for any."""
        settings = self.clustered(seed, bits, n_train)
        assert settings.clustering is not None
        lam = settings.clustering.lam * math.sqrt(RAMP)
        clustering = replace(settings.clustering, lam=lam, growth=RAMP, pull=True)
        return replace(settings, clustering=clustering)

    def tuned(self, seed: int) -> FitSettings:
        """The tuning of shared values."""
        schedule = Cosine(self.tune_rate, LAST * self.tune_rate)
        return replace(self.phase(seed), epochs=self.tune_epochs, schedule=schedule)


_COLORS = Augmentation(crop=4, flip=True)
_HIDDEN = Augmentation(crop=4, flip=True, cutout=8)

DEEP_K_MEANS = (
    0.0,
    *(0.3, 0.4, 0.5, 0.4, 0.4),
    *(0.5, 0.5, 0.5, 0.5, 0.5),
    *(0.87, 0.9, 0.5, 0.75, 0.9),
    0.0,
)
"""WRN-16-4's shares of zeros at 50 times, of Deep K-means (Wu et al. 2018); none in the last layer,
which has none there."""

PLANS = {
    plan.name: plan
    for plan in (
        Plan(
            name="resnet8",
            network="resnet-8",
            bits=(2, 3, 4),
            epochs=3,
            full=60,
            rate=0.01,
            rho=10.0,
            period=1,
            augmentation=_COLORS,
        ),
        Plan(
            name="resnet20",
            network="resnet-20",
            bits=(2, 3, 4),
            epochs=3,
            full=60,
            rate=0.01,
            rho=10.0,
            period=1,
            augmentation=_COLORS,
        ),
        Plan(
            name="table1",
            network="tt-conv",
            bits=(3, 2),
            epochs=15,
            full=300,
            rate=0.05,
            rho=5.0,
            period=2,
            augmentation=_HIDDEN,
            published=False,
            epochs_float=30,
            full_float=300,
            paper=(
                Paper(method="dp-net", bits=3, delta=0.31, epochs=300),
                Paper(method="kmeans-net", bits=3, delta=-0.87, epochs=300),
            ),
        ),
        Plan(
            name="table2",
            network="fresh-net",
            bits=(2,),
            epochs=15,
            full=150,
            rate=0.02,
            rho=5.0,
            period=2,
            augmentation=_HIDDEN,
            published=False,
            epochs_float=30,
            full_float=150,
            paper=(
                Paper(method="dp-net", bits=2, delta=-0.57, epochs=150),
                Paper(method="kmeans-net", bits=2, delta=-0.76, epochs=150),
            ),
        ),
        Plan(
            name="table3",
            network="wrn-16-4",
            bits=(3, 2),
            epochs=15,
            full=300,
            rate=0.05,
            rho=5.0,
            period=2,
            augmentation=_HIDDEN,
            published=False,
            epochs_float=30,
            full_float=300,
            methods=WITHOUT_LLOYD,
            sparsity=DEEP_K_MEANS,
            paper=(
                Paper(method="dp-net", bits=3, delta=-1.71, epochs=300),
                Paper(method="dp-net", bits=2, delta=-2.94, epochs=300),
            ),
        ),
        Plan(
            name="table5",
            network="small-cnn",
            bits=(2,),
            epochs=6,
            full=100,
            rate=0.02,
            rho=10.0,
            period=1,
            augmentation=Augmentation(crop=2),
            published=False,
            epochs_float=6,
            full_float=100,
            paper=(
                Paper(method="ptq", bits=2, delta=-0.36, epochs=0),
                Paper(method="dp-net", bits=2, delta=-0.05, epochs=100),
            ),
        ),
        Plan(
            name="table5-robust",
            network="small-cnn",
            bits=(2,),
            epochs=2,
            full=100,
            rate=0.01,
            rho=10.0,
            period=1,
            augmentation=Augmentation(),
            published=False,
            epochs_float=4,
            full_float=100,
            decay=0.0,
            methods=WITHOUT_LLOYD,
            engine=False,
            trades=Trades(Attack(epsilon=0.3, size=0.1, steps=5), beta=1.0),
            full_trades=Trades(Attack(epsilon=0.3, size=0.01, steps=40), beta=1.0),
            float_settings=FitSettings(
                epochs=4, schedule=Stepped(0.01, (0.55, 0.75, 0.9)), decay=0.0, channels_last=True
            ),
            attack=Attack(epsilon=0.3, size=0.01, steps=40),
            paper=(
                Paper(method="ptq", bits=2, delta=-0.36, epochs=0, delta_adversarial=-5.86),
                Paper(method="dp-net", bits=2, delta=-0.05, epochs=100, delta_adversarial=-2.05),
            ),
        ),
    )
}
"""All of them by name."""


def find_plan(name: str) -> Plan:
    """The plan of this name; ValueError with all names for any other."""
    try:
        return PLANS[name]
    except KeyError:
        raise ValueError(f"name must be one of {', '.join(PLANS)}, not {name!r}") from None
