"""Speech without labels to train encoders on: 8.2 hours, 78 voices, ten languages.

Descriptions of pictures (`tuxpaint-stamps-default`), dialogues of a game (`fillets-ng-data-*`),
exclamations (`hedgewars-data`), telephone prompts, and the letters and words of the corpus
`voices`. Together with `games:unlabelled/train` it is the data of recipes with a strong teacher.

Left out are voices that some test hears: Allison Smith (the corpus `prompts`) and the French and
Spanish prompts (noise that is tested as unseen). Clips are converted and joined as in `voices`.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.api import SAMPLE_RATE_HZ
from bench.corpora.embedded import voices
from bench.corpora.package import corpus_files, corpus_folder, debian, notes
from bench.sound.manifests import write_table

NEEDED_BYTES = 1_500_000_000
MAX_SECONDS = 10.0
DOC = "/doc/[^/]+/copyright"

# The clips of each package, and in groups the parts of the name of their voice.
CLIPS = {
    "tuxpaint-stamps-default": r"/stamps/.+_desc_([a-z]+)\.ogg",
    # The two fish, and all other characters together.
    "fillets-ng-data-cs": r"/sound/[^/]+/(cs)/(?:[^/]*-([mv])-)?[^/]*\.ogg",
    "fillets-ng-data-nl": r"/sound/[^/]+/(nl)/(?:[^/]*-([mv])-)?[^/]*\.ogg",
    "hedgewars-data": r"/Sounds/voices/([^/]+)/[^/]+\.ogg",
    "asterisk-prompt-it-menardi-wav": r"/asterisk/sounds/([^/]+)/(?!silence/).+\.wav",
}
SHA256 = {
    "tuxpaint-stamps-default": "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    "fillets-ng-data-cs": "3ecef99b9456f1c80c9625c6f2418642b52d58e7167a46bad7a412db17991b14",
    "fillets-ng-data-nl": "afb4443fda9ab507dee578b75be857d121718a1cd6017a474f30e0eb13dc9d10",
    "hedgewars-data": "722225903a72604403e6e0026e40e9a6953f47a74d94efc5f55504bc05bb4761",
    "asterisk-prompt-it-menardi-wav": (
        "3094530d98f8758ac275572d59624c41f60969fef883f34f4886d144f3dfeb21"
    ),
}
HEARD_IN_TESTS = ("asterisk-core-sounds-en-wav", "asterisk-core-sounds-fr-wav")
PACKAGES = (
    *(package for package in voices.PACKAGES if package.name not in HEARD_IN_TESTS),
    *(debian.Package(name, SHA256[name], rf"(?:{CLIPS[name]}|{DOC})$") for name in CLIPS),
)

NOTICE = """\
THIS IS A MODIFIED VERSION of the sounds of some Debian packages: single clips were converted to
16 kHz mono, low-passed at 4 kHz, joined, and arranged as a corpus for speech research.

- tuxpaint-stamps-default (Tux Paint stamps, (C) their authors, GPL-2+)
- fillets-ng-data-cs, fillets-ng-data-nl (Fish Fillets NG, (C) ALTAR interactive and others, GPL-2+)
- hedgewars-data ((C) the Hedgewars project and the authors named in its notice)
- asterisk-prompt-it-menardi-wav ((C) Marco Menardi, Paola Dal Zot, CC-BY-SA-3.0)
- klettres-data, ktuberling-data, asterisk-core-sounds-it-wav and -ru-wav (see the corpus voices)

The copyright files of all packages stand unchanged in this folder; whoever passes this audio on
passes them on too, under the same terms. Provided as is, without any warranty.
"""


def _make(target: Path, packages: Path, deb_dir: Path | None) -> corpus_folder.CorpusSummary:
    """Write audio, the table `train` and notices into the folder of the corpus."""
    debs = {item: debian.fetch(item, packages, deb_dir) for item in PACKAGES}
    files = {item.name: debian.read(item, path) for item, path in debs.items()}
    dropped: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    for voice in tqdm(speakers(files), desc="unlabelled", unit="voice", file=sys.stderr):
        rows += voices.write_utterances(voice, target, dropped, most=None, max_seconds=MAX_SECONDS)
    rows.sort(key=lambda row: str(row["id"]))
    write_table(target, "train", rows)
    dropped_by_rule = dict(sorted(dropped.items()))
    notes.write(target, NOTICE, files, dropped_by_rule, len(rows))
    corpus_files.remove_unused(target, {row["path"] for row in rows})
    seconds = [row["num_samples"] / SAMPLE_RATE_HZ for row in rows]
    return corpus_folder.CorpusSummary(seconds, dropped_by_rule)


def speakers(files: Mapping[str, Mapping[str, bytes]]) -> list[voices.Voice]:
    """Return the voices in packages: those of `voices`, and by `CLIPS` those of the others."""
    shared = {source: members for source, members in files.items() if source not in CLIPS}
    sounds: dict[tuple[str, str], dict[str, bytes]] = defaultdict(dict)
    for source, pattern in CLIPS.items():
        for path, content in files.get(source, {}).items():
            if match := re.search(pattern, path):
                name = "-".join((source.split("-")[0], *filter(None, match.groups()))).upper()
                sounds[name, source][path] = content
    new = [voices.Voice(name, source, clips) for (name, source), clips in sorted(sounds.items())]
    return [*voices.voices(shared), *new]


CORPUS = corpus_folder.PackagedCorpus("unlabelled-v1", __name__, NEEDED_BYTES, make=_make)
folder, prepare, status, validate = CORPUS.folder, CORPUS.prepare, CORPUS.status, CORPUS.validate
