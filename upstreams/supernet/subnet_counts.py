"""Parameters and MACs of the subnets of a search space, in closed form: thousands a second.

Tests compare both with the counts of modules that were built.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from upstreams.encoder.config import EncoderConfig
from upstreams.encoder.frontend import num_frames
from upstreams.encoder.state import num_parameters
from upstreams.supernet.subnet import SearchSpace, Subnet, subnet_config


@dataclass(frozen=True)
class SubnetFamily:
    """All subnets of one supernet.

    Attributes:
        space: the search space.
        supernet: shape of the supernet.
    """

    space: SearchSpace
    supernet: EncoderConfig

    def size(self) -> int:
        """Return the number of subnets."""
        return self.space.size()

    def sample(self, count: int, seed: int) -> Iterator[Subnet]:
        """Draw `count` subnets as training does (each choice uniform), with repetitions."""
        rng = random.Random(seed)
        for _ in range(count):
            yield self.space.sample(rng.getrandbits(32))

    def uniform(self) -> Iterator[Subnet]:
        """Yield the subnets whose layers are all alike, the smallest first."""
        space = self.space
        choices = itertools.product(space.embed, space.layers, space.heads, space.ffn)
        for embed, layers, heads, ffn in choices:
            yield Subnet(embed, (heads,) * layers, (ffn,) * layers)

    def everything(self) -> Iterator[Subnet]:
        """Yield every subnet; the published spaces have too many to iterate over."""
        for embed, layers in itertools.product(self.space.embed, self.space.layers):
            for heads in itertools.product(self.space.heads, repeat=layers):
                for ffn in itertools.product(self.space.ffn, repeat=layers):
                    yield Subnet(embed, heads, ffn)

    def ends(self) -> tuple[Subnet, Subnet]:
        """Return the smallest and the largest subnet."""
        return self.space.smallest(), self.space.largest()

    def params(self, subnet: Subnet) -> int:
        """Return the number of parameters of a subnet."""
        return num_parameters(subnet_config(self.supernet, subnet))

    def macs(self, subnet: Subnet, num_samples: int) -> int:
        """Return the multiply-accumulates of one utterance of S samples (rule `plain`).

        For T frames of width D: outputs times kernel of every convolution; T C D of the projection;
        (T + 1) D (D / groups) K of the positional convolution, whose even kernel K gives one extra
        frame; and in each layer of attention width A and feed-forward width F, 4 T D A of the
        projections, 2 T^2 A of the two products and 2 T D F.
        """
        config = self.supernet
        frames, inputs, total = num_samples, 1, 0
        for channels, kernel, stride in config.conv_layers:
            frames = num_frames(((channels, kernel, stride),), frames)
            total += frames * kernel * inputs * channels
            inputs = channels
        width, kernel = subnet.embed, config.pos_conv_kernel
        total += frames * inputs * width
        outputs = frames + 1 - kernel % 2
        total += outputs * width * (width // config.pos_conv_groups) * kernel
        for heads, ffn in zip(subnet.heads, subnet.ffn_widths, strict=True):
            attention = heads * config.head_dim
            total += frames * width * (4 * attention + 2 * ffn) + 2 * frames**2 * attention
        return total
