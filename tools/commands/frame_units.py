"""`python -m tools frame-units`: fit the centres of the control `mfcc_units`."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Fit the k-means centres of the control mfcc_units to training clips of the games."
EXAMPLE = "python -m tools frame-units --out upstreams/weights/mfcc_units.safetensors"
SEED, CLIPS, FRAMES = 0, 700, 100_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--out", type=Path, required=True, help="file of the centres")
    parser.add_argument("--size", type=int, default=1_024, help="centres (default 1024)")
    parser.add_argument("--top-hz", type=float, default=3_800.0, help="upper edge of the cepstra")


def run(options: argparse.Namespace) -> int:
    """Fit, write the file, and print the figures for the cards."""
    import hashlib

    import numpy as np
    import torch
    from safetensors.torch import save_file
    from sklearn.cluster import MiniBatchKMeans

    from bench.corpora.embedded import games
    from bench.corpora.package.rows import order
    from bench.features.passes import clean_sound
    from bench.paths import atomic_path, home
    from bench.sound.manifests import read_table
    from upstreams.cepstra import Cepstra

    torch.set_num_threads(1)
    clips = read_table(games.prepare(home()), "unlabelled/train")
    chosen = sorted(clips, key=lambda clip: order("frame units", clip.id))[:CLIPS]
    cepstra = Cepstra(options.top_hz)
    frames = np.concatenate(
        [cepstra.mfcc(torch.from_numpy(clean_sound(c))).numpy() for c in chosen]
    )
    rng = np.random.default_rng(SEED)
    sample = frames[np.sort(rng.choice(len(frames), min(FRAMES, len(frames)), replace=False))]
    means = MiniBatchKMeans(
        options.size, batch_size=10_000, n_init=1, max_iter=50, random_state=SEED
    ).fit(sample)
    centres = torch.from_numpy(means.cluster_centers_).half()
    with atomic_path(options.out) as temporary:
        save_file({"centres": centres}, temporary)
    distances = means.transform(sample[:20_000]).min(axis=1)
    apart = np.linalg.norm(sample[0:20_000:2] - sample[1:20_000:2], axis=1)
    raw = options.out.read_bytes()
    print(f"sha256: {hashlib.sha256(raw).hexdigest()}")
    print(f"size_bytes: {len(raw)}")
    print(f"spread of units: {np.sqrt(np.mean(distances**2) / frames.shape[1]):.3f}")
    print(f"spread of random features (median distance of two frames): {np.median(apart):.3f}")
    return 0
